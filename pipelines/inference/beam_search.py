"""Beam search with pruning; finished prompts and unlikely hypotheses are removed from the batch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference import batching


@dataclass(frozen=True)
class Beams:
    """How many hypotheses are followed, and how they are ranked."""

    width: int
    """Maximum number of hypotheses per prompt; 1 is greedy decoding."""
    length_penalty: float
    """Answers are ranked by log p / length**length_penalty, with the length in tokens."""
    threshold: float
    """Maximum difference in log p (nats) between the likeliest hypothesis, finished or not, and any other."""

    @classmethod
    def of(cls, decoding: Mapping[str, Any]) -> "Beams":
        """Read `EvaluateConfig.decoding`, or the generation config of a registered version."""
        threshold = decoding.get("beam_threshold")
        return cls(
            decoding.get("num_beams", 1),
            decoding.get("length_penalty", 1.0),
            math.inf if threshold is None else threshold,
        )


@torch.inference_mode()
def search(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    max_new_tokens: int,
    beams: Beams,
    batch_size: int,
) -> Iterator[tuple[int, list[int], float]]:
    """Yield each prompt's position, its best answer, up to and including one of `stops`, and its log-likelihood (nats).

    The search follows the likeliest hypotheses until `beams.width` have finished, or reached `max_new_tokens`. With an
    infinite threshold the result equals that of transformers with `early_stopping`. A finite one is the relative
    threshold pruning of Freitag and Al-Onaizan (2017, section 3, arXiv:1702.01806); the search of a prompt ends when
    no hypothesis is left.
    """
    ends = torch.tensor(stops, device=model.device)
    for groups in batching.plan(prompts, batch_size):
        batch = batching.prefill(model, tok, prompts, groups, max_new_tokens)
        yield from _best(model, batch, ends, max_new_tokens, beams)


def _best(
    model: PreTrainedModel, batch: batching.Batch, ends: torch.Tensor, limit: int, beams: Beams
) -> Iterator[tuple[int, list[int], float]]:
    """Yield the position, best answer and log-likelihood of each prompt of a batch as soon as they are final.

    The rows of the batch are the hypotheses that are followed: those whose `total` is not -inf.
    """
    width, penalty = beams.width, beams.length_penalty
    active = batch.places
    finished: dict[int, list[tuple[float, list[int]]]] = {place: [] for place in active}  # (score, tokens)
    sequences = batch.ids.new_zeros(len(active), 1, 0)  # (prompts, beams, tokens): a single beam at first
    total = torch.zeros(len(active), 1, device=ends.device)  # (prompts, beams): log-likelihood
    highest = total.new_full((len(active),), -math.inf)  # (prompts,): log-likelihood of the likeliest answer
    for length in range(1, limit + 1):
        wanted = (1 + len(ends)) * width  # enough unfinished candidates for every beam
        best, parents, chosen = _candidates(total, *_likeliest(batch.logits(model), wanted), wanted)
        lowest = torch.maximum(highest, best[:, 0]) - beams.threshold
        best = best.masked_fill(best < lowest[:, None], -math.inf)
        grown = torch.cat(
            [sequences.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), chosen[:, :, None]], dim=2
        )
        done = torch.isin(chosen, ends) | (length == limit)
        for row, rank in (done & ~best.isneginf())[:, :width].nonzero().tolist():
            finished[active[row]].append((float(best[row, rank]) / length**penalty, grown[row, rank].tolist()))
        highest = torch.maximum(highest, best[:, :width].masked_fill(~done[:, :width], -math.inf).amax(1))
        kept = done.int().argsort(dim=1, stable=True)[:, :width]  # the likeliest unfinished candidates
        likely = best.gather(1, kept)
        follows = ~likely.isneginf() & ~done.gather(1, kept)
        left = []
        for row, (place, follows_any) in enumerate(zip(active, follows.any(1).tolist(), strict=True)):
            if follows_any and len(finished[place]) < width:
                left.append(row)
            else:
                score, answer = max(finished[place])
                yield place, answer, score * len(answer) ** penalty
        if not left:
            break
        places = (~total.isneginf()).flatten().cumsum(0).view(total.shape) - 1  # rows of the batch
        active, highest, follows = [active[row] for row in left], highest[left], follows[left]
        sequences = grown[left].gather(1, kept[left][:, :, None].expand(-1, -1, length))
        batch.keep(places[left].gather(1, parents[left].gather(1, kept[left]))[follows])
        batch.push(sequences[:, :, -1][follows])
        total = likely[left].masked_fill(~follows, -math.inf)


def _candidates(
    total: torch.Tensor, likely: torch.Tensor, tokens: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the `count` likeliest continuations of each prompt: log-likelihood, hypothesis, token: (prompts, count).

    `likely` and `tokens` are the next tokens of the hypotheses whose `total` (prompts, beams) is not -inf.
    """
    followed = ~total.isneginf()
    scores = total.new_full((*total.shape, likely.shape[1]), -math.inf)
    scores[followed] = total[followed][:, None] + likely
    continued = tokens.new_zeros(scores.shape)
    continued[followed] = tokens
    best, places = scores.flatten(1).topk(count)
    return best, places // likely.shape[1], continued.flatten(1).gather(1, places)


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
