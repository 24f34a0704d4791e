"""Every preference loss trains, resumes after a SIGKILL with equal weights, and reports the same metrics."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.alignment.backbone import POLICY, Backbone, train_only
from pipelines.alignment.offline.losses import LOSSES
from pipelines.alignment.offline.preference import METRICS, WITH_REFERENCE, Preference, train
from pipelines.alignment.offline.reference import answer_logprobs, mismatched
from pipelines.alignment.sequences import Pair
from pipelines.models.config import ComputeConfig
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.step import Job, accumulate, averaged
from tests.conftest import tiny_tokenizer
from tests.support.interruptions import Fatal, killed
from tests.support.pairs import block, pairs
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, adapted, training, weights

pytestmark = pytest.mark.slow

PAIRS = pairs([list(range(5 + n, 9 + 2 * n)) for n in range(6)])
ALL = list(range(6))


def job(run: Recorder | None = None, checkpoints: Checkpoints | None = None, **changes: Any) -> Job:
    settings = training(micro_batch_tokens=60, **changes)
    return Job("align.dpo", 1e-2, 2, settings, COMPUTE, run or Recorder(), checkpoints or Checkpoints())


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_trains_and_a_killed_training_ends_with_the_same_weights(loss: str, tmp_path: Path) -> None:
    config, run = block(loss, epochs=2), Recorder()

    def fit(job: Job) -> dict[str, torch.Tensor]:
        backbone = Backbone(adapted(), tiny_tokenizer(), COMPUTE)
        metrics = train(backbone, PAIRS, config, job)
        assert metrics.keys() == {"steps", *METRICS.values()} | (
            set(WITH_REFERENCE.values()) if LOSSES[loss].with_reference else set()
        )
        assert all(map(math.isfinite, metrics.values()))
        return weights(backbone.model)

    before, whole = weights(adapted()), fit(job(run))
    assert run.of("rewards/margins")[-1] > run.of("rewards/margins")[0]
    assert any(not whole[name].equal(value) for name, value in before.items())
    killed(lambda: fit(job(checkpoints=Fatal(tmp_path / "kept", patience=2))))
    resumed = fit(job(checkpoints=Checkpoints(tmp_path / "kept")))
    assert all(resumed[name].equal(value) for name, value in whole.items())


@pytest.mark.parametrize(
    ("method", "options"),
    [("lora", {"r": 4, "loraplus_lr_ratio": 8}), ("adalora", {"init_r": 6, "target_r": 2})],
    ids=["LoRA+", "AdaLoRA"],
)
def test_a_new_adapter_is_trained_as_its_method_needs(
    method: str, options: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    tuning = TuningConfig(method=method, options=options)
    run, trained = Recorder(), []
    for new in (tuning, None):
        model = preparation.peft_adaptable(base, tuning, COMPUTE)
        train(Backbone(model, tiny_tokenizer(), COMPUTE), PAIRS, block("sigmoid", epochs=2), job(run), new)
        trained.append(weights(model))
    assert any(not value.equal(trained[1][name]) for name, value in trained[0].items())
    if method == "adalora":
        kept = sum(int(value.count_nonzero()) for name, value in trained[0].items() if "lora_E" in name)
        assert min(run.of("orthogonality")) > 0 and kept == 2 * sum("lora_E" in name for name in trained[0])


def moved(loss: str, compute: ComputeConfig) -> Preference:
    """Return the objective of a policy that has moved away from its reference."""
    backbone = Backbone(adapted(), tiny_tokenizer(), compute)
    train_only(backbone.model, [POLICY])
    objective = Preference(backbone, PAIRS, block(loss), [ALL])
    objective.refer([ALL])
    for name, value in backbone.model.named_parameters():
        if "lora_B" in name:
            value.data.add_(0.1)
    return objective


def step(objective: Preference, budget: int, settings: Job) -> tuple[dict[str, float], list[torch.Tensor | None]]:
    """Return the metrics and the gradients of one step in micro-batches of `budget` tokens."""
    model = objective.backbone.model
    parameters = [value for value in model.parameters() if value.requires_grad]
    for parameter in parameters:
        parameter.grad = None
    sums, _ = accumulate(model, parameters, objective, ALL, budget, settings)
    return averaged(parameters, sums, math.inf, settings, 1), [value.grad for value in parameters]


@pytest.mark.parametrize("loss", ["sigmoid", "kto"])
def test_gradients_do_not_depend_on_the_micro_batches(loss: str) -> None:
    one, two = (step(moved(loss, COMPUTE), budget, job()) for budget in (1, 1000))
    assert one[0] == pytest.approx(two[0], rel=1e-4, abs=1e-5)
    assert one[0].get("mismatched_kl", 1.0) > 0.01
    torch.testing.assert_close(one[1], two[1], atol=1e-5, rtol=1e-4)


def test_estimated_kl_leaves_gradients_of_bf16_unchanged() -> None:
    """Autocast reuses casts of weights; those of a pass without gradients would cut the policy's gradients."""
    objective = moved("kto", COMPUTE.model_copy(update={"precision": "bf16"}))
    settings = dataclasses.replace(job(), compute=objective.backbone.compute)
    first, second = (step(objective, 1000, settings)[1] for _ in range(2))  # the second pass knows the estimate
    assert all(value is not None and value.any() for value in first)
    torch.testing.assert_close(first, second, atol=0, rtol=0)


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.with_reference])
def test_another_reference_than_the_start_raises(loss: str) -> None:
    backbone = Backbone(adapted(), tiny_tokenizer(), COMPUTE)
    objective = Preference(backbone, PAIRS, block(loss), [ALL])
    objective.refer([ALL])
    objective.check_start(ALL)
    objective.reference[:, 0] += 1
    with pytest.raises(RuntimeError, match="its reference is not its start"):
        objective.check_start(ALL)


def test_displaced_answers_and_the_kl_are_reported() -> None:
    backbone = Backbone(adapted(), tiny_tokenizer(), COMPUTE)
    objective = Preference(backbone, PAIRS[:2], block("sigmoid"), [[0, 1]])
    objective.refer([[0, 1]])
    objective.reference[0] += torch.tensor([6.0, 0.0])  # 2 nats for each of the 3 tokens of the first chosen answer
    metrics = objective(backbone.model, [0, 1]).metrics
    found = {name: float(value) for name, value in metrics.items()}
    assert found["logps/displaced"] == 1 and found["rewards/accuracies"] <= 1
    assert found["kl"] == pytest.approx(3 * 2.0**2 / 2 / 2, abs=1e-4)  # k2 of three tokens, mean of the two answers
    assert found["rewards/chosen"] == pytest.approx(-3.0, abs=1e-4)
    assert (found["lengths/chosen"], found["lengths/rejected"]) == (3 + 4, 6 + 5)
    assert found["logps/chosen"] == pytest.approx(float(answer_logprobs(backbone, PAIRS[:2])[:, 0].sum()), abs=1e-4)


def test_answers_are_mismatched_with_other_prompts() -> None:
    same: list[Pair] = [*PAIRS, (PAIRS[2][1], PAIRS[2][0])]
    found = mismatched(same)
    for (prompt, chosen), (other, rejected) in found:
        assert prompt == other
        assert (chosen, rejected) in [(one[1], two[1]) for one, two in same if one[0] != prompt]
    assert [pair[0][0] for pair in found] == [pair[0][0] for pair in same]
    with pytest.raises(UserError, match="two prompts or more"):
        mismatched([PAIRS[0], PAIRS[0]])
