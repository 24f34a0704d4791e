"""Batched greedy decoding and sampling, from chat messages to text."""

from collections.abc import Iterator, Sequence, Set

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference import batching
from pipelines.models.chat import encode_prompt
from pipelines.models.messages import Message
from pipelines.models.templates.stops import answer_text, stop_ids
from pipelines.runtime.progress import track

_WORTH_LEAVING = 0.125  # fraction of finished rows from which copying the remaining keys and values pays off


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
    """Answer every prompt, in order.

    Decoding is greedy when `temperature` is None; otherwise answers are sampled from the full distribution, seeded once
    before the first batch.
    """
    encoded = [encode_prompt(tok, chat) for chat in prompts]
    torch.manual_seed(seed)
    answers = [""] * len(prompts)
    for place, tokens in track(
        respond(model, tok, encoded, stop_ids(model, tok), max_new_tokens, temperature, batch_size), what, len(prompts)
    ):
        answers[place] = answer_text(tok, tokens)
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
    """Yield each prompt's position and its answer tokens, up to and including the first of `stops`.

    Decoding is greedy when `temperature` is None; otherwise answers are sampled from the full distribution with
    PyTorch's global generator.
    """
    ends = torch.tensor(stops, device=model.device)
    for groups in batching.plan(prompts, batch_size):
        batch = batching.prefill(model, tok, prompts, groups, max_new_tokens)
        yield from ((place, tokens) for place, tokens, _ in _decode(model, batch, ends, max_new_tokens, temperature))


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
    """Yield, as `respond` does, the answers of the batches that contain a prompt whose position is in `due`.

    The third element is the minimum token probability, before temperature scaling. Batches are planned over all prompts
    and seeded individually, so that an answer does not depend on which prompts are due.
    """
    ends = torch.tensor(stop_ids(model, tok), device=model.device)
    for number, groups in enumerate(batching.plan(prompts, batch_size)):
        if any(place in due for group in groups for place in group.members):
            torch.manual_seed(seed + number)
            batch = batching.prefill(model, tok, prompts, groups, max_new_tokens)
            yield from _decode(model, batch, ends, max_new_tokens, temperature)


def _decode(
    model: PreTrainedModel, batch: batching.Batch, ends: torch.Tensor, limit: int, temperature: float | None
) -> Iterator[tuple[int, list[int], float]]:
    """Decode each prompt up to and including a token of `ends`, at most `limit` tokens.

    Yields the position, the tokens, and the minimum token probability.
    """
    answers: list[list[int]] = [[] for _ in batch.places]
    lowest = [1.0] * len(answers)
    owner = torch.arange(len(answers), device=ends.device)
    ended = torch.zeros_like(owner, dtype=torch.bool)
    for _ in range(limit):
        logits = batch.logits(model).float()
        chosen = _choose(logits, temperature)
        probability = (logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(-1)).exp()
        for at, token, p in zip(*(each[~ended].tolist() for each in (owner, chosen, probability)), strict=True):
            answers[at].append(token)
            lowest[at] = min(lowest[at], p)
        ended |= torch.isin(chosen, ends)
        if ended.all():
            break
        if ended.float().mean() >= _WORTH_LEAVING:
            active = (~ended).nonzero()[:, 0]
            batch.keep(active)
            chosen, ended, owner = chosen[active], ended[active], owner[active]
        batch.push(chosen)
    yield from zip(batch.places, answers, lowest, strict=True)


def _choose(logits: torch.Tensor, temperature: float | None) -> torch.Tensor:
    """Choose the next token of each row, the likeliest or sampled.

    `torch.multinomial` draws a random number per token of the vocabulary, not per row. On a CPU this takes six times as
    long as the output layer (132 ms for 80 rows of 49,152 tokens), so the cumulative distribution is inverted there (12
    ms). On a GPU it is fast, and a cumulative sum would not be deterministic.
    """
    if temperature is None:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits / temperature, -1)
    if logits.device.type != "cpu":
        return torch.multinomial(probabilities, 1)[:, 0]
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    drawn = torch.rand(len(logits), 1, dtype=torch.float64) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, drawn, right=True).clamp(max=logits.shape[-1] - 1)[:, 0]
