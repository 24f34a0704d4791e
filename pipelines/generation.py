"""Answers from a model: chat in, text out, many at once.

Three things make it several times faster than one call a prompt: questions about one passage share its tokens,
whose keys and values are computed once; prompts of like length share a batch; and rows that have ended leave it.
Tokens are the likeliest one by one, or sampled, or of the likeliest answer that a beam search finds.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.messages import Message
from pipelines.progress import track

_WORTH_SHARING = 16  # tokens; a shorter common beginning is computed anew
_WORTH_LEAVING = 0.125  # share of ended rows from which copying the others' keys and values pays


@dataclass(frozen=True)
class Group:
    """Prompts that begin with the same tokens: their places in the list, and how many tokens they share."""

    members: tuple[int, ...]
    shared: int


def generate(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: list[list[Message]],
    *,
    max_new_tokens: int,
    temperature: float | None,
    batch_size: int,
    seed: int,
    what: str,
) -> list[str]:
    """Answer every prompt, in the order given.

    Greedy when `temperature` is None; else sampled from the whole distribution, seeded once before the first batch.
    """
    encoded = [
        tok.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"] for chat in prompts
    ]
    torch.manual_seed(seed)
    answers = [""] * len(prompts)
    for index, tokens in track(
        respond(model, tok, encoded, [tok.eos_token_id], max_new_tokens, temperature, batch_size), what, len(prompts)
    ):
        answers[index] = tok.decode(tokens, skip_special_tokens=True).strip()
    return answers


@torch.inference_mode()
def respond(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    max_new_tokens: int,
    temperature: float | None,
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """Yield each prompt's place and the tokens that follow it, up to and including the first of `stops`.

    Greedy when `temperature` is None; else sampled from the whole distribution by PyTorch's global generator.
    """
    for groups in _batches(prompts, batch_size):
        for index, tokens, _ in _answers(model, tok, prompts, groups, stops, max_new_tokens, temperature):
            yield index, tokens


@torch.inference_mode()
def search(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    max_new_tokens: int,
    beams: int,
    length_penalty: float,
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """Yield each prompt's place and the best answer that a beam search finds, up to and including one of `stops`.

    The `beams` likeliest beginnings are followed until as many answers have ended, or have `max_new_tokens`. The best
    has the highest log-likelihood divided by its length (tokens) to the power of `length_penalty`. It is what
    transformers finds with `early_stopping`.
    """
    for groups in _batches(prompts, batch_size):
        ids, mask, cache = _prefill(model, tok, prompts, groups)
        ends = torch.tensor(stops, device=model.device)
        members = [index for group in groups for index in group.members]
        for row, tokens in _search(model, ends, ids, mask, cache, max_new_tokens, beams, length_penalty):
            yield members[row], tokens


@torch.inference_mode()
def respond_to(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    due: Set[int],
    max_new_tokens: int,
    temperature: float | None,
    batch_size: int,
    seed: int,
) -> Iterator[tuple[int, list[int], float]]:
    """Yield, as `respond` does, the answers of those batches that hold a prompt whose place is `due`.

    The third of each is the lowest probability that the model gave one of the tokens, before any temperature. Batches
    are planned over all prompts and seeded one by one, so that an answer does not depend on what is due.
    """
    for number, groups in enumerate(_batches(prompts, batch_size)):
        if any(index in due for group in groups for index in group.members):
            torch.manual_seed(seed + number)
            yield from _answers(model, tok, prompts, groups, [tok.eos_token_id], max_new_tokens, temperature)


def _answers(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    groups: list[Group],
    stops: Sequence[int],
    max_new_tokens: int,
    temperature: float | None,
) -> Iterator[tuple[int, list[int], float]]:
    """Answer one batch."""
    ids, mask, cache = _prefill(model, tok, prompts, groups)
    ends = torch.tensor(stops, device=model.device)
    rows, lowest = _decode(model, ends, ids, mask, cache, max_new_tokens, temperature)
    yield from zip((index for group in groups for index in group.members), rows, lowest, strict=True)


def share(encoded: Sequence[Sequence[int]], most: int) -> list[Group]:
    """Group the prompts that begin alike, at most `most` together; each prompt keeps a last token of its own."""
    groups: list[Group] = []
    for index in sorted(range(len(encoded)), key=lambda at: (list(encoded[at]), at)):
        common = 0
        if groups and len(groups[-1].members) < most:
            last = groups[-1]
            common = min(last.shared, _common(encoded[last.members[0]], encoded[index]), len(encoded[index]) - 1)
        if common >= _WORTH_SHARING:
            groups[-1] = Group((*groups[-1].members, index), common)
        else:
            groups.append(Group((index,), len(encoded[index]) - 1))
    return groups


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common beginning."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def _batches(encoded: Sequence[Sequence[int]], size: int) -> Iterator[list[Group]]:
    """Yield groups of like length whose prompts number at most `size` together."""
    groups = share(encoded, size)
    groups.sort(key=lambda group: (group.shared, len(encoded[group.members[0]]), group.members))
    batch: list[Group] = []
    for group in groups:
        if batch and sum(len(each.members) for each in batch) + len(group.members) > size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _prefill(
    model: PreTrainedModel, tok: PreTrainedTokenizerBase, encoded: Sequence[Sequence[int]], groups: list[Group]
) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
    """Compute what the prompts of each group share, once, and hand it to all of them.

    Returns the rest of each prompt (rows, tokens), a mask over cache and rest (rows, cached + tokens), and the cache.
    """
    cache = DynamicCache(config=model.config)
    rest, mask = _pad(tok, model, [encoded[index][group.shared :] for group in groups for index in group.members])
    beginnings, seen = _pad(tok, model, [encoded[group.members[0]][: group.shared] for group in groups])
    _hidden(model, beginnings, seen, cache)
    owner = [number for number, group in enumerate(groups) for _ in group.members]
    if len(owner) > len(groups):
        cache.batch_select_indices(torch.tensor(owner, device=model.device))
    return rest, torch.cat([seen[owner], mask], dim=1), cache


def _decode(
    model: PreTrainedModel,
    ends: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    cache: DynamicCache,
    limit: int,
    temperature: float | None,
) -> tuple[list[list[int]], list[float]]:
    """Continue each row of `ids` (rows, tokens) up to and including a token of `ends`, at most `limit` tokens.

    `mask` (rows, cached + tokens) is 0 on padding. Only the last position meets the output layer. Returns the tokens
    of each row, and the lowest probability among them.
    """
    answers: list[list[int]] = [[] for _ in ids]
    lowest = [1.0] * len(ids)
    owner = list(range(len(ids)))
    ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for _ in range(limit):
        logits = model.get_output_embeddings()(_hidden(model, ids, mask, cache)[:, -1].contiguous()).float()
        chosen = _choose(logits, temperature)
        probability = (logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(-1)).exp()
        for row in (~ended).nonzero()[:, 0].tolist():
            answers[owner[row]].append(int(chosen[row]))
            lowest[owner[row]] = min(lowest[owner[row]], float(probability[row]))
        ended |= torch.isin(chosen, ends)
        if ended.all():
            break
        if ended.float().mean() >= _WORTH_LEAVING:
            going = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(going)
            chosen, mask, ended, owner = (
                chosen[going],
                mask[going],
                ended[going],
                [owner[row] for row in going.tolist()],
            )
        ids, mask = chosen[:, None], torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return answers, lowest


def _search(
    model: PreTrainedModel,
    ends: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    cache: DynamicCache,
    limit: int,
    beams: int,
    penalty: float,
) -> Iterator[tuple[int, list[int]]]:
    """Yield each row of `ids` (rows, tokens), once it is known, with the best answer; see `_decode` and `search`."""
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in ids]  # (score, tokens)
    going = list(range(len(ids)))
    said = ids.new_zeros(len(ids), 1, 0)  # (prompts, beams, tokens): a single beam at first
    total = mask.new_zeros(len(ids), 1, dtype=torch.float32)  # (prompts, beams): log-likelihood
    for length in range(1, limit + 1):
        logits = model.get_output_embeddings()(_hidden(model, ids, mask, cache)[:, -1].contiguous()).float()
        likely = total[:, :, None] + logits.log_softmax(-1).view(*total.shape, -1)
        best, places = likely.flatten(1).topk((1 + len(ends)) * beams)  # enough to go on, whichever of them end
        parents, chosen = places // logits.shape[-1], places % logits.shape[-1]
        grown = torch.cat([said.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), chosen[:, :, None]], dim=2)
        over = torch.isin(chosen, ends) | (length == limit)
        for row, rank in over[:, :beams].nonzero().tolist():
            ended[going[row]].append((float(best[row, rank]) / length**penalty, grown[row, rank].tolist()))
        left = [row for row, prompt in enumerate(going) if len(ended[prompt]) < beams]
        yield from ((prompt, max(ended[prompt])[1]) for prompt in going if len(ended[prompt]) >= beams)
        if not left:
            break
        going = [going[row] for row in left]
        kept = over[left].int().argsort(dim=1, stable=True)[:, :beams]  # the likeliest that go on
        said = grown[left].gather(1, kept[:, :, None].expand(-1, -1, length))
        rows = torch.tensor(left, device=ids.device)[:, None] * total.shape[1] + parents[left].gather(1, kept)
        total = best[left].gather(1, kept)
        cache.batch_select_indices(rows.flatten())
        ids, mask = said[:, :, -1].reshape(-1, 1), mask[rows.flatten()]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def _hidden(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Run the tokens `ids` after what `cache` holds; positions count what `mask` does not hide."""
    places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    output = model.get_decoder()(
        input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
    )
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def _choose(logits: torch.Tensor, temperature: float | None) -> torch.Tensor:
    """Choose one token a row."""
    if temperature is None:
        return logits.argmax(-1)
    return torch.multinomial(torch.softmax(logits / temperature, -1), 1)[:, 0]


def _pad(
    tok: PreTrainedTokenizerBase, model: PreTrainedModel, rows: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    padded = tok.pad({"input_ids": [list(row) for row in rows]}, return_tensors="pt", padding_side="left")
    return padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
