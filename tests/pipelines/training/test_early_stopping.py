"""Early stopping: when training stops, which weights it ends with, also after interruptions, and errors."""

from pathlib import Path

import pytest
import torch

from pipelines.evaluation.in_training.sample import LOSS, SCORE
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import TENSORS, Checkpoints
from pipelines.training.loop import fit
from pipelines.training.monitoring.history import History
from pipelines.training.objectives import LanguageModel
from pipelines.training.preflight.method import check_patience
from pipelines.training.step import Job
from tests.support.interruptions import Impatient
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, adapted, examples, training, weights

pytestmark = pytest.mark.slow

PLAN = [[number % 8, (number + 3) % 8] for number in range(40)]
LOSSES = {4: 3.0, 8: 2.0, 12: 2.5, 16: 2.0, 20: 1.0}
"""Validation losses by step; after step 16, two validations have not improved on that of step 8."""
SCORES = {12: 0.5, 20: 0.5, 24: 0.25}
"""Scores by step; of the two best, that of step 20 has the lower loss."""

Weights = dict[str, torch.Tensor]


def learn(
    checkpoints: Checkpoints,
    patience: int | None,
    seen: dict[int, Weights] | None = None,
    criterion: str = "loss",
    asked: bool = False,
) -> tuple[History, Weights]:
    """Train with dropout, the validation losses `LOSSES` and, if `asked`, `SCORES`; `seen` collects the weights."""
    model = adapted(lora_dropout=0.2).train()
    job = Job("sft", 1e-2, 1, training(patience=patience, criterion=criterion), COMPUTE, Recorder(), checkpoints)

    def validate(step: int) -> dict[str, float]:
        if seen is not None:
            seen[step] = weights(model)
        return {LOSS: LOSSES.get(step, 5.0), **({SCORE: SCORES.get(step, 0.0)} if asked else {})}

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


def test_criterion_accuracy_takes_the_highest_score_and_of_equal_ones_the_lowest_loss() -> None:
    seen: dict[int, Weights] = {}
    history, ended = learn(Checkpoints(), 3, seen, "accuracy", asked=True)
    assert history.chosen() == {"best_step": 20.0, "best_validation_loss": 1.0, "best_validation_score": 0.5}
    assert equal(ended, seen[20]) and len(history.rows) == 32
    history, _ = learn(Checkpoints(), 2, criterion="loss", asked=True)
    assert history.chosen() == {"best_step": 8.0, "best_validation_loss": 2.0, "best_validation_score": 0.0}


def test_training_without_questions_stops_by_the_loss(capsys: pytest.CaptureFixture[str]) -> None:
    history, _ = learn(Checkpoints(), 2, criterion="accuracy")
    assert history.best_step() == 8
    assert "the validation loss has not improved on 2.0000 of step 8" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [3, 10, 19, 25])
def test_the_last_of_at_most_ten_validations_is_after_the_last_step(steps: int) -> None:
    run = Recorder()
    job = Job("sft", 1e-2, 1, training(), COMPUTE, run, Checkpoints())
    history = History(job, steps, lambda _: {LOSS: 1.0}, [], [], None)
    for _ in range(steps):
        history.add({"loss": 1.0}, [4])
    taken = [step for step, _ in history.validations]
    assert len(taken) == min(10, steps) and taken[-1] == steps and run.of(LOSS) == [1.0] * len(taken)


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
