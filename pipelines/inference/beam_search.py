"""Beam search; prompts with a finished answer are removed from the batch."""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference import batching


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
) -> Iterator[tuple[int, list[int], float]]:
    """Yield each prompt's position, its best answer, up to and including one of `stops`, and its log-likelihood (nats).

    The search follows the `beams` likeliest hypotheses until as many have finished, or reached `max_new_tokens`.
    Answers are ranked by log p / length**length_penalty, with the length in tokens. The result equals that of
    transformers with `early_stopping`.
    """
    ends = torch.tensor(stops, device=model.device)
    for groups in batching.plan(prompts, batch_size):
        batch = batching.prefill(model, tok, prompts, groups, max_new_tokens)
        yield from _best(model, batch, ends, max_new_tokens, beams, length_penalty)


def _best(
    model: PreTrainedModel, batch: batching.Batch, ends: torch.Tensor, limit: int, beams: int, penalty: float
) -> Iterator[tuple[int, list[int], float]]:
    """Yield the position, best answer and log-likelihood of each prompt of a batch as soon as they are final."""
    active = batch.places
    finished: dict[int, list[tuple[float, list[int]]]] = {place: [] for place in active}  # (score, tokens)
    sequences = batch.ids.new_zeros(len(active), 1, 0)  # (prompts, beams, tokens): a single beam at first
    total = torch.zeros(len(active), 1, device=ends.device)  # (prompts, beams): log-likelihood
    for length in range(1, limit + 1):
        wanted = (1 + len(ends)) * beams  # enough unfinished candidates for every beam
        likely, tokens = (each.view(*total.shape, -1) for each in _likeliest(batch.logits(model), wanted))
        best, candidates = (total[:, :, None] + likely).flatten(1).topk(wanted)
        parents, chosen = candidates // likely.shape[2], tokens.flatten(1).gather(1, candidates)
        grown = torch.cat(
            [sequences.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), chosen[:, :, None]], dim=2
        )
        done = torch.isin(chosen, ends) | (length == limit)
        for row, rank in done[:, :beams].nonzero().tolist():
            finished[active[row]].append((float(best[row, rank]) / length**penalty, grown[row, rank].tolist()))
        left = [row for row, place in enumerate(active) if len(finished[place]) < beams]
        for place in active:
            if len(finished[place]) >= beams:
                score, answer = max(finished[place])
                yield place, answer, score * len(answer) ** penalty
        if not left:
            break
        active = [active[row] for row in left]
        kept = done[left].int().argsort(dim=1, stable=True)[:, :beams]  # the likeliest unfinished candidates
        sequences = grown[left].gather(1, kept[:, :, None].expand(-1, -1, length))
        rows = torch.tensor(left, device=ends.device)[:, None] * total.shape[1] + parents[left].gather(1, kept)
        total = best[left].gather(1, kept)
        batch.keep(rows.flatten())
        batch.push(sequences[:, :, -1].flatten())


def _likeliest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-likelihoods and ids of the `count` likeliest next tokens of each row, both (rows, count).

    No hypothesis needs more of its own tokens, so the other log-likelihoods are not computed: this takes a third of the
    time of a log-softmax over the vocabulary and a top k over all beams.
    """
    values, indices = [], []
    for part in map(torch.Tensor.float, batching.cache_sized(logits)):
        top = part.topk(min(count, part.shape[1]))
        values.append(top.values - part.logsumexp(1, keepdim=True))
        indices.append(top.indices)
    return torch.cat(values), torch.cat(indices)
