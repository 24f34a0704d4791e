"""PPO on a tiny model: ratio 1 at the start, separate steps of policy and critic, and learning of a toy reward."""

from collections.abc import Callable

import pytest
import torch

from pipelines.alignment.backbone import POLICY, REFERENCE, REWARD, VALUE, Backbone, named_weights, scalar_head
from pipelines.alignment.config import PPOBlock
from pipelines.alignment.experience import Actors, AdvantageBatch, compute_advantages, reward_fn
from pipelines.alignment.losses import policy_loss
from pipelines.alignment.ppo import PPO
from pipelines.alignment.rewards import ScoreNorm
from pipelines.alignment.rollout import Sampler
from pipelines.alignment.sequences import Batch, Turn
from pipelines.config import Config
from pipelines.models.templates.stops import stop_ids
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from tests.support.recorder import Recorder

pytestmark = pytest.mark.slow

PROMPTS = [[5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15, 16], [17, 18]]


@pytest.fixture
def block(config: Config) -> PPOBlock:
    small = {"iterations": 2, "prompts": 8, "minibatch": 8, "microbatch": 4, "epochs": 1, "critic_warmup": 0}
    values = {"temperature": 0.7, "max_new_tokens": 4, "learning_rate": 1e-2, "critic_learning_rate": 1e-2}
    return config.align.ppo.model_copy(update={**small, **values})


def build(backbone: Backbone, block: PPOBlock, reward: Callable[[Batch], torch.Tensor] | None = None) -> PPO:
    torch.manual_seed(0)
    head = scalar_head(backbone.model)
    torch.nn.init.normal_(head.weight)
    actors = Actors(backbone, scalar_head(backbone.model), reward or reward_fn(backbone, head))
    stops = stop_ids(backbone.model, backbone.tok)
    sampler = Sampler(backbone, stops, block.max_new_tokens, block.temperature, block.minibatch)
    return PPO(actors, sampler, block, seed=1)


def snapshot(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in backbone.model.state_dict().items()}


def changed(backbone: Backbone, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in backbone.model.state_dict().items() if not torch.equal(value, before[name])}


def advantage_batches(ppo: PPO, turns: list[Turn]) -> list[AdvantageBatch]:
    return compute_advantages(ppo.collect(turns), ScoreNorm(0.0, 1.0), ppo.config)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_before_the_first_step_the_ratio_is_one_and_the_kl_zero(
    backbone: Backbone, turns: list[Turn], block: PPOBlock, precision: str
) -> None:
    compute = backbone.compute.model_copy(update={"precision": precision})
    backbone = Backbone(backbone.model, backbone.tok, compute)
    for rollouts in build(backbone, block).collect(turns):
        assert not rollouts.kl.any()
        again, _ = backbone.policy(rollouts.batch, block.temperature)
        assert torch.equal(again, rollouts.logprobs)
        loss = policy_loss(again, rollouts.logprobs, torch.ones_like(again), 0.2, 0.2, 3.0)
        assert (loss == -1).all()


