"""Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300), RLOO and Dr. GRPO: no critic.

Several answers to each prompt are compared with each other (groups.py). Groups whose answers all have the same score
are counted and left out of the update. The KL to the reference is a term of the loss, but with RLOO part of the reward.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.alignment.rl.config import GRPOBlock
from pipelines.alignment.rl.experience import AdvantageBatch, Experience
from pipelines.alignment.rl.groups import group_advantages, informative, token_weights
from pipelines.alignment.rl.kl import kl
from pipelines.alignment.rl.trainer import Trainer


class GRPO(Trainer):
    """Trains the policy adapter of `actors`, which `train_only` must have made trainable."""

    name = "grpo"
    config: GRPOBlock

    def update(self, rollouts: list[Experience], number: int) -> dict[str, float]:
        """Run all steps of a round; return the mean loss, and the shares of clipped tokens, skipped groups."""
        batches, kept = self.estimate(rollouts)
        batches = [batch for batch in batches if batch.count]
        steps = [self.policy_step([batches[index] for index in group]) for group in self.minibatches(len(batches))]
        losses, clips = zip(*steps, strict=True) if steps else ((0.0,), (0.0,))
        return {
            "policy_loss": sum(losses) / len(losses),
            "clip_fraction": sum(clips) / len(clips),
            "skipped_groups": 1 - float(kept.float().mean()),
        }

    def estimate(self, rollouts: Sequence[Experience]) -> tuple[list[AdvantageBatch], Tensor]:
        """Compute the advantages of all answers of a round; return also which groups [P] are kept."""
        config, order = self.config, torch.tensor([row for one in rollouts for row in one.rows])
        scores = self._in_groups(torch.cat([self.shaped(one) for one in rollouts]), order)
        rewards = scores
        if config.advantages == "rloo":
            divergences = [one.kl.sum(dim=1) for one in rollouts]
            rewards = scores - self.controller.beta * self._in_groups(torch.cat(divergences), order)
        kept = informative(scores)
        advantages = group_advantages(rewards, config.advantages).flatten()
        answers = kept.repeat_interleave(config.samples)
        batches = []
        for one in rollouts:
            mask, chosen = one.batch.mask, answers[one.rows]
            weights = token_weights(mask, chosen, config.advantages, config.max_new_tokens)
            spread = torch.where(mask, advantages[one.rows][:, None], 0.0)
            batches.append(AdvantageBatch(one, spread, weights, int(chosen.sum())))
        return batches, kept

    def _in_groups(self, values: Tensor, order: Tensor) -> Tensor:
        """Return `values` [N], of the answers `order`, as [P, G]: a row for each prompt."""
        return torch.empty_like(values).index_copy(0, order.to(values.device), values).view(-1, self.config.samples)

    def token_losses(self, batch: AdvantageBatch, new: Tensor) -> Tensor:
        """Return the losses [B, T] of the tokens; but with RLOO, with the weighted KL to the reference."""
        losses = super().token_losses(batch, new)
        if self.config.advantages == "rloo" or not self.controller.beta:
            return losses
        return losses + self.controller.beta * kl(new, batch.rollouts.reference, self.config.kl_estimator)
