"""The reward model's objective: weights of K-way pairs, margins and centring, equal to TRL's; and what it learns."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from trl import RewardTrainer

from pipelines.alignment.backbone import POLICY, Backbone, named_weights, scalar_head, train_only
from pipelines.alignment.losses import pair_loss
from pipelines.alignment.process.step_reward import StepCrossEntropy, StepExample
from pipelines.alignment.process.steps import Solution
from pipelines.alignment.reward_model import BradleyTerry, held_out, pair_scores, train
from pipelines.alignment.sequences import Batch, Pair, Turn, encode_pairs, pair_sizes, plan_prompts
from pipelines.config import Config
from pipelines.curation.schema import PreferencePair
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.step import Job, accumulate, averaged
from tests.conftest import tiny_tokenizer
from tests.pipelines.alignment.conftest import gradients
from tests.support.interruptions import Fatal, killed
from tests.support.recorder import Recorder
from tests.support.rows import training_row
from tests.support.trainings import COMPUTE, training

pytestmark = pytest.mark.slow

CHOSEN, REJECTED = torch.tensor([1.5, -0.25, 3.0, 0.0]), torch.tensor([0.5, 0.75, 3.0, -2.0])
MARGINS = torch.tensor([0.3, 1.0, 0.0, 2.5])


@pytest.mark.parametrize("margins", [None, MARGINS])
@pytest.mark.parametrize("centering", [None, 0.01, 0.5])
def test_loss_equals_that_of_the_reward_trainer(margins: torch.Tensor | None, centering: float | None) -> None:
    same = lambda values: values  # noqa: E731
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(center_rewards_coefficient=centering),
        accelerator=SimpleNamespace(gather=same, gather_for_metrics=same),
        _metrics={"eval": defaultdict(list)},
        _total_train_tokens=0,
    )
    scored = SimpleNamespace(logits=torch.cat([CHOSEN, REJECTED])[:, None])
    inputs = {} if margins is None else {"margin": margins}
    theirs = RewardTrainer.compute_loss(trainer, lambda **_: scored, inputs)
    ours = pair_loss(CHOSEN, REJECTED, 0.0 if margins is None else margins, centering or 0.0).mean()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def kway(turns: list[Turn]) -> list[Pair]:
    """Return three pairs of one prompt with three ranked answers, and one pair of another prompt."""
    (prompt, best), (other, answer) = turns[:2]
    middle, worst = [*best[:1], 44, *best[-1:]], [77, *best[-1:]]
    ranked = [(best, middle), (best, worst), (middle, worst)]
    return [*(((prompt, one), (prompt, two)) for one, two in ranked), ((other, answer), (other, [88, *answer[-1:]]))]


@pytest.fixture
def head(backbone: Backbone) -> torch.nn.Linear:
    head = scalar_head(backbone.model)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(3))
    return head


def test_prompt_weighs_as_much_as_any_other_however_many_pairs_it_has(
    backbone: Backbone, turns: list[Turn], head: torch.nn.Linear
) -> None:
    pairs, margins = kway(turns), [0.1, 0.9, 0.4, 0.7]
    objective = BradleyTerry(backbone, head, pairs, margins, centering=0.01)
    assert objective.weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0])
    chosen, rejected = pair_scores(backbone, head, pairs)
    losses = pair_loss(chosen, rejected, torch.tensor(margins), 0.01)
    expected = (losses[:3].mean() + losses[3]) / 2
    found = objective(backbone.model, [0, 1, 2, 3])
    torch.testing.assert_close(found.total / found.weight, expected)
    correct = (chosen > rejected).float()
    torch.testing.assert_close(found.metrics["accuracy"] / found.weight, (correct[:3].mean() + correct[3]) / 2)


def test_sizes_of_pairs_are_computed_once(backbone: Backbone, turns: list[Turn], head: torch.nn.Linear) -> None:
    objective = BradleyTerry(backbone, head, kway(turns), [0.0] * 4, centering=0.0)
    examples = [StepExample(Solution([5, 6], [7, 8], [1]), [1.0])]
    steps = StepCrossEntropy(backbone, head, examples)
    assert objective.sizes == pair_sizes(objective.pairs) and steps.sizes == [4]
    assert objective.sizes is objective.sizes and steps.sizes is steps.sizes


def test_split_of_a_step_into_micro_batches_changes_no_gradient(
    backbone: Backbone, turns: list[Turn], head: torch.nn.Linear
) -> None:
    train_only(backbone.model, [POLICY])
    objective = BradleyTerry(backbone, head, kway(turns), [0.0] * 4, centering=0.1)
    parameters = [*named_weights(backbone.model, POLICY).values(), head.get_parameter("weight")]
    found = []
    for budget in (10_000, 1):
        job = Job("reward", 1e-3, 1, training(), COMPUTE, Recorder(), Checkpoints())
        sums, _ = accumulate(backbone.model, parameters, objective, [0, 1, 2, 3], budget, job)
        loss = averaged(parameters, sums, float("inf"), job, 1)["loss"]
        found.append((loss, gradients(parameters)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    for whole, parts in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)


def test_every_turn_is_scored_once(
    backbone: Backbone, turns: list[Turn], head: torch.nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, scores = [], Backbone.scores

    def counted(self: Backbone, batch: Batch, head: torch.nn.Linear) -> torch.Tensor:
        sizes.append(len(batch.ids))
        return scores(self, batch, head)

    monkeypatch.setattr(Backbone, "scores", counted)
    pairs = kway(turns)
    together = pair_scores(backbone, head, pairs)
    assert sizes == [5]
    alone = [pair_scores(backbone, head, [pair]) for pair in pairs]
    for side in (0, 1):
        torch.testing.assert_close(together[side], torch.cat([one[side] for one in alone]), atol=1e-5, rtol=1e-4)


def test_pairs_of_a_prompt_share_a_step(turns: list[Turn]) -> None:
    pairs = [((prompt, answer), (prompt, [n])) for prompt, answer in turns for n in range(3)]
    plan = plan_prompts(pairs, 7, seed=3)
    assert sorted(index for step in plan for index in step) == list(range(18))
    assert [len(step) for step in plan] == [6, 6, 6]
    assert all(index // 3 in {other // 3 for other in step} for step in plan for index in step)
    assert all({3 * (index // 3) + n for n in range(3)} <= set(step) for step in plan for index in step)
    assert plan == plan_prompts(pairs, 7, seed=3) and {len(step) for step in plan_prompts(pairs, 2, seed=3)} == {3}


def test_a_new_adapter_is_trained_as_its_method_needs(base: Path, turns: list[Turn], config: Config) -> None:
    tuning, run = TuningConfig(method="adalora", options={"init_r": 6, "target_r": 2}), Recorder()
    model = preparation.peft_adaptable(base, tuning, COMPUTE)
    train_only(model, [POLICY])
    backbone, pairs = Backbone(model, tiny_tokenizer(), COMPUTE), kway(turns)
    job = Job("reward", 1e-2, 4, training(), COMPUTE, run, Checkpoints())
    settings = config.reward.model_copy(update={"epochs": 4})
    train(backbone, scalar_head(model), pairs, [1.0] * len(pairs), settings, job, tuning)
    values = [value for name, value in model.named_parameters() if "lora_E" in name]
    assert min(run.of("orthogonality")) > 0
    assert sum(int(value.count_nonzero()) for value in values) <= 2 * len(values)


def pairs_of(count: int, margin: float) -> list[PreferencePair]:
    rows = [training_row(f"What of lamp {n}?", "good") for n in range(count)]
    return [PreferencePair.of(row, "good", "bad", "sample", margin) for row in rows]


def trained(backbone: Backbone, config: Config, margin: float, **changes: float) -> tuple[float, float]:
    """Return the mean difference and the mean sum of the held-out scores of a reward model trained with `changes`."""
    settings = config.reward.model_copy(update={"learning_rate": 1e-2, "epochs": 24, "batch_size": 8, **changes})
    train_only(backbone.model, [POLICY])
    head = scalar_head(backbone.model)
    torch.nn.init.constant_(head.bias, 3.0)
    data = pairs_of(8, margin)
    job = Job("reward", settings.learning_rate, settings.epochs, training(), COMPUTE, Recorder(), Checkpoints())
    train(backbone, head, encode_pairs(backbone.tok, data), [margin] * 8, settings, job)
    found = held_out(backbone, head, data, 8)
    assert all(found.correct)
    differences, sums = zip(*((c - r, c + r) for c, r in zip(found.chosen, found.rejected, strict=True)), strict=True)
    return sum(differences) / 8, abs(sum(sums)) / 8


@pytest.mark.parametrize(("changes", "place", "sign"), [({"margin_scale": 8.0}, 0, 1.0), ({"centering": 0.1}, 1, -1.0)])
def test_margins_spread_scores_and_centring_moves_them_to_zero(
    backbone: Backbone, config: Config, changes: dict[str, float], place: int, sign: float
) -> None:
    start = {name: weight.clone() for name, weight in named_weights(backbone.model, POLICY).items()}
    found = []
    for each in ({}, changes):
        for name, weight in named_weights(backbone.model, POLICY).items():
            weight.data.copy_(start[name])
        found.append(trained(backbone, config, 1.0, **each)[place])
    assert sign * (found[1] - found[0]) > 0.3


def test_killed_training_resumes_with_equal_weights(backbone: Backbone, config: Config, tmp_path: Path) -> None:
    settings = config.reward.model_copy(update={"learning_rate": 1e-2, "epochs": 2, "batch_size": 4})
    train_only(backbone.model, [POLICY])
    start = {name: weight.clone() for name, weight in backbone.model.state_dict().items()}

    def fit(checkpoints: Checkpoints) -> list[torch.Tensor]:
        backbone.model.load_state_dict(start)
        head, data = scalar_head(backbone.model), encode_pairs(backbone.tok, pairs_of(8, 1.0))
        job = Job("reward", settings.learning_rate, settings.epochs, training(), COMPUTE, Recorder(), checkpoints)
        train(backbone, head, data, [1.0] * 8, settings, job)
        return [each.detach().clone() for each in (*backbone.model.state_dict().values(), *head.parameters())]

    whole = fit(Checkpoints())
    killed(lambda: fit(Fatal(tmp_path / "kept", patience=2)))
    assert all(torch.equal(one, other) for one, other in zip(whole, fit(Checkpoints(tmp_path / "kept")), strict=True))