def test_dropout_does_not_change_the_ratio(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    for rollouts in build(backbone, block).collect(turns):
        assert torch.equal(backbone.policy(rollouts.batch, block.temperature)[0], rollouts.logprobs)


def test_padding_does_not_change_results(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    """Responses have equal results alone and in a batch with a longer one that pads them."""
    ppo = build(backbone, block)
    short = turns[:3]
    alone, padded = ppo.collect(short), build(backbone, block.model_copy(update={"microbatch": 8})).collect(turns)
    rewards = {}
    for key, rollouts in (("alone", alone), ("padded", padded)):
        for one in rollouts:
            for row, ids in enumerate(one.batch.ids):
                name = tuple(ids[: one.batch.starts[row] + one.batch.last[row] + 1].tolist())
                kept = one.batch.mask[row]
                rewards[key, name] = torch.cat([one.logprobs[row][kept], one.values[row][kept], one.scores[row, None]])
    for prompt, response in short:
        name = tuple(prompt + response)
        torch.testing.assert_close(rewards["alone", name], rewards["padded", name], atol=1e-4, rtol=0)


def test_responses_without_a_stop_token_have_not_ended(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    ended = {
        tuple(one.batch.responses[row][one.batch.mask[row]].tolist()): bool(one.ended[row])
        for one in build(backbone, block).collect(turns)
        for row in range(len(one.ended))
    }
    assert [ended[tuple(response)] for _, response in turns] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("method", ["policy_step", "critic_step"])
def test_step_changes_only_its_adapter(backbone: Backbone, turns: list[Turn], block: PPOBlock, method: str) -> None:
    ppo = build(backbone, block)
    batches, before = advantage_batches(ppo, turns), snapshot(backbone)
    head = ppo.actors.value_head.weight.clone()
    for _ in range(2):
        getattr(ppo, method)(batches)
    name = POLICY if method == "policy_step" else VALUE
    moved = changed(backbone, before)
    assert moved == {key for key in before if f".{name}." in key}
    assert torch.equal(head, ppo.actors.value_head.weight) == (method == "policy_step")


def test_gradient_accumulation_equals_one_large_batch(backbone: Backbone, turns: list[Turn], block: PPOBlock) -> None:
    gradients = []
    for microbatch in (1, 8):
        ppo = build(backbone, block.model_copy(update={"microbatch": microbatch}))
        ppo.policy = torch.optim.SGD(list(named_weights(backbone.model, POLICY).values()), lr=0.0)
        ppo.policy.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
        ppo.policy_step(advantage_batches(ppo, turns))
        gradients.append([parameter.grad.clone() for parameter in list(named_weights(backbone.model, POLICY).values())])
        backbone.model.zero_grad()
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_critic_warmup_trains_only_the_critic(backbone: Backbone, block: PPOBlock) -> None:
    warm = block.model_copy(update={"critic_warmup": 1, "epochs": 12, "iterations": 1})
    before, run = snapshot(backbone), Recorder()
    ppo = build(backbone, warm)
    losses: list[float] = []
    critic_step = ppo.critic_step
    ppo.critic_step = lambda group: losses.append(critic_step(group)) or losses[-1]  # type: ignore[method-assign,func-returns-value]
    ppo.train(PROMPTS, run, Checkpoints())  # type: ignore[arg-type]
    assert losses[-1] < losses[0]
    assert all(f".{VALUE}." in name for name in changed(backbone, before))
    assert set(run.steps[0]) >= {"kl", "entropy", "clip_fraction", "score", "length", "explained_variance"}


def even(batch: Batch) -> torch.Tensor:
    return (batch.responses[:, 0] % 2 == 0).float()


def share_even(backbone: Backbone) -> float:
    with torch.no_grad():
        logits = torch.stack([backbone.model(torch.tensor([prompt])).logits[0, -1] / 0.7 for prompt in PROMPTS])
    return float(logits.softmax(-1)[:, ::2].sum(-1).mean())


@pytest.mark.parametrize("sign", [1, -1])
def test_policy_learns_the_rewarded_tokens(backbone: Backbone, block: PPOBlock, sign: int) -> None:
    """A bandit: an even token has reward 1, or -1."""
    values = {"iterations": 16, "prompts": 32, "minibatch": 32, "microbatch": 32, "epochs": 4, "max_new_tokens": 1}
    toy = block.model_copy(update={**values, "kl_coefficient": 0.0, "missing_eos_penalty": 0.0})
    with torch.no_grad():  # the logits of random weights are too flat: scale the embeddings
        backbone.model.get_input_embeddings().weight.mul_(5)
    assert 0.3 < share_even(backbone) < 0.7
    history = build(backbone, toy, lambda batch: sign * even(batch)).train(PROMPTS, Recorder(), Checkpoints())  # type: ignore[arg-type]
    assert share_even(backbone) > 0.75 if sign > 0 else share_even(backbone) < 0.35
    assert history[0]["kl"] == 0.0 < history[-1]["kl"]


def test_constant_reward_hardly_changes_the_policy(backbone: Backbone, block: PPOBlock) -> None:
    flat = block.model_copy(update={"kl_coefficient": 0.0, "missing_eos_penalty": 0.0, "learning_rate": 1e-4})
    history = build(backbone, flat, lambda batch: torch.ones(len(batch.starts))).train(
        PROMPTS, Recorder(), Checkpoints()
    )  # type: ignore[arg-type]
    assert abs(history[-1]["kl"]) < 1e-2 and abs(history[-1]["policy_loss"]) < 1e-2


def test_prompts_are_drawn_without_replacement(backbone: Backbone, block: PPOBlock) -> None:
    drawn = [prompt for chosen in build(backbone, block)._draw(PROMPTS) for prompt in chosen]
    assert len(drawn) == 16 and all(sorted(drawn[start : start + 4]) == sorted(PROMPTS) for start in range(0, 16, 4))


def test_nan_loss_is_a_user_error(backbone: Backbone, block: PPOBlock) -> None:
    broken = build(backbone, block, lambda batch: torch.full((len(batch.starts),), float("nan")))
    with pytest.raises(UserError, match="became nan"):
        broken.train(PROMPTS, Recorder(), Checkpoints())  # type: ignore[arg-type]


def test_training_is_deterministic(backbone: Backbone, block: PPOBlock) -> None:
    start, found = snapshot(backbone), []
    for _ in range(2):
        backbone.model.load_state_dict(start)
        build(backbone, block).train(PROMPTS, Recorder(), Checkpoints())  # type: ignore[arg-type]
        found.append(snapshot(backbone))
    assert all(torch.equal(found[0][name], found[1][name]) for name in start)
    moved = changed(backbone, start)
    assert moved and not any(f".{name}." in key for name in (REFERENCE, REWARD) for key in moved)
