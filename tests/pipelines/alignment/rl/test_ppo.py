"""PPO on a tiny model: ratio 1 at the start, separate steps of policy and critic, and learning of a toy reward."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.alignment.backbone import POLICY, REFERENCE, REWARD, VALUE, Backbone, named_weights
from pipelines.alignment.losses import policy_loss
from pipelines.alignment.rl import health
from pipelines.alignment.rl.config import PPOBlock
from pipelines.alignment.rl.experience import AdvantageBatch, Experience, measure
from pipelines.alignment.rl.ppo import PPO, ValueTargets
from pipelines.alignment.rl.rewards import ScoreNorm
from pipelines.alignment.rl.samples import Prompt, Sample
from pipelines.alignment.sequences import Turn
from pipelines.config import Config
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from tests.pipelines.alignment.conftest import gradients
from tests.support.interruptions import Fatal, killed
from tests.support.recorder import Recorder
from tests.support.reinforcement import PROMPTS, Score, actors, even, probability_of_even, sharpen

pytestmark = pytest.mark.slow


@pytest.fixture
def block(config: Config) -> PPOBlock:
    small = {"iterations": 2, "prompts": 8, "minibatch": 8, "microbatch": 4, "epochs": 1, "critic_warmup": 0}
    values = {"temperature": 0.7, "max_new_tokens": 4, "learning_rate": 1e-2, "critic_learning_rate": 1e-2}
    loose = config.rl.ppo.health.model_copy(update={"max_kl": 1e6, "min_entropy": 0.0})
    return config.rl.ppo.model_copy(update={**small, **values, "health": loose})


def build(backbone: Backbone, block: PPOBlock, reward: Score = even) -> PPO:
    torch.manual_seed(0)
    return PPO(actors(backbone, block, reward), block, seed=1)


def train(ppo: PPO, run: Recorder | None = None, held_out: list[Prompt] = PROMPTS) -> list[dict[str, float]]:
    return ppo.train(PROMPTS, held_out, run or Recorder(), Checkpoints())


def collected(ppo: PPO, turns: list[Turn]) -> list[Experience]:
    config, scores = ppo.config, torch.linspace(-1, 1, len(turns))
    return measure(ppo.backbone, turns, scores, config.microbatch, ppo.actors.sampler.stops, config.temperature)


def estimated(ppo: PPO, turns: list[Turn]) -> tuple[list[AdvantageBatch], list[ValueTargets]]:
    ppo.norm = ScoreNorm(0.0, 1.0)
    return ppo.estimate(collected(ppo, turns))


def snapshot(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in backbone.model.state_dict().items()}


def changed(backbone: Backbone, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in backbone.model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_before_the_first_step_the_ratio_is_one_and_the_kl_zero(
    backbone: Backbone, turns: list[Turn], block: PPOBlock, precision: str
) -> None:
    compute = backbone.compute.model_copy(update={"precision": precision})
    backbone = Backbone(backbone.model, backbone.tok, compute)
    for rollouts in collected(build(backbone, block), turns):
        assert not rollouts.kl.any()
        again, _ = backbone.policy(rollouts.batch, block.temperature)
        assert torch.equal(again, rollouts.logprobs)
        loss = policy_loss(again, rollouts.logprobs, torch.ones_like(again), 0.2, 0.2, 3.0)
        assert (loss == -1).all()


def test_dropout_does_not_change_the_ratio(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    for rollouts in collected(build(backbone, block), turns):
        assert torch.equal(backbone.policy(rollouts.batch, block.temperature)[0], rollouts.logprobs)


def test_padding_does_not_change_results(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    """Responses have equal results alone and in a batch with a longer one that pads them."""
    ppo = build(backbone, block)
    short = turns[:3]
    wide = build(backbone, block.model_copy(update={"microbatch": 8}))
    alone, padded = collected(ppo, short), collected(wide, turns)
    rewards = {}
    for key, rollouts in (("alone", alone), ("padded", padded)):
        for one, values in zip(rollouts, ppo.values(rollouts), strict=True):
            for row, ids in enumerate(one.batch.ids):
                name = tuple(ids[: one.batch.starts[row] + one.batch.last[row] + 1].tolist())
                kept = one.batch.mask[row]
                rewards[key, name] = torch.cat([one.logprobs[row][kept], one.reference[row][kept], values[row][kept]])
    for prompt, response in short:
        name = tuple(prompt + response)
        torch.testing.assert_close(rewards["alone", name], rewards["padded", name], atol=1e-4, rtol=0)


def test_responses_without_a_stop_token_have_not_ended(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    ended = {
        tuple(one.batch.responses[row][one.batch.mask[row]].tolist()): bool(one.ended[row])
        for one in collected(build(backbone, block), turns)
        for row in range(len(one.ended))
    }
    assert [ended[tuple(response)] for _, response in turns] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("method", ["policy_step", "critic_step"])
def test_step_changes_only_its_adapter(backbone: Backbone, turns: list[Turn], block: PPOBlock, method: str) -> None:
    ppo = build(backbone, block)
    (batches, targets), before = estimated(ppo, turns), snapshot(backbone)
    head = ppo.value_head.weight.clone()
    for _ in range(2):
        ppo.policy_step(batches) if method == "policy_step" else ppo.critic_step(targets, warmup=False)
    name = POLICY if method == "policy_step" else VALUE
    moved = changed(backbone, before)
    assert moved == {key for key in before if f".{name}." in key}
    assert torch.equal(head, ppo.value_head.weight) == (method == "policy_step")


def test_gradient_accumulation_equals_one_large_batch(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    found = []
    for microbatch in (1, 8):
        ppo = build(backbone, block.model_copy(update={"microbatch": microbatch}))
        ppo.policy = torch.optim.SGD(list(named_weights(backbone.model, POLICY).values()), lr=0.0)
        ppo.policy.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
        ppo.policy_step(estimated(ppo, turns)[0])
        found.append(gradients(ppo.policy_weights.values()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_critic_warmup_trains_only_the_critic(backbone: Backbone, block: PPOBlock) -> None:
    warm = block.model_copy(update={"critic_warmup": 1, "epochs": 12, "iterations": 1})
    before, run = snapshot(backbone), Recorder()
    ppo = build(backbone, warm)
    losses: list[float] = []
    critic_step = ppo.critic_step
    ppo.critic_step = lambda *group: losses.append(critic_step(*group)) or losses[-1]  # type: ignore[method-assign,func-returns-value]
    train(ppo, run)
    assert losses[-1] < losses[0]
    assert all(f".{VALUE}." in name for name in changed(backbone, before))
    assert set(run.steps[0]) >= {"kl", "entropy", "clip_fraction", "score", "length", "explained_variance"}
    assert run.of("gradient_norm") == [0.0] and run.of("learning_rate") == [warm.learning_rate]


def test_policy_is_measured_again_only_after_a_round_that_has_changed_it(backbone: Backbone, block: PPOBlock) -> None:
    calls: list[int] = []

    def counted(samples: Sequence[Sample]) -> torch.Tensor:
        calls.append(len(samples))
        return even(samples)

    warm = block.model_copy(update={"critic_warmup": 2, "iterations": 3, "min_explained_variance": 1.0})
    history = train(build(backbone, warm, counted), held_out=PROMPTS[:3])
    rounds = [{name: each[name] for name in health.MEASUREMENTS} for each in history]
    assert [each.get("critic_warmup") for each in history] == [1.0, 1.0, 0.0, None]
    assert rounds[0] == rounds[1] == rounds[2] != rounds[3]
    assert calls == [3, 8, 8, 8, 3]  # held out, three rounds, held out


def test_warmup_ends_once_the_critic_explains_new_returns(
    backbone: Backbone, block: PPOBlock, capsys: pytest.CaptureFixture[str]
) -> None:
    ppo = build(backbone, block.model_copy(update={"critic_warmup": 3, "min_explained_variance": 0.2}))
    outcomes = []
    for number, explained in enumerate([0.0, 0.19, 0.3, 0.1]):
        outcomes.append(ppo.warming_up(explained, number))
        ppo.history.append({"critic_warmup": float(outcomes[-1])})
    assert outcomes == [True, True, False, False] and not capsys.readouterr().err
    ppo.history = [{"critic_warmup": 1.0}] * 3
    assert not ppo.warming_up(0.0, 3)  # no longer than critic_warmup rounds
    assert "after 3 rounds of warm-up the critic explains 0.00 of the variance" in capsys.readouterr().err


def test_warmup_of_all_rounds_is_an_error(block: PPOBlock) -> None:
    with pytest.raises(ValueError, match="critic_warmup must be below iterations"):
        PPOBlock.model_validate(block.model_dump() | {"critic_warmup": 2})


def test_values_explain_nothing_that_only_they_predict(
    backbone: Backbone, turns: list[Turn], block: PPOBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Returns with a lambda below 1 contain the critic's own values, and any values would seem to explain them."""
    ppo = build(backbone, block.model_copy(update={"gamma": 0.9}))
    own = torch.linspace(-3, 3, 6)
    monkeypatch.setattr(
        ppo, "values", lambda rollouts: [one.batch.mask * own[: one.batch.mask.shape[1]] for one in rollouts]
    )
    _, targets = estimated(ppo, turns)
    rollouts = collected(ppo, turns)
    for one, target in zip(rollouts, targets, strict=True):
        scores, mask = ppo.shaped(one), one.batch.mask
        after = (one.batch.last[:, None] - torch.arange(mask.shape[1])).clamp(min=0)
        torch.testing.assert_close(target.returns[mask], (scores[:, None] * 0.9**after)[mask])


