"""Losses, advantages, rewards and KL estimates against values computed by hand."""

import pytest
import torch

from pipelines.alignment.losses import pair_loss, policy_loss, reduce, value_loss
from pipelines.alignment.rl.advantages import explained_variance, gae, whiten
from pipelines.alignment.rl.kl import KLController, kl
from pipelines.alignment.rl.rewards import ScoreNorm, shape_scores, token_rewards
from pipelines.models.head import Head

pytestmark = pytest.mark.slow


def assert_close_to(found: torch.Tensor, wanted: list[float] | list[list[float]], tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted), atol=tolerance, rtol=0)


def test_logprobs_use_the_temperature() -> None:
    head = Head(torch.nn.Identity(), chunk=1)
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert_close_to(head.logprobs(logits, torch.tensor([1, 0]), temperature=0.5), [-0.1269280, -0.0181499])
    _, entropy = head.logprobs_and_entropy(torch.zeros(1, 4), torch.tensor([0]), temperature=0.7)
    assert_close_to(entropy, [1.3862944])


def test_kl_estimates_equal_hand_computed_values() -> None:
    new, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.8])
    assert_close_to(kl(new, reference, "k1"), [0.5, -0.2])
    assert_close_to(kl(new, reference, "k2"), [0.125, 0.02])
    assert_close_to(kl(new, reference, "k3"), [0.1065307, 0.0214028])


def test_only_k1_as_a_reward_has_the_gradient_of_the_kl() -> None:
    """Exact expectations over three tokens; the policy gradient treats the reward as a constant."""
    logits, reference = torch.tensor([0.2, 0.3, 0.5]).log().requires_grad_(), torch.tensor([0.5, 0.3, 0.2]).log()
    logs = logits.log_softmax(0)
    (wanted,) = torch.autograd.grad(-(logs.exp() * (logs - reference)).sum(), logits, retain_graph=True)
    expected = {}
    for kind in ("k1", "k2", "k3"):
        reward = -kl(logs.detach(), reference, kind)
        (expected[kind],) = torch.autograd.grad((logs.exp() * reward).sum(), logits, retain_graph=True)
    torch.testing.assert_close(expected["k1"], wanted)
    assert all(torch.cosine_similarity(expected[kind], wanted, dim=0) < 0.5 for kind in ("k2", "k3"))


def test_controller_changes_the_coefficient_by_the_bounded_error() -> None:
    controller = KLController(beta=0.2, target=6.0, horizon=10_000)
    controller.update(12.0, 128)  # error 1, bounded at 0.2
    assert controller.beta == pytest.approx(0.200512, abs=1e-9)
    controller.update(0.0, 10_000)  # error -1, bounded at -0.2
    assert controller.beta == pytest.approx(0.8 * 0.200512, abs=1e-9)
    controller.update(6.6, 5_000)  # error 0.1
    assert controller.beta == pytest.approx(1.05 * 0.8 * 0.200512, abs=1e-9)
    fixed = KLController(beta=0.2, target=6.0, horizon=None)
    fixed.update(100.0, 10_000)
    assert fixed.beta == 0.2


def test_gae_equals_hand_computed_values() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.4, 0.6]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    assert_close_to(advantages, [[0.451, 0.58, 0.4]])
    assert_close_to(returns, [[1.0, 1.0, 1.0]])
    assert_close_to(gae(rewards, values, mask, gamma=0.9, lam=0.95)[1], [[0.81, 0.9, 1.0]])


def test_gae_ignores_padding() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0, 9.0]]), torch.tensor([[0.5, 0.4, 0.6, 7.0]])
    mask = torch.tensor([[True, True, True, False]])
    advantages, returns = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    assert_close_to(advantages, [[0.451, 0.58, 0.4, 0.0]])
    assert_close_to(returns, [[1.0, 1.0, 1.0, 0.0]])


def test_whitening_uses_population_statistics_of_masked_tokens() -> None:
    values, mask = torch.tensor([1.0, 2.0, 3.0, 50.0]), torch.tensor([True, True, True, False])
    assert_close_to(whiten(values, mask), [-1.2247449, 0.0, 1.2247449, 0.0])
    assert_close_to(whiten(values, mask, shift_mean=False), [0.7752551, 2.0, 3.2247449, 0.0])


def test_equal_rewards_give_finite_advantages() -> None:
    flat = whiten(torch.full((6,), 0.3), torch.ones(6, dtype=torch.bool))
    assert_close_to(flat, [0.0] * 6, tolerance=1e-3)


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss"),
    [(1.0, 1.5, -1.2), (-1.0, 1.5, 1.5), (-1.0, 0.5, 0.8), (1.0, 0.5, -0.5), (-1.0, 5.0, 3.0)],
)
def test_policy_loss_is_clipped(advantage: float, ratio: float, loss: float) -> None:
    new = torch.tensor([[ratio]]).log()
    assert_close_to(policy_loss(new, torch.zeros(1, 1), torch.tensor([[advantage]]), 0.2, 0.2, dual=3.0), [[loss]])


def test_policy_loss_is_finite_for_an_enormous_ratio() -> None:
    new = torch.tensor([[300.0]], requires_grad=True)
    policy_loss(new, torch.zeros(1, 1), torch.tensor([[-1.0]]), 0.2, 0.2, dual=3.0).sum().backward()
    assert new.grad is not None and torch.isfinite(new.grad).all()


def test_value_loss_is_the_larger_of_unclipped_and_clipped() -> None:
    values, old, returns = torch.tensor([1.0, 0.1]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    assert_close_to(value_loss(values, old, returns, clip=0.2), [0.32, 0.405])


def test_token_weights_do_not_depend_on_micro_batches() -> None:
    long, short = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[4.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    whole = reduce(torch.cat([long, short]), mask, denominator=4)
    parts = reduce(long, mask[:1], 4) + reduce(short, mask[1:], 4)
    assert whole.item() == parts.item() == 1.75


def test_score_is_added_to_the_last_token_only() -> None:
    scores, beta = torch.tensor([2.0, -1.0]), 0.1
    divergence = torch.tensor([[0.5, -0.2, 0.3], [0.1, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rewards = token_rewards(scores, divergence, mask.sum(1) - 1, beta, mask)
    assert_close_to(rewards, [[-0.05, 0.02, 1.97], [-1.01, 0.0, 0.0]])
    assert_close_to(rewards.sum(1), (scores - beta * (divergence * mask).sum(1)).tolist())


def test_scores_are_normalised_clipped_and_penalised() -> None:
    scores = torch.tensor([1.0, 3.0, 5.0])
    norm = ScoreNorm.of(scores)
    assert_close_to(norm(scores), [-1.2247449, 0.0, 1.2247449])
    shaped = shape_scores(norm(scores), torch.tensor([True, False, True]), penalty=1.0, clip=1.0)
    assert_close_to(shaped, [-1.0, -1.0, 1.0])
    assert ScoreNorm.of(torch.full((3,), 2.0)).std == 1.0


def test_pair_loss_of_equal_scores_is_ln_2() -> None:
    assert_close_to(pair_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])), [0.6931472, 0.1269280])


def test_explained_variance_of_perfect_and_constant_values() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.zeros(3), returns) == 0.0
    assert explained_variance(returns, torch.ones(3)) == 0.0
