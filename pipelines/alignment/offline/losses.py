"""Preference losses on pairs of a chosen and a rejected answer, by name. docs/alignment.md compares them.

Each loss is computed from log-ratios [B, 2] (chosen, rejected) of policy and reference, summed over an answer or per
token; beta times the log-ratio is the implicit reward. Without a reference, log-probabilities take their place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

CERTAIN = -1e-6  # largest log-probability per token whose odds float32 can represent


@dataclass(frozen=True)
class PreferenceLoss:
    """A loss, and what its log-ratios are."""

    function: Callable[..., Tensor]
    """Maps log-ratios [B, 2] and the parameters of the loss by name to losses [B]."""
    with_reference: bool = True
    """Whether the log-probabilities are divided by those of the reference; its value at the start is then known."""
    per_token: bool = False
    """Whether log-ratios are means over the tokens of an answer, so that its length does not matter, or sums."""
    with_kl: bool = False
    """Whether `function` takes an estimate `kl` of KL(policy || reference), a scalar; it is 0 at the start."""

    def log_ratios(self, logs: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
        """Return the log-ratios [B, 2] of answers with `lengths` tokens and summed log-probabilities (all [B, 2])."""
        ratios = logs - reference if self.with_reference else logs
        return ratios / lengths if self.per_token else ratios

    def at_start(self, parameters: dict[str, float]) -> float | None:
        """Return the loss of a policy that equals its reference, such as ln 2; None without a reference."""
        return float(self.function(torch.zeros(1, 2), **parameters)) if self.with_reference else None


def margins(ratios: Tensor, beta: float) -> Tensor:
    """Return the difference [B] of the implicit rewards of the chosen and the rejected answer."""
    rewards = beta * ratios
    return rewards[:, 0] - rewards[:, 1]


def sigmoid(ratios: Tensor, beta: float) -> Tensor:
    """Return -log sigmoid(margin): DPO (Rafailov et al. 2023, arXiv:2305.18290, eq. 7).

    Of log-ratios per token it is length-normalised DPO (Tülu 3, Lambert et al. 2024, arXiv:2411.15124, section 5); of
    log-probabilities without a reference, the first term of CPO (Xu et al. 2024, arXiv:2401.08417, eq. 3).
    """
    return -logsigmoid(margins(ratios, beta))


def hinge(ratios: Tensor, beta: float) -> Tensor:
    """Return max(0, 1 - margin), as in SLiC (Zhao et al. 2023, arXiv:2305.10425) with DPO's rewards."""
    return torch.relu(1 - margins(ratios, beta))


def ipo(ratios: Tensor, beta: float) -> Tensor:
    """Return the squared distance of the log-ratios' difference to 1 / (2 beta) (Azar et al. 2023, eq. 17).

    arXiv:2310.12036. The log-ratios are per token, as in the paper's experiments according to TRL.
    """
    return (ratios[:, 0] - ratios[:, 1] - 1 / (2 * beta)).square()


def robust(ratios: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """Return an unbiased estimate of the DPO loss if a share `label_smoothing` of the pairs is swapped.

    Robust DPO (Chowdhury et al. 2024, arXiv:2403.00409).
    """
    margin = margins(ratios, beta)
    clean, swapped = -logsigmoid(margin), -logsigmoid(-margin)
    return ((1 - label_smoothing) * clean - label_smoothing * swapped) / (1 - 2 * label_smoothing)


def simpo(ratios: Tensor, beta: float, target_margin: float) -> Tensor:
    """Return -log sigmoid(margin - `target_margin`) (Meng et al. 2024, arXiv:2405.14734, eq. 6)."""
    return -logsigmoid(margins(ratios, beta) - target_margin)


def orpo(ratios: Tensor, beta: float) -> Tensor:
    """Return -beta x log sigmoid of the log odds ratio (Hong et al. 2024, arXiv:2403.07691, eq. 4 and 7).

    The probability of an answer is the geometric mean of those of its tokens.
    """
    means = ratios.clamp(max=CERTAIN)
    log_odds = means - torch.log(-torch.expm1(means))
    return -beta * logsigmoid(log_odds[:, 0] - log_odds[:, 1])


def kto(
    ratios: Tensor, beta: float, desirable_weight: float, undesirable_weight: float, kl: Tensor | float = 0.0
) -> Tensor:
    """Return the mean of the losses of the chosen, desirable and the rejected, undesirable answer.

    1 minus the Kahneman-Tversky value of the reward relative to beta x `kl` (Ethayarajh et al. 2024, arXiv:2402.01306,
    eq. 7). Each answer is judged on its own, not compared with the other one.
    """
    desirable = desirable_weight * torch.sigmoid(beta * (kl - ratios[:, 0]))
    undesirable = undesirable_weight * torch.sigmoid(beta * (ratios[:, 1] - kl))
    return (desirable + undesirable) / 2


LOSSES = {
    "sigmoid": PreferenceLoss(sigmoid),
    "sigmoid_norm": PreferenceLoss(sigmoid, per_token=True),
    "ipo": PreferenceLoss(ipo, per_token=True),
    "hinge": PreferenceLoss(hinge),
    "robust": PreferenceLoss(robust),
    "kto": PreferenceLoss(kto, with_kl=True),
    "cpo": PreferenceLoss(sigmoid, with_reference=False),
    "simpo": PreferenceLoss(simpo, with_reference=False, per_token=True),
    "orpo": PreferenceLoss(orpo, with_reference=False, per_token=True),
}
"""Losses by the name in `PreferenceBlock.loss`."""