@pytest.mark.parametrize("warmup", [True, False])
def test_only_warmup_learns_beyond_the_clip_range(
    backbone: Backbone, turns: list[Turn], block: PPOBlock, warmup: bool
) -> None:
    """The values have moved by 1 towards the returns since the start of the round."""
    ppo = build(backbone, block)
    _, targets = estimated(ppo, turns)
    before = ppo.value_head.weight.clone()
    ppo.critic_step([replace(one, values=one.values + 1, returns=one.returns - 5) for one in targets], warmup)
    assert torch.equal(ppo.value_head.weight, before) != warmup


@pytest.mark.parametrize("sign", [1, -1])
def test_policy_learns_the_rewarded_tokens(backbone: Backbone, block: PPOBlock, sign: int) -> None:
    """A bandit: an even token has reward 1, or -1."""
    values = {"iterations": 16, "prompts": 32, "minibatch": 32, "microbatch": 32, "epochs": 4, "max_new_tokens": 1}
    toy = block.model_copy(update={**values, "kl_coefficient": 0.0, "missing_eos_penalty": 0.0})
    sharpen(backbone)
    assert 0.3 < probability_of_even(backbone, 0.7) < 0.7
    history = train(build(backbone, toy, lambda samples: sign * even(samples)), held_out=PROMPTS * 16)
    found = probability_of_even(backbone, 0.7)
    assert found > 0.75 if sign > 0 else found < 0.35
    assert history[0]["kl"] == 0.0 < history[-2]["kl"]


