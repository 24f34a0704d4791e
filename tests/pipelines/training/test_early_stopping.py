"""Early stopping: when training stops, which weights it ends with, also after interruptions, and errors."""

from pathlib import Path

import pytest
import torch

from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import TENSORS, Checkpoints
from pipelines.training.loop import fit
from pipelines.training.monitoring.history import History
from pipelines.training.objectives import LanguageModel
from pipelines.training.preflight import check_patience
from pipelines.training.step import Job
from tests.support.impatient import Impatient
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, adapted, examples, training, weights

pytestmark = pytest.mark.slow

PLAN = [[number % 8, (number + 3) % 8] for number in range(40)]
LOSSES = {4: 3.0, 8: 2.0, 12: 2.5, 16: 2.0, 20: 1.0}
"""Validation losses by step; after step 16, two validations have not improved on that of step 8."""

Weights = dict[str, torch.Tensor]


def learn(
    checkpoints: Checkpoints, patience: int | None, seen: dict[int, Weights] | None = None
) -> tuple[History, Weights]:
    """Train with dropout and the validation losses `LOSSES`; `seen` collects the weights at every validation."""
    model = adapted(lora_dropout=0.2).train()
    job = Job("sft", 1e-2, 1, training(patience=patience), COMPUTE, Recorder(), checkpoints)

    def validate(step: int) -> float:
        if seen is not None:
            seen[step] = weights(model)
        return LOSSES.get(step, 5.0)

    history = fit(model, LanguageModel(model, examples(), 0), PLAN, job, validate=validate)
    return history, weights(model)


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_stops_after_the_patience_and_ends_with_the_best_weights() -> None:
    seen: dict[int, Weights] = {}
    history, ended = learn(Checkpoints(), 2, seen)
    assert len(history.rows) == 16 and list(seen) == [4, 8, 12, 16]
    assert history.chosen() == {"best_step": 8.0, "best_validation_loss": 2.0}
    assert equal(ended, seen[8]) and not equal(ended, seen[16])


def test_more_patience_finds_a_later_minimum() -> None:
    history, _ = learn(Checkpoints(), 3)
    assert history.chosen() == {"best_step": 20.0, "best_validation_loss": 1.0} and len(history.rows) == 32


def test_without_patience_all_steps_are_trained_and_the_last_weights_kept() -> None:
    seen: dict[int, Weights] = {}
    history, ended = learn(Checkpoints(), None, seen)
    assert len(history.rows) == 40 and history.chosen() == {} and equal(ended, seen[40])


@pytest.mark.parametrize("steps", [6, 9, 16], ids=["before the best", "after the best", "when it stops"])
def test_interrupted_training_ends_with_the_same_best_weights(tmp_path: Path, steps: int) -> None:
    undisturbed, expected = learn(Checkpoints(), 2)
    with pytest.raises(KeyboardInterrupt):
        learn(Impatient(tmp_path, patience=steps), 2)
    history, found = learn(Checkpoints(tmp_path), 2)
    assert equal(found, expected) and history.rows == undisturbed.rows and history.chosen() == undisturbed.chosen()


def test_checkpoint_of_the_best_step_outlives_later_ones(tmp_path: Path) -> None:
    learn(Checkpoints(tmp_path, seconds=0), 2)
    assert {each.name for each in tmp_path.iterdir()} == {"8", "15", "16"}


def test_damaged_best_checkpoint_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn(Impatient(tmp_path, patience=16), 2)
    (tmp_path / "8" / TENSORS).write_bytes(b"")
    with pytest.raises(UserError, match="is damaged; remove"):
        learn(Checkpoints(tmp_path), 2)


def test_patience_without_validation_rows_is_a_user_error() -> None:
    source, share = Path("curate/validation.jsonl"), "curate.validation_share"
    check_patience(training(), [], source, share)
    check_patience(training(patience=3), examples(1), source, share)
    with pytest.raises(UserError, match=r"validation.jsonl has no row to validate on; raise curate.validation_share"):
        check_patience(training(patience=3), [], source, share)
