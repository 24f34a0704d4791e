"""The language modelling objective: cross entropy of labelled tokens, and the KL divergence from the base model in rows
that rehearse what it already knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Preserved:
    """What a model predicts in rehearsed rows before its own parameters are trained: hidden states and output layer.

    They are computed once, so that no second model is in memory during training.
    """

    states: Mapping[int, Tensor]
    """Hidden states [labelled tokens, H] of each rehearsed row by its index, in main memory."""
    head: Head

    @classmethod
    @torch.no_grad()
    def of(cls, model: PreTrainedModel, rows: Sequence[Example], pad: int, compute: ComputeConfig) -> "Preserved":
        """Read the rehearsed ones of `rows` with `model`, without dropout."""
        lengths = [len(row.ids) for row in rows]
        order = sorted((item for item, row in enumerate(rows) if row.rehearsed), key=lambda item: lengths[item])
        states: dict[int, Tensor] = {}
        with in_eval_mode(model), autocast(compute, model.device):
            for items in fill(order, lengths, CPU_TOKENS):
                batch = [rows[item] for item in items]
                counts = [sum(label != IGNORED for label in row.labels[1:]) for row in batch]
                states |= zip(items, torch.split(labelled_states(model, batch, pad).cpu(), counts), strict=True)
        return cls(states, Head.of(model))


class LanguageModel:
    """The loss (nats) of the labelled tokens of `rows`; its weight is their number.

    The loss of a token is its cross entropy. In a rehearsed row it is `rehearsal_weight` times the KL divergence from
    the base model (the adapter disabled, or `before` if the model's own parameters are trained), which preserves the
    whole output distribution instead of only the likeliest token (learning without forgetting, Li and
    Hoiem 2016, arXiv:1606.09282).
    """

    def __init__(
        self,
        model: Model,
        rows: Sequence[Example],
        pad: int,
        rehearsal_weight: float = 1.0,
        before: Preserved | None = None,
    ) -> None:
        """Check the output layer of `model`; rows of a batch are padded on the right with the token `pad`.

        Raises:
            UserError: the logits of the model are computed in an unknown way.
        """
        self.head, self.rows, self.pad, self.rehearsal_weight = checked_head(model), rows, pad, rehearsal_weight
        self.sizes = [len(row.ids) for row in rows]
        self.before = before
        self.base_head = self.head if before is None else before.head

    def __call__(self, model: Model, items: Sequence[int]) -> Loss:
        """Return the sum of the losses of the labelled tokens of the rows `items`."""
        rows = [self.rows[item] for item in items]
        targets = padded([[*row.labels[1:], IGNORED] for row in rows], IGNORED)
        rehearsed = torch.tensor([[row.rehearsed] for row in rows])
        wanted = targets != IGNORED
        hidden = padded_states(model, rows, self.pad)
        learned = places(wanted & ~rehearsed, model.device)
        wished = targets[wanted & ~rehearsed].to(model.device)
        total = -self.head.logprobs(hidden.index_select(0, learned), wished).sum()
        if rehearsed.any():
            preserved = hidden.index_select(0, places(wanted & rehearsed, model.device))
            divergence = self.head.divergence(preserved, self._base(model, items), self.base_head)
            total = total + self.rehearsal_weight * divergence.sum()
        return Loss(total, float(wanted.sum()))

    @torch.no_grad()
    def _base(self, model: Model, items: Sequence[int]) -> Tensor:
        """Return the base model's hidden states, without dropout, at the labelled tokens of the rehearsed rows."""
        chosen = [item for item in items if self.rows[item].rehearsed]
        if self.before is not None:
            return torch.cat([self.before.states[item] for item in chosen]).to(model.device)
        with original(model) as base, in_eval_mode(base):
            return labelled_states(base, [self.rows[item] for item in chosen], self.pad)


def padded_states(model: Model, rows: Sequence[Example], pad: int) -> Tensor:
    """Return the hidden states [B * L, H] of padded rows."""
    ids = padded([row.ids for row in rows], pad).to(model.device)
    given = [row.positions for row in rows if row.positions is not None]
    return hidden_states(model, ids, padded(given, 0).to(model.device) if given else None).flatten(0, 1)


def labelled_states(model: Model, rows: Sequence[Example], pad: int) -> Tensor:
    """Return the hidden states [labelled tokens, H] that predict the labelled tokens of the rows, in their order."""
    wanted = padded([[*row.labels[1:], IGNORED] for row in rows], IGNORED) != IGNORED
    return padded_states(model, rows, pad).index_select(0, places(wanted, model.device))


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