def test_constant_reward_hardly_changes_the_policy(backbone: Backbone, block: PPOBlock) -> None:
    flat = block.model_copy(update={"kl_coefficient": 0.0, "missing_eos_penalty": 0.0, "learning_rate": 1e-4})
    history = train(build(backbone, flat, lambda samples: torch.ones(len(samples))))
    assert abs(history[-1]["held_out_kl"]) < 1e-2 and abs(history[-2]["policy_loss"]) < 1e-2


def test_prompts_are_drawn_without_replacement(backbone: Backbone, block: PPOBlock) -> None:
    drawn = [prompt.ids for chosen in build(backbone, block)._draw(PROMPTS) for prompt in chosen]
    every = sorted(prompt.ids for prompt in PROMPTS)
    assert len(drawn) == 16 and all(sorted(drawn[start : start + 4]) == every for start in range(0, 16, 4))


def test_every_prompt_is_answered_as_often_as_asked(backbone: Backbone, block: PPOBlock) -> None:
    asked: list[list[int]] = []

    def reward(samples: Sequence[Sample]) -> torch.Tensor:
        asked.append([len(sample.prompt.ids) for sample in samples])
        return even(samples)

    twice = block.model_copy(update={"iterations": 1, "prompts": 4, "samples": 2})
    train(build(backbone, twice, reward))
    start, rollouts, _ = asked
    assert sorted(start[:4]) == [2, 3, 4, 5] and sorted(rollouts) == [2, 2, 3, 3, 4, 4, 5, 5]
    assert rollouts[::2] == rollouts[1::2]


