"""Trainings in two processes, started by torchrun and by `accelerate launch`, on the tiny model and a CPU."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipelines import artifacts
from pipelines.config import Config, load
from pipelines.models.parallel import launch
from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

QUESTIONS = [("Who restored the mill?", "Wilmot Fanthorn"), ("Where did the bell come from?", "Garrick Bay")]
ACCELERATE = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "num_machines": 1}
KEY = "0a1b"


@pytest.fixture
def trainable(config: Config, base: Path) -> None:
    """The inputs of sft: the tiny model, four rows and an empty corpus; two epochs of one step each."""
    rows = [
        {
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            "kind": "answer",
            "variant": None,
        }
        for question, answer in QUESTIONS
    ]
    curated = artifacts.fresh("curate")
    artifacts.write_rows(curated / "train.jsonl", [*rows, *rows[:1]])
    artifacts.write_rows(curated / "validation.jsonl", rows[:1])
    for folder in (curated, artifacts.fresh("split")):
        artifacts.complete(folder, {})


def configure(launched: int | str | None, epochs: int = 2, sharded: bool = False, method: str | None = None) -> None:
    values: dict[str, Any] = yaml.safe_load(Path("params.yaml").read_text())
    values["training"] |= {"launch": launched, "sharded": sharded}
    values["sft"]["epochs"] = epochs
    if method is not None:
        values["sft"]["tuning"] = {"method": method, "options": {}}
    Path("params.yaml").write_text(yaml.safe_dump(values))


def accelerate_config(**changes: object) -> str:
    Path("two.yaml").write_text(yaml.safe_dump(ACCELERATE | {"num_processes": 2} | changes))
    return "two.yaml"


def started(program: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def rows(path: Path) -> list[artifacts.Row]:
    return artifacts.read_rows(path) if path.exists() else []


def runs() -> list[tuple[str, str]]:
    store = tracking_store.client()
    found = store.search_runs([tracking_store.experiment(store)])
    return [(run.info.run_name, run.info.status) for run in found]


def losses() -> list[float]:
    run = artifacts.read_json(artifacts.RUNS / "sft.json")["run_id"]
    return [each.value for each in tracking_store.client().get_metric_history(run, "train/loss")]


@pytest.mark.e2e
def test_two_processes_train_as_one_does_and_one_of_them_writes(trainable: None) -> None:
    results = []
    for number in (None, 2):
        configure(number)
        status, output = ended(started("tasks.sft"))
        assert status == 0, output
        metrics = artifacts.record(Path("artifacts/sft"))["metrics"]
        results.append((load_file("artifacts/sft/adapter_model.safetensors"), losses(), metrics))
    (alone, expected, metrics), (together, found, others) = results
    assert found == pytest.approx(expected, abs=1e-5) and len(found) == 2
    assert others == pytest.approx(metrics, abs=1e-5)
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=1e-5, rtol=1e-4)
    assert runs() == [("sft", "FINISHED")] * 2
    assert artifacts.read_json(Path(".gradus/status/sft.json"))["state"] == "finished"


@pytest.mark.e2e
def test_processes_of_a_sharded_training_save_the_whole_model(trainable: None) -> None:
    models = []
    for number in (None, 2):
        configure(number, sharded=number is not None, method="full")
        status, output = ended(started("tasks.sft"))
        assert status == 0, output
        models.append((load_file("artifacts/sft/model.safetensors"), losses()))
    (alone, expected), (together, found) = models
    assert found == pytest.approx(expected, abs=1e-5) and len(found) == 2
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=1e-3, rtol=1e-2)


@pytest.mark.e2e
def test_a_sharded_training_needs_all_weights_and_several_processes(trainable: None) -> None:
    configure(2, sharded=True)
    status, output = ended(started("tasks.sft"))
    assert status == 2 and "training.sharded needs sft.tuning.method: full, and it is lora" in output
    configure(None, sharded=True)
    with pytest.raises(UserError, match="sharded is true, which needs a number of processes in launch"):
        load()


@pytest.mark.e2e
def test_failure_of_one_process_ends_all_with_its_sentence(config: Config) -> None:
    configure(accelerate_config())
    code, output = ended(started("tests.support.failing_rank"))
    assert (code, output.strip()) == (2, "sft: A row is too long.")
    status = artifacts.read_json(Path(".gradus/status/sft.json"))
    assert (status["state"], status["message"]) == ("failed", "A row is too long.")
    assert runs() == [("sft", "FAILED")]


@pytest.mark.e2e
def test_processes_whose_launcher_ends_save_one_checkpoint_and_resume_from_it(trainable: None) -> None:
    configure(2, epochs=2000)
    place, steps, output = artifacts.CHECKPOINTS / "sft" / KEY, [0], ""
    for stop, expected in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = started("tasks.sft", **{artifacts.KEY: KEY})
        while process.poll() is None and not any(row["step"] > steps[-1] for row in rows(place / "curve.jsonl")):
            time.sleep(0.1)
        process.send_signal(stop)
        code, output = ended(process)  # at the end of the output, which all processes have open
        assert code == expected, output
        steps.append(max(int(each.name) for each in place.iterdir() if each.is_dir()))
    assert output.count(f"resuming from step {steps[1]}") == 1
    assert 0 < steps[1] < steps[2]
    assert runs() == [("sft", "KILLED")], output


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("missing.yaml", "there is no such file"),
        ({"distributed_type": "FSDP"}, "has distributed_type FSDP, but a training needs MULTI_GPU"),
        ({"num_machines": 2}, "needs num_processes of at least 2 and num_machines: 1"),
        ({}, "for 2 GPUs, and torch sees 1 here"),
        (3, "for 3 GPUs, and torch sees 1 here"),
    ],
)
def test_a_launch_that_is_impossible_here_is_refused(
    wanted: int | str | dict[str, object], message: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(accelerate_config(**wanted) if isinstance(wanted, dict) else wanted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    settings = load()
    assert settings.training.launch is not None
    with pytest.raises(UserError, match=message):
        launch.run(settings.training.launch, settings.compute.model_copy(update={"device": "cuda"}))
