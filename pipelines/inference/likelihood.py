"""Log-likelihoods of given continuations; the keys and values of a context are computed once for all of them."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference import batching

Tokens = Sequence[int]


@torch.inference_mode()
def loglikelihoods(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    contexts: Sequence[Tokens],
    continuations: Sequence[Sequence[Tokens]],
    batch_size: int,
) -> Iterator[tuple[int, list[float]]]:
    """Yield each context's position and the log-likelihood (nats) of each of its continuations.

    `batch_size` limits the continuations of a batch; those of one context are never separated.
    """
    offsets = [0, *accumulate(len(each) for each in continuations)]
    rows = [[*contexts[at], *each[:-1]] for at, those in enumerate(continuations) for each in those]
    targets = [list(each) for those in continuations for each in those]
    members = [tuple(range(start, end)) for start, end in pairwise(offsets)]
    groups = [batching.Group(those, len(contexts[at]) - 1) for at, those in enumerate(members)]
    place = {group.members: at for at, group in enumerate(groups)}
    for batch in batching.batches(groups, rows, batch_size):
        scores = iter(_scores(model, tok, rows, targets, batch))
        for group in batch:
            yield place[group.members], [next(scores) for _ in group.members]


def _scores(
    model: PreTrainedModel,
    tok: PreTrainedTokenizerBase,
    rows: Sequence[Tokens],
    targets: Sequence[Tokens],
    groups: list[batching.Group],
) -> list[float]:
    """Return the log-likelihood of each row's target: the tokens after its context."""
    batch = batching.prefill(model, tok, rows, groups)
    ids, mask = batching.pad(tok, model, [targets[each] for each in batch.places])
    predicted = mask.bool()  # logits are computed at the positions of targets only, not of padding
    likely = torch.zeros(ids.shape, device=model.device)
    likely[predicted] = _log_likelihoods(model, batch.hidden(model)[predicted], ids[predicted])
    scores: list[float] = likely.sum(1).tolist()
    return scores


def _log_likelihoods(model: PreTrainedModel, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the log-likelihood (nats) of each token of `ids` [n] after the hidden states [n, dimension]: [n]."""
    logits = model.get_output_embeddings()(hidden)
    parts = zip(batching.cache_sized(logits), batching.cache_sized(ids), strict=True)
    return torch.cat([-cross_entropy(part.float(), its, reduction="none") for part, its in parts])
