"""WSD: the state at the end of the stable phase, runs that go on from it, and errors for another one."""

import shutil
from pathlib import Path

import pytest
import torch

from pipelines.config import Config
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.training.checkpoints import FACTS, TENSORS, Checkpoints, Saved, pack, read
from pipelines.training.loop import fit
from pipelines.training.objectives import LanguageModel
from pipelines.training.schedules import stable_steps
from pipelines.training.stable import StablePhase, stable_phase
from pipelines.training.step import Job
from tests.support.interruptions import Impatient
from tests.support.recorder import Recorder
from tests.support.trainings import COMPUTE, adapted, examples, training

pytestmark = pytest.mark.slow

PLAN = [[number % 8, (number + 3) % 8] for number in range(20)]
MORE = [[(number + 5) % 8, number % 8] for number in range(10)]


def learn(plan: list[list[int]], schedule: str, stable: StablePhase | None, checkpoints: Checkpoints) -> None:
    model = adapted().train()
    settings = training(schedule=schedule, decay=0.25)
    job = Job("sft", 1e-2, 1, settings, COMPUTE, Recorder(), checkpoints, stable)
    fit(model, LanguageModel(model, examples(), 0), plan, job)


def state_after(plan: list[list[int]], checkpoints: Checkpoints) -> dict[str, torch.Tensor]:
    """Return the weights and optimizer states after a training at a constant rate."""
    with pytest.raises(KeyboardInterrupt):
        learn([*plan, [0]], "constant", None, checkpoints)
    saved = checkpoints.latest()
    assert saved is not None and saved.step == len(plan)
    return saved.tensors


def stored(place: Path) -> Saved:
    saved = read(place)
    assert saved is not None
    return saved


def test_stable_state_is_that_before_the_decay(tmp_path: Path) -> None:
    learn(PLAN, "wsd", StablePhase(tmp_path / "stable", {"tuning": None}, None), Checkpoints())
    saved = stored(tmp_path / "stable")
    expected = state_after(PLAN[:15], Impatient(tmp_path / "constant", patience=15))
    assert saved.step == stable_steps("wsd", 20, 0.25) == 15 and saved.facts == {"tuning": None}
    assert {"weight", "optimizer0"} <= {name.partition("/")[0] for name in saved.tensors}
    assert all(torch.equal(value, expected[name]) for name, value in saved.tensors.items())


def test_a_later_run_goes_on_as_if_the_stable_phase_had_not_ended(tmp_path: Path) -> None:
    learn(PLAN, "wsd", StablePhase(tmp_path / "first", {}, None), Checkpoints())
    learn(MORE, "wsd", StablePhase(tmp_path / "second", {}, stored(tmp_path / "first")), Checkpoints())
    expected = state_after(PLAN[:15] + MORE[:8], Impatient(tmp_path / "constant", patience=23))
    saved = stored(tmp_path / "second")
    assert saved.step == 8 and all(torch.equal(value, expected[name]) for name, value in saved.tensors.items())


@pytest.mark.parametrize("steps", [7, 18], ids=["in the stable phase", "in the decay"])
def test_interrupted_training_stores_the_same_bytes(tmp_path: Path, steps: int) -> None:
    whole, parts = (StablePhase(tmp_path / name, {}, None) for name in ("whole", "parts"))
    learn(PLAN, "wsd", whole, Checkpoints())
    with pytest.raises(KeyboardInterrupt):
        learn(PLAN, "wsd", parts, Impatient(tmp_path / "kept", patience=steps))
    learn(PLAN, "wsd", parts, Checkpoints(tmp_path / "kept"))
    for name in (TENSORS, FACTS):
        assert (parts.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_other_schedules_and_a_decay_of_all_steps_have_no_stable_phase() -> None:
    assert stable_steps("linear", 20, 0.25) is None and stable_steps("wsd", 20, 1.0) is None


@pytest.fixture
def given(base: Path, config: Config, project: Path) -> Path:
    """The folder `sft.continue_from` with a state of the base model and the adapter of params.yaml."""
    phase = stable_phase("sft", base, project / "out", config.sft, training(schedule="wsd"))
    assert phase is not None and phase.start is None
    phase.store(Saved(3, pack({"a": torch.ones(2)}), {}))
    shutil.copytree(project / "out/stable", config.sft.continue_from)
    return config.sft.continue_from


def test_state_of_the_same_model_is_read_without_generators(given: Path, base: Path, config: Config) -> None:
    phase = stable_phase("sft", base, Path("out"), config.sft, training(schedule="wsd"))
    assert phase is not None and phase.start is not None and set(phase.start.tensors) == {"weight/a"}


def test_state_for_another_training_is_a_user_error(given: Path, base: Path, config: Config) -> None:
    other = config.sft.model_copy(update={"tuning": TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})})
    for settings, changes, expected in (
        (config.sft, {"schedule": "linear"}, "training.schedule is linear; set it to wsd"),
        (other, {"schedule": "wsd"}, "another tuning: .*'r': 32.*, now .*'r': 4"),
        (config.sft, {"schedule": "wsd", "optimizer": "adafactor"}, "another optimizer: adamw, now adafactor"),
    ):
        with pytest.raises(UserError, match=expected):
            stable_phase("sft", base, Path("out"), settings, training(**changes))
    for by_rows in (
        TuningConfig(method="fisher", options={}),
        TuningConfig(method="lora", options={"init_lora_weights": "eva"}),
    ):
        settings = config.sft.model_copy(update={"tuning": by_rows})
        with pytest.raises(UserError, match="chooses what it trains by the training rows"):
            stable_phase("sft", base, Path("out"), settings, training(schedule="wsd"))
    (given / TENSORS).write_bytes(b"")
    with pytest.raises(UserError, match="is damaged; copy artifacts/sft/stable again"):
        stable_phase("sft", base, Path("out"), config.sft, training(schedule="wsd"))