def test_answers_to_held_out_prompts_are_logged_with_their_scores(backbone: Backbone, block: PPOBlock) -> None:
    run, resumed = Recorder(), Recorder()
    train(build(backbone, block), run, PROMPTS * 2)
    assert [row["step"] for row in run.rows] == [number for number in range(3) for _ in range(4)]
    assert all(row["question"] == "Who?" and row["score"] in (0.0, 1.0) for row in run.rows)
    resumed.logged = {"train/held_out_reward": 1}
    train(build(backbone, block), resumed)
    assert {row["step"] for row in resumed.rows} == {2}


def test_kl_coefficient_follows_the_controller(backbone: Backbone, block: PPOBlock) -> None:
    """Below the target it shrinks by at most a fifth per horizon."""
    adaptive = block.model_copy(update={"kl_horizon": 8, "kl_target": 1e3, "iterations": 3})
    history = train(build(backbone, adaptive))
    assert [each["kl_coefficient"] for each in history[:3]] == pytest.approx([0.05, 0.04, 0.032])


def test_a_reference_other_than_the_start_is_an_error(backbone: Backbone, block: PPOBlock) -> None:
    with torch.no_grad():
        for weight in named_weights(backbone.model, REFERENCE).values():
            weight.add_(0.1)
    with pytest.raises(RuntimeError, match="the reference is not its start"):
        train(build(backbone, block))


def test_nan_loss_is_a_user_error(backbone: Backbone, block: PPOBlock) -> None:
    ppo = build(backbone, block)
    ppo.norm = ScoreNorm(float("nan"), 1.0)
    with pytest.raises(UserError, match=r"The loss became nan; lower rl\.ppo\.learning_rate"):
        train(ppo)


def test_training_is_deterministic(backbone: Backbone, block: PPOBlock) -> None:
    start, found = snapshot(backbone), []
    for _ in range(2):
        backbone.model.load_state_dict(start)
        train(build(backbone, block))
        found.append(snapshot(backbone))
    assert all(torch.equal(found[0][name], found[1][name]) for name in start)
    moved = changed(backbone, start)
    assert moved and not any(f".{name}." in key for name in (REFERENCE, REWARD) for key in moved)


def test_resumed_training_restores_every_state(backbone: Backbone, block: PPOBlock, tmp_path: Path) -> None:
    """Killed after each round, and with the best round before the last interruption."""
    adaptive = block.model_copy(update={"iterations": 4, "kl_horizon": 8, "critic_warmup": 1})
    start = snapshot(backbone)

    def run(checkpoints: Checkpoints) -> tuple[PPO, list[torch.Tensor]]:
        backbone.model.load_state_dict(start)
        ppo = build(backbone, adaptive)
        ppo.train(PROMPTS, PROMPTS * 2, Recorder(), checkpoints)
        states = [
            optimizer.state[weight][name]
            for optimizer, _ in ppo.optimizers
            for weight in optimizer.param_groups[0]["params"]
            for name in ("step", "exp_avg", "exp_avg_sq")
        ]
        return ppo, [*snapshot(backbone).values(), *ppo.value_head.parameters(), *states, torch.get_rng_state()]

    whole, weights = run(Checkpoints())
    assert 0 < whole.best.number < 3
    for _ in range(4):
        killed(lambda: run(Fatal(tmp_path / "kept")))
    resumed, again = run(Checkpoints(tmp_path / "kept"))
    assert (resumed.history, resumed.controller) == (whole.history, whole.controller)
    assert resumed.best.number == whole.best.number
    assert all(torch.equal(one, other) for one, other in zip(weights, again, strict=True))
