"""Log-probabilities of the pairs' answers under policy and reference, and KTO's estimate of their KL divergence."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.alignment.backbone import Backbone
from pipelines.alignment.sequences import Pair, collate, pair_sizes
from pipelines.runtime.errors import UserError
from pipelines.training.examples import fill


def answer_logprobs(backbone: Backbone, pairs: Sequence[Pair]) -> Tensor:
    """Return the summed log-probabilities [B, 2] of the chosen and the rejected answers, from one forward pass."""
    turns = [pair[side] for side in (0, 1) for pair in pairs]
    logs, _ = backbone.policy(collate(turns, backbone.tok.pad_token_id, backbone.device), 1.0)
    return logs.sum(1).view(2, len(pairs)).T


def mismatched(pairs: Sequence[Pair]) -> list[Pair]:
    """Return each pair's prompt with the answers of another one: of the pair before it by length with another prompt.

    Batches consist of pairs of similar length, so that most answers are of the same batch, as in TRL. The choice does
    not depend on the batches, so that the reference is computed once.

    Raises:
        UserError: all pairs have the same prompt.
    """
    order = sorted(range(len(pairs)), key=lambda item: (pair_sizes([pairs[item]]), item))
    found = list(pairs)
    for place, item in enumerate(order):
        prompt = pairs[item][0][0]
        before = (pairs[order[place - step]] for step in range(1, len(order)))
        other = next((pair for pair in before if pair[0][0] != prompt), None)
        if other is None:
            raise UserError("kto needs pairs of two prompts or more, but all have the same; choose another loss.")
        found[item] = ((prompt, other[0][1]), (prompt, other[1][1]))
    return found


class MismatchedKL:
    """KTO's reference point: an estimate of KL(policy || reference) from answers to other prompts, one per step.

    It is the mean log-ratio of mismatched prompts and answers, not below zero (Ethayarajh et al. 2024,
    arXiv:2402.01306, section 4.1; biased, but it needs no samples of the policy). The mean is over the whole step, not
    over a micro-batch as in TRL, so that a step has the same result however it is split. In every process
    (torch.distributed) it is computed over the steps of all.
    """

    def __init__(self, backbone: Backbone, pairs: Sequence[Pair], steps: Sequence[Sequence[int]]) -> None:
        """Pair prompts and answers; `steps` name each pair by its index plus a multiple of the number of pairs."""
        self.backbone, self.steps = backbone, steps
        self.pairs = mismatched(pairs)
        self.sizes = pair_sizes(self.pairs)
        self.reference = torch.zeros(len(pairs), 2, device=backbone.device)
        self.step_of = {item: number for number, step in enumerate(steps) for item in step}
        self.known: tuple[int, Tensor] | None = None

    def refer(self, tokens: int) -> None:
        """Take the present adapter as the reference, in batches of at most `tokens` tokens."""
        order = sorted(range(len(self.pairs)), key=lambda row: self.sizes[row])
        self.reference[order] = self._logprobs(order, tokens)

    def __call__(self, item: int, tokens: int) -> Tensor:
        """Return the estimate, a scalar, for the step that contains `item`, in batches of at most `tokens` tokens.

        It is computed once per step: the weights do not change within one.
        """
        number = self.step_of[item]
        if self.known is None or self.known[0] != number:
            rows = [each % len(self.pairs) for each in self.steps[number]]
            ratios = self._logprobs(rows, tokens) - self.reference[rows]
            self.known = number, ratios.mean().clamp(min=0)
        return self.known[1]

    @torch.no_grad()
    def _logprobs(self, rows: Sequence[int], tokens: int) -> Tensor:
        batches = fill(rows, self.sizes, tokens)
        return torch.cat([answer_logprobs(self.backbone, [self.pairs[row] for row in batch]) for batch in batches])
