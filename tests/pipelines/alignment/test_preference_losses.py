"""Preference losses against values computed by hand, and the parameters that each of them accepts."""

import math
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pipelines.alignment.config import PreferenceBlock
from pipelines.alignment.offline.losses import LOSSES, orpo
from tests.support.pairs import block

LOGS = torch.tensor([[-1.0, -3.0], [-4.0, -2.0]])
REFERENCE = torch.tensor([[-2.0, -2.5], [-3.0, -2.0]])
LENGTHS = torch.tensor([[2, 4], [1, 2]])

# Log-ratios are (1, -0.5) and (-1, 0), per token (0.5, -0.125) and (-1, 0); beta is 0.5.
BY_HAND = {
    "sigmoid": [0.3868710, 0.9740770],  # margins 0.75, -0.5
    "sigmoid_norm": [0.5490549, 0.9740770],  # margins 0.3125, -0.5
    "ipo": [0.140625, 4.0],  # (0.625 - 1)^2, (-1 - 1)^2
    "hinge": [0.25, 1.5],
    "robust": [0.2931210, 1.0365770],  # (0.9 l(m) - 0.1 l(-m)) / 0.8
    "kto": [0.5106930, 0.6790938],  # KL 0.2
    "cpo": [0.3132617, 1.3132617],  # margins 1, -1
    "simpo": [0.7844704, 1.9529776],  # margins 0.125 - 0.3, -1.5 - 0.3
    "orpo": [0.2289564, 1.7358726],  # log odds 0.4327521 - -0.1107398, -3.9815149 - -0.5413249
}
AT_START = {
    "sigmoid": math.log(2),
    "sigmoid_norm": math.log(2),
    "robust": math.log(2),
    "ipo": 1.0,
    "hinge": 1.0,
    "kto": 0.625,
}


def losses(name: str, logs: Tensor, reference: Tensor, **changes: Any) -> Tensor:
    """Return the losses of pairs by name; KTO's estimate of the KL is 0.2."""
    loss, parameters = LOSSES[name], block(name).loss_parameters
    ratios = loss.log_ratios(logs, reference, LENGTHS)
    estimate = {"kl": torch.tensor(0.2)} if loss.with_kl else {}
    return loss.function(ratios, **{**parameters, **estimate, **changes})


@pytest.mark.parametrize("name", get_args(PreferenceBlock.model_fields["loss"].annotation))
def test_loss_equals_hand_computed_values(name: str) -> None:
    found = losses(name, LOGS, REFERENCE)
    torch.testing.assert_close(found, torch.tensor(BY_HAND[name]), atol=1e-6, rtol=0)
    assert LOSSES.keys() == BY_HAND.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_prefers_the_chosen_answer(name: str) -> None:
    logs = LOGS.clone().requires_grad_()
    losses(name, logs, REFERENCE).sum().backward()
    assert logs.grad is not None
    assert (logs.grad[:, 0] < 0).all() and (logs.grad[:, 1] > 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_value_at_the_start_is_known_with_a_reference_only(name: str) -> None:
    found = LOSSES[name].at_start(block(name).loss_parameters)
    assert found == (pytest.approx(AT_START[name], abs=1e-6) if name in AT_START else None)
    assert (name in AT_START) == LOSSES[name].with_reference


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.with_reference])
def test_loss_without_reference_ignores_it(name: str) -> None:
    assert losses(name, LOGS, REFERENCE).equal(losses(name, LOGS, REFERENCE + 1))


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.per_token])
def test_loss_per_token_does_not_depend_on_the_length(name: str) -> None:
    loss, parameters = LOSSES[name], block(name).loss_parameters
    one, two = (
        loss.function(loss.log_ratios(scale * LOGS, scale * REFERENCE, scale * LENGTHS), **parameters)
        for scale in (1, 3)
    )
    torch.testing.assert_close(one, two)


def test_robust_without_smoothing_is_dpo() -> None:
    assert losses("robust", LOGS, REFERENCE, label_smoothing=0.0).equal(losses("sigmoid", LOGS, REFERENCE))


def test_orpo_of_a_certain_answer_is_finite() -> None:
    logs = torch.tensor([[0.0, -30.0]], requires_grad=True)
    loss = orpo(logs, beta=0.1)
    loss.sum().backward()
    assert loss.isfinite().all() and logs.grad is not None and logs.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "changes", "complaint"),
    [
        ("sigmoid", {"label_smoothing": 0.1}, "the loss sigmoid has no label_smoothing; set it to null"),
        ("orpo", {"target_margin": 0.5}, "the loss orpo has no target_margin; set it to null"),
        ("robust", {"label_smoothing": None}, "the loss robust needs label_smoothing; set it to a number"),
        ("simpo", {"target_margin": None}, "the loss simpo needs target_margin"),
        ("kto", {"undesirable_weight": None}, "the loss kto needs undesirable_weight"),
        ("robust", {"label_smoothing": 0.5}, "less than 0.5"),
        ("kto", {"desirable_weight": 0.0}, "greater than 0"),
        ("sigmoid", {"beta": 0.0}, "greater than 0"),
        ("cpo", {"sft_weight": 0.0}, "the loss cpo includes the SFT loss; set sft_weight above 0"),
        ("dpo", {}, "'sigmoid'"),
    ],
)
def test_invalid_parameter_of_a_loss_is_named(loss: str, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint) as caught:
        block(loss, **changes)
    assert caught.value.error_count() == 1
