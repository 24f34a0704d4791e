"""Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300), RLOO and Dr. GRPO: no critic.

Several answers to each prompt are compared with each other (groups.py). Groups whose answers all have the same reward
are counted; their advantages are zero. The KL to the reference is a term of the loss of all answers, but with RLOO part
of the reward.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.alignment.rl.config import GRPOBlock
from pipelines.alignment.rl.experience import AdvantageBatch, Experience
from pipelines.alignment.rl.groups import group_advantages, informative, token_weights
from pipelines.alignment.rl.kl import kl
from pipelines.alignment.rl.trainer import Trainer, means


class GRPO(Trainer):
    """Trains the policy adapter of `actors`, which `train_only` must have made trainable."""

    name = "grpo"
    config: GRPOBlock

    def update(self, rollouts: list[Experience], number: int) -> dict[str, float]:
        """Run all steps of a round; return their mean metrics, and the share of groups with equal rewards."""
        batches, equal = self.estimate(rollouts)
        steps = [self.policy_step([batches[index] for index in group]) for group in self.minibatches(len(batches))]
        return means(steps) | {"equal_groups": equal}

    def estimate(self, rollouts: Sequence[Experience]) -> tuple[list[AdvantageBatch], float]:
        """Compute the advantages of all answers of a round; return also the share of groups with equal rewards."""
        config, order = self.config, torch.tensor([row for one in rollouts for row in one.rows])
        rewards = self._in_groups(torch.cat([self.shaped(one) for one in rollouts]), order)
        if config.advantages == "rloo":
            divergences = [one.kl.sum(dim=1) for one in rollouts]
            rewards = rewards - self.controller.beta * self._in_groups(torch.cat(divergences), order)
        advantages = group_advantages(rewards, config.advantages).flatten()
        batches = []
        for one in rollouts:
            weights = token_weights(one.batch.mask, config.advantages, config.max_new_tokens)
            spread = torch.where(one.batch.mask, advantages[one.rows][:, None], 0.0)
            batches.append(AdvantageBatch(one, spread, weights, len(one.rows)))
        return batches, 1 - float(informative(rewards).float().mean())

    def _in_groups(self, values: Tensor, order: Tensor) -> Tensor:
        """Return `values` [N], of the answers `order`, as [P, G]: a row for each prompt."""
        return torch.empty_like(values).index_copy(0, order.to(values.device), values).view(-1, self.config.samples)

    def token_losses(self, batch: AdvantageBatch, new: Tensor) -> Tensor:
        """Return the losses [B, T] of the tokens; but with RLOO, with the weighted KL to the reference."""
        losses = super().token_losses(batch, new)
        if self.config.advantages == "rloo" or not self.controller.beta:
            return losses
        return losses + self.controller.beta * kl(new, batch.rollouts.reference, self.config.kl_estimator)
