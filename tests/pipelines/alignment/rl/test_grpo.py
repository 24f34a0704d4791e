"""GRPO, RLOO and Dr. GRPO: advantages and losses by hand, equal groups, and the KL in the loss or in the reward."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipelines.alignment.backbone import POLICY, VALUE, Backbone, named_weights, train_only
from pipelines.alignment.losses import policy_loss, reduce
from pipelines.alignment.rl.config import GRPOBlock
from pipelines.alignment.rl.experience import Experience, measure
from pipelines.alignment.rl.groups import Variant, group_advantages, informative, token_weights
from pipelines.alignment.rl.grpo import GRPO
from pipelines.alignment.rl.rewards import ScoreNorm
from pipelines.alignment.rl.samples import Sample
from pipelines.alignment.sequences import Turn
from pipelines.config import Config
from pipelines.training.checkpoints import Checkpoints
from tests.pipelines.alignment.conftest import gradients
from tests.support.interruptions import Fatal, killed
from tests.support.recorder import Recorder
from tests.support.reinforcement import PROMPTS, actors, even

pytestmark = pytest.mark.slow

REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 4.0, 6.0, 8.0]])


@pytest.mark.parametrize(
    ("variant", "advantages"),
    [
        ("grpo", [[0.8660254, -0.8660254, -0.8660254, 0.8660254], [-1.1618950, -0.3872983, 0.3872983, 1.1618950]]),
        ("dr_grpo", [[0.5, -0.5, -0.5, 0.5], [-3.0, -1.0, 1.0, 3.0]]),
        ("rloo", [[0.6666667, -0.6666667, -0.6666667, 0.6666667], [-4.0, -1.3333333, 1.3333333, 4.0]]),
    ],
)
def test_advantages_equal_hand_computed_values(variant: Variant, advantages: list[list[float]]) -> None:
    torch.testing.assert_close(group_advantages(REWARDS, variant), torch.tensor(advantages), atol=1e-6, rtol=0)


def test_rloo_subtracts_the_mean_of_the_other_answers() -> None:
    size = REWARDS.shape[1]
    others = torch.stack([(REWARDS.sum(1) - REWARDS[:, at]) / (size - 1) for at in range(size)], dim=1)
    torch.testing.assert_close(group_advantages(REWARDS, "rloo"), REWARDS - others, atol=1e-6, rtol=0)


def test_groups_of_equal_scores_are_not_informative() -> None:
    scores = torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.0, 1e-3]])
    assert informative(scores).tolist() == [False, True]
    assert informative(torch.full((1, 7), 0.1) * 3).tolist() == [False]
    assert not group_advantages(torch.full((1, 7), 0.1) * 3, "grpo").any()


@pytest.mark.parametrize(("variant", "loss"), [("grpo", -0.55), ("dr_grpo", 0.1375), ("rloo", 0.55)])
def test_losses_equal_hand_computed_values(variant: Variant, loss: float) -> None:
    """Answers of 1 and 3 tokens, advantages 2 and -1, ratio 1.1: token losses -2.2 and 1.1."""
    mask = torch.tensor([[True, False, False], [True, True, True]])
    new, advantages = torch.full((2, 3), 1.1).log(), torch.tensor([2.0, -1.0])[:, None].expand(2, 3)
    losses = policy_loss(new, torch.zeros(2, 3), advantages, 0.2, 0.2, 3.0)
    total = reduce(losses * token_weights(mask, variant, max_new_tokens=4), mask, 2)
    torch.testing.assert_close(total, torch.tensor(loss), atol=1e-6, rtol=0)


@pytest.fixture
def block(config: Config) -> GRPOBlock:
    small = {"iterations": 2, "prompts": 4, "samples": 2, "minibatch": 8, "microbatch": 4, "max_new_tokens": 8}
    loose = config.rl.grpo.health.model_copy(update={"max_kl": 1e6, "min_entropy": 0.0})
    return config.rl.grpo.model_copy(update={**small, "learning_rate": 1e-2, "health": loose})


def build(backbone: Backbone, block: GRPOBlock) -> GRPO:
    train_only(backbone.model, [POLICY])
    grpo = GRPO(actors(backbone, block, even), block, seed=1)
    grpo.norm = ScoreNorm(0.0, 1.0)
    return grpo


def collected(grpo: GRPO, turns: list[Turn], scores: list[float]) -> list[Experience]:
    """Return rollouts in which three prompts have two answers each."""
    config, stops = grpo.config, grpo.actors.sampler.stops
    return measure(grpo.backbone, turns, torch.tensor(scores), config.microbatch, stops, config.temperature)


def without_steps(grpo: GRPO) -> None:
    """Let `policy_step` compute gradients only."""
    grpo.policy = torch.optim.SGD(list(grpo.policy_weights.values()), lr=0.0)
    grpo.policy.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]


def test_answers_are_compared_within_their_prompt_in_any_order(
    backbone: Backbone, turns: list[Turn], block: GRPOBlock
) -> None:
    """Micro-batches are sorted by length, so the answers of a prompt may be in different ones."""
    grpo = build(backbone, block.model_copy(update={"missing_eos_penalty": 0.0}))
    batches, equal = grpo.estimate(collected(grpo, turns, [1.0, 2.0, 7.0, 7.0, 4.0, 1.0]))
    assert equal == pytest.approx(1 / 3)
    advantages = {
        row: batch.advantages[at][batch.rollouts.batch.mask[at]]
        for batch in batches
        for at, row in enumerate(batch.rollouts.rows)
    }
    signs = {0: -1, 1: 1, 2: 0, 3: 0, 4: 1, 5: -1}
    for row, sign in signs.items():
        wanted = torch.full((len(turns[row][1]),), sign * 0.7071068)
        torch.testing.assert_close(advantages[row], wanted, atol=1e-6, rtol=0)
    assert sum(batch.count for batch in batches) == 6
    assert all(batch.weights.sum(1).tolist() == pytest.approx([1.0] * batch.count) for batch in batches)


def test_rloo_is_reinforce_with_a_leave_one_out_baseline(
    backbone: Backbone, turns: list[Turn], block: GRPOBlock
) -> None:
    grpo = build(backbone, block.model_copy(update={"advantages": "rloo", "missing_eos_penalty": 0.0}))
    rollouts = collected(grpo, turns, [1.0, 2.0, 4.0, 2.0, 4.0, 1.0])
    without_steps(grpo)
    grpo.controller.beta = 0.0
    grpo.policy_step(grpo.estimate(rollouts)[0])
    found = gradients(grpo.policy_weights.values())
    advantages = torch.tensor([-1.0, 1.0, 2.0, -2.0, 3.0, -3.0])
    losses = [
        -(advantages[one.rows] * backbone.policy(one.batch, grpo.config.temperature)[0].sum(1)).sum() / 6
        for one in rollouts
    ]
    torch.stack(losses).sum().backward()
    wanted = gradients(grpo.policy_weights.values())
    norm = torch.nn.utils.get_total_norm(wanted)
    scale = min(1.0, 1.0 / (float(norm) + 1e-6))  # policy_step clips the norm of its gradients to 1
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other * scale, atol=1e-5, rtol=1e-3)


def leave_reference(backbone: Backbone) -> None:
    """Change the policy, so that its KL to the reference is not zero."""
    with torch.no_grad():
        for weight in named_weights(backbone.model, POLICY).values():
            weight.mul_(1.5)


def test_kl_is_in_the_loss_but_for_rloo_in_the_reward(backbone: Backbone, turns: list[Turn], block: GRPOBlock) -> None:
    leave_reference(backbone)
    plain = block.model_copy(update={"missing_eos_penalty": 0.0})
    scores = [1.0, 2.0, 4.0, 2.0, 4.0, 1.0]
    grpo = build(backbone, plain)
    rollouts = collected(grpo, turns, scores)
    one = grpo.estimate(rollouts)[0][0]
    assert one.rollouts.kl.abs().sum() > 1e-3
    losses = grpo.token_losses(one, one.rollouts.logprobs)
    wanted = -one.advantages + 0.05 * (one.rollouts.logprobs - one.rollouts.reference).square() / 2
    torch.testing.assert_close(losses, wanted, atol=1e-6, rtol=0)
    rloo = build(backbone, plain.model_copy(update={"advantages": "rloo", "kl_estimator": "k1"}))
    batch = rloo.estimate(rollouts)[0][0]
    torch.testing.assert_close(rloo.token_losses(batch, batch.rollouts.logprobs), -batch.advantages, atol=1e-6, rtol=0)
    divergences = {row: float(each.kl[at].sum()) for each in rollouts for at, row in enumerate(each.rows)}
    row = batch.rollouts.rows[0]
    pair = row ^ 1
    rewards = [scores[each] - 0.05 * divergences[each] for each in (row, pair)]
    assert float(batch.advantages[0, 0]) == pytest.approx(rewards[0] - rewards[1], abs=1e-5)


def test_a_round_without_a_difference_leaves_the_policy_as_it_is(backbone: Backbone, block: GRPOBlock) -> None:
    grpo = build(backbone, block)
    grpo.actors = actors(backbone, block.model_copy(update={"missing_eos_penalty": 0.0}), constant)
    grpo.config = block.model_copy(update={"missing_eos_penalty": 0.0})
    before = {name: weight.clone() for name, weight in grpo.policy_weights.items()}
    run = Recorder()
    grpo.train(PROMPTS, PROMPTS, run, Checkpoints())
    assert (
        run.of("equal_groups") == [1.0, 1.0]
        and run.of("gradient_norm") == [0.0, 0.0]
        and run.of("policy_loss") == [0.0, 0.0]
    )
    assert all(torch.equal(weight, before[name]) for name, weight in grpo.policy_weights.items())


@pytest.mark.parametrize(
    ("variant", "estimator", "equal"), [("grpo", "k2", 1.0), ("dr_grpo", "k3", 1.0), ("rloo", "k1", 0.0)]
)
def test_answers_of_equal_scores_return_to_the_reference(
    backbone: Backbone, turns: list[Turn], block: GRPOBlock, variant: Variant, estimator: str, equal: float
) -> None:
    leave_reference(backbone)
    settings = {"advantages": variant, "kl_estimator": estimator, "missing_eos_penalty": 0.0}
    grpo = build(backbone, block.model_copy(update=settings))
    batches, share = grpo.estimate(collected(grpo, turns, [2.0] * 6))
    assert share == equal
    assert grpo.policy_step(batches)["gradient_norm"] > 0
    grpo.controller.beta = 0.0
    assert grpo.policy_step(grpo.estimate(collected(grpo, turns, [2.0] * 6))[0])["gradient_norm"] == 0


def constant(samples: Sequence[Sample]) -> torch.Tensor:
    return torch.ones(len(samples))


@pytest.mark.parametrize(("variant", "estimator"), [("grpo", "k2"), ("dr_grpo", "k2"), ("rloo", "k1")])
def test_killed_training_resumes_with_equal_results(
    backbone: Backbone, block: GRPOBlock, variant: Variant, estimator: str, tmp_path: Path
) -> None:
    """Killed after each of two rounds."""
    settings = {"advantages": variant, "kl_estimator": estimator, "iterations": 3, "kl_horizon": 8}
    changed = block.model_copy(update=settings)
    start = {name: value.clone() for name, value in backbone.model.state_dict().items()}

    def run(checkpoints: Checkpoints) -> tuple[GRPO, list[torch.Tensor]]:
        backbone.model.load_state_dict(start)
        torch.manual_seed(0)
        grpo = build(backbone, changed)
        grpo.train(PROMPTS, PROMPTS, Recorder(), checkpoints)
        momenta = [grpo.policy.state[weight]["exp_avg"] for weight in grpo.policy_weights.values()]
        return grpo, [*grpo.policy_weights.values(), *momenta, torch.get_rng_state()]

    whole, weights = run(Checkpoints())
    kept = [each.clone() for each in weights]
    for _ in range(2):
        killed(lambda: run(Fatal(tmp_path / "kept")))
    resumed, again = run(Checkpoints(tmp_path / "kept"))
    assert (resumed.history, resumed.controller, resumed.best.number) == (
        whole.history,
        whole.controller,
        whole.best.number,
    )
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


def test_only_the_policy_is_trained(backbone: Backbone, block: GRPOBlock) -> None:
    grpo = build(backbone, block)
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    grpo.round([*PROMPTS], 0)
    moved = {name for name, value in backbone.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if f".{POLICY}." in name} and not any(VALUE in name for name in moved)
    assert len(grpo.optimizers) == 1
