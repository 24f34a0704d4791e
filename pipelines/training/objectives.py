"""The language modelling objective: cross entropy of labelled tokens, and the KL divergence from the base model in rows
that rehearse what it already knows."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from pipelines.models.config import ComputeConfig
from pipelines.models.devices import autocast
from pipelines.models.head import Head, Model, checked_head, hidden_states, in_eval_mode
from pipelines.models.tuning.apply import original
from pipelines.training.examples import IGNORED, Example, fill
from pipelines.training.step import CPU_TOKENS, Loss


class LanguageModel:
    """The loss (nats) of the labelled tokens of `rows`; its weight is their number.

    The loss of a token is its cross entropy. In a rehearsed row it is `rehearsal_weight` times the KL divergence from
    the base model (the adapter disabled, or `before`, a copy of a model whose own parameters are trained), which
    preserves the whole output distribution instead of only the likeliest token (learning without forgetting, Li and
    Hoiem 2016, arXiv:1606.09282).
    """

    def __init__(
        self,
        model: Model,
        rows: Sequence[Example],
        pad: int,
        rehearsal_weight: float = 1.0,
        before: PreTrainedModel | None = None,
    ) -> None:
        """Check the output layer of `model`; rows of a batch are padded on the right with the token `pad`.

        Raises:
            UserError: the logits of the model are computed in an unknown way.
        """
        self.head, self.rows, self.pad, self.rehearsal_weight = checked_head(model), rows, pad, rehearsal_weight
        self.sizes = [len(row.ids) for row in rows]
        self.before = before
        self.base_head = self.head if before is None else Head.of(before)

    def __call__(self, model: Model, items: Sequence[int]) -> Loss:
        """Return the sum of the losses of the labelled tokens of the rows `items`."""
        rows = [self.rows[item] for item in items]
        targets = padded([[*row.labels[1:], IGNORED] for row in rows], IGNORED)
        rehearsed = torch.tensor([[row.rehearsed] for row in rows])
        wanted = targets != IGNORED
        hidden = self._hidden(model, rows)
        learned = places(wanted & ~rehearsed, model.device)
        wished = targets[wanted & ~rehearsed].to(model.device)
        total = -self.head.logprobs(hidden.index_select(0, learned), wished).sum()
        if rehearsed.any():
            preserved = hidden.index_select(0, places(wanted & rehearsed, model.device))
            total = (
                total
                + self.rehearsal_weight * self.head.divergence(preserved, self._base(model, rows), self.base_head).sum()
            )
        return Loss(total, float(wanted.sum()))

    def _hidden(self, model: Model, rows: Sequence[Example]) -> Tensor:
        """Return the hidden states [B * L, H] of padded rows."""
        ids = padded([row.ids for row in rows], self.pad).to(model.device)
        given = [row.positions for row in rows if row.positions is not None]
        return hidden_states(model, ids, padded(given, 0).to(model.device) if given else None).flatten(0, 1)

    @torch.no_grad()
    def _base(self, model: Model, rows: Sequence[Example]) -> Tensor:
        """Return the base model's hidden states, without dropout, at the labelled tokens of the rehearsed rows."""
        chosen = [row for row in rows if row.rehearsed]
        wanted = padded([[*row.labels[1:], IGNORED] for row in chosen], IGNORED) != IGNORED
        with original(model, self.before) as base, in_eval_mode(base):
            return self._hidden(base, chosen).index_select(0, places(wanted, model.device))


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Pad rows on the right with `value` to one tensor [B, L]."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def places(mask: Tensor, device: torch.device) -> Tensor:
    """Return the indices where the flattened `mask` is true, found on the CPU, so that a GPU need not be awaited."""
    return mask.flatten().nonzero()[:, 0].to(device)


@torch.no_grad()
def mean_loss(model: Model, objective: LanguageModel, compute: ComputeConfig) -> float:
    """Return the mean loss (nats per labelled token) over all rows of `objective`, in eval mode; 0.0 without rows."""
    order = sorted(range(len(objective.rows)), key=lambda item: objective.sizes[item])
    total = weight = 0.0
    with in_eval_mode(model), autocast(compute, model.device):
        for items in fill(order, objective.sizes, CPU_TOKENS):
            loss = objective(model, items)
            total, weight = total + float(loss.total), weight + loss.weight
    return total / weight if weight else 0.0
