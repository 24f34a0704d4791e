"""Log-likelihoods of given continuations; the keys and values of a context are computed once for all of them."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.inference import batching
from pipelines.models.head import Head

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
    wanted = mask.bool()
    hidden = batch.hidden(model)[:, -ids.shape[1] :]  # of a hybrid model, contexts are among the new tokens
    likely = Head.of(model).logprobs(hidden[wanted], ids[wanted])
    scores: list[float] = torch.zeros(mask.shape, device=model.device).masked_scatter(wanted, likely).sum(1).tolist()
    return scores
