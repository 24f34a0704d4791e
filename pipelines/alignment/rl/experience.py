"""Experience of one round of rollouts: each token's log-probabilities, and each answer's score.

Old log-probabilities are computed by the forward pass of the update, in the same micro-batches, and not taken
from generation, whose rounding differs. So the ratio is exactly 1 before the first step.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.alignment.backbone import POLICY, REFERENCE, Backbone, using
from pipelines.alignment.rl.kl import kl
from pipelines.alignment.sequences import Batch, Turn, by_length, collate


@dataclass(frozen=True)
class Experience:
    """Measurements of one micro-batch of rollouts before the update; [B, T] unless stated otherwise."""

    batch: Batch
    rows: list[int]
    """[B] positions of the responses in the round."""
    ended: Tensor
    """[B] whether the response ended with a stop token."""
    logprobs: Tensor
    entropy: Tensor
    reference: Tensor
    """Log-probabilities of the reference."""
    scores: Tensor
    """[B] raw scores."""

    @property
    def kl(self) -> Tensor:
        """Per-token KL to the reference, by the estimator k1, the only one whose mean as a reward is the KL."""
        return kl(self.logprobs, self.reference, "k1")


@dataclass(frozen=True)
class AdvantageBatch:
    """One micro-batch of rollouts with its advantages [B, T], and its weight in the loss of an optimiser step."""

    rollouts: Experience
    advantages: Tensor
    weights: Tensor
    """[B, T] weight of each token; zero in the padding."""
    count: int
    """What the step divides the weighted losses by, as a part of its sum over the step's micro-batches."""


@torch.no_grad()
def measure(
    backbone: Backbone, turns: Sequence[Turn], scores: Tensor, microbatch: int, stops: list[int], temperature: float
) -> list[Experience]:
    """Evaluate `turns` with the policy and the reference, in the micro-batches of the update."""
    final, groups = torch.tensor(stops, device=backbone.device), by_length(turns, microbatch)
    batches = [collate([turns[row] for row in rows], backbone.tok.pad_token_id, backbone.device) for rows in groups]
    with using(backbone.model, POLICY):
        policies = [backbone.policy(batch, temperature, with_entropy=True) for batch in batches]
    with using(backbone.model, REFERENCE):
        references = [backbone.policy(batch, temperature)[0] for batch in batches]
    rollouts = []
    for rows, batch, (logprobs, entropy), reference in zip(groups, batches, policies, references, strict=True):
        ended = torch.isin(batch.responses.gather(1, batch.last[:, None]).squeeze(1), final)
        rollouts.append(Experience(batch, rows, ended, logprobs, entropy, reference, scores[rows]))
    return rollouts


def entropy(rollouts: Sequence[Experience], chosen: Collection[int]) -> float:
    """Return the mean entropy of a token, in nats, over the responses at the `chosen` positions of the round."""
    kept = [torch.tensor([row in chosen for row in one.rows], device=one.entropy.device) for one in rollouts]
    total = sum(float(one.entropy[rows].sum()) for one, rows in zip(rollouts, kept, strict=True))
    return total / sum(int(one.batch.mask[rows].sum()) for one, rows in zip(rollouts, kept, strict=True))


def describe(rollouts: Sequence[Experience]) -> dict[str, float]:
    """Return the means of a round per response (entropy: per token); `kl` is summed over a response's tokens."""
    lengths = torch.cat([one.batch.mask.sum(dim=1) for one in rollouts])
    return {
        "score": float(torch.cat([one.scores for one in rollouts]).mean()),
        "kl": float(torch.cat([one.kl.sum(dim=1) for one in rollouts]).mean()),
        "entropy": entropy(rollouts, range(len(lengths))),
        "length": float(lengths.float().mean()),
        "ended": float(torch.cat([one.ended for one in rollouts]).float().mean()),
    }
