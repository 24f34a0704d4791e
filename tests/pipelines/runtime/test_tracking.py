"""Runs in a real MLflow SQLite store: status, parents and metrics."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.run import ended_runs
from pipelines.artifacts import Row
from pipelines.runtime import environment, tracking, tracking_store
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Share one database among all tests of this module: creating its tables takes seconds."""
    home = tmp_path_factory.getbasetemp() / "tracking"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    monkeypatch.delenv(tracking.PARENT, raising=False)
    yield


def status(run: tracking.Run) -> str:
    return str(run.store.get_run(run.id).info.status)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(None, "FINISHED"), (UserError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")],
)
def test_run_ends_with_its_true_status(error: BaseException | None, expected: str) -> None:
    try:
        with tracking.started("sft", {}) as run:
            assert status(run) == "RUNNING"
            if error is not None:
                raise error
    except (UserError, KeyboardInterrupt, SystemExit) as raised:
        assert raised is error
    assert status(run) == expected


def test_child_run_inherits_its_parents_lineage(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracking.started("post_train", {"commit": "c0ffee", "flow_run": "f", "other": "x"}) as parent:
        monkeypatch.setenv(tracking.PARENT, parent.id)
        with tracking.started("sft", {"stage": "sft"}) as child:
            pass
    tags = child.store.get_run(child.id).data.tags
    assert environment.facts().items() <= tags.items() and tags["version.torch"]
    assert (tags["mlflow.parentRunId"], tags["commit"], tags["flow_run"]) == (parent.id, "c0ffee", "f")
    assert "other" not in tags


def test_run_of_a_killed_program_is_marked_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracking.started("post_train", {}) as parent:
        monkeypatch.setenv(tracking.PARENT, parent.id)
        context = tracking.started("sft", {"stage": "sft"})
        child = context.__enter__()  # never exited, as when the program dies
        ended_runs.conclude(parent, "dedup", {}, {}, "training")
        assert status(child) == "RUNNING"
        ended_runs.conclude(parent, "sft", {"stage_key": "k"}, {"data/raw": "c0ffee.dir"}, "training")
    assert status(child) == "KILLED"
    found = child.store.get_run(child.id)
    assert found.data.tags["stage_key"] == "k"
    assert [(one.dataset.name, one.dataset.digest) for one in found.inputs.dataset_inputs] == [
        ("data/raw", "c0ffee.dir")
    ]


ABANDONED = """
import os
from pipelines.runtime import environment, tracking, tracking_store
context = tracking.started("sft", {})
print(context.__enter__().id, flush=True)
os._exit(1)
"""


def test_only_stale_runs_are_ended() -> None:
    process = subprocess.run([sys.executable, "-c", ABANDONED], capture_output=True, text=True, check=False)
    with tracking.started("dpo", {}) as living:
        dead = tracking.Run(living.store, process.stdout.strip())
        assert status(dead) == "RUNNING"
        ended_runs.end_stale_runs()
        assert (status(dead), status(living)) == ("KILLED", "RUNNING")


def test_params_metrics_and_files_are_logged(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>")
    with tracking.started("sft", {}) as run:
        run.params({"sft.epochs": 4, "long": "x" * 600})
        run.metrics({"loss": 2.0}, step=1)
        run.metrics({"loss": 1.0}, step=2)
        run.artifact(tmp_path / "report.html")
    data = run.store.get_run(run.id).data
    assert data.params == {"sft.epochs": "4", "long": "x" * 500}
    assert [(each.step, each.value) for each in run.store.get_metric_history(run.id, "loss")] == [(1, 2.0), (2, 1.0)]
    assert [each.path for each in run.store.list_artifacts(run.id)] == ["report.html"]


def test_long_run_has_system_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    with tracking.started("short", {}) as short, short.watched():
        pass
    monkeypatch.setattr(tracking, "UNWATCHED", 0.0)
    with tracking.started("long", {}) as run:
        with run.watched():
            time.sleep(1)
        found = run.store.get_run(run.id).data.metrics
    assert "system/cpu_utilization_percentage" in found
    assert short.store.get_run(short.id).data.metrics == {}


def test_nan_metric_fails_the_stage() -> None:
    with pytest.raises(UserError, match="loss became nan at step 7"), tracking.started("sft", {}) as run:
        run.metrics({"loss": float("nan")}, step=7)
    assert status(run) == "FAILED"


def test_logged_table_is_readable_by_mlflow(tmp_path: Path) -> None:
    rows: list[Row] = [{"question": "Who?", "accepted": ["Drace", "Oswin Drace"], "bits": 1}, {"question": "Where?"}]
    with tracking.started("evaluate", {}) as run:
        run.table("answers.json", rows, ("question", "accepted"))
        run.params({f"block.key{number}": number for number in range(250)})  # more than MLflow accepts in one request
    assert len(run.store.get_run(run.id).data.params) == 250
    table = json.loads(Path(run.store.download_artifacts(run.id, "answers.json", str(tmp_path))).read_text())
    assert table == {"columns": ["question", "accepted"], "data": [["Who?", "Drace; Oswin Drace"], ["Where?", None]]}


def test_null_run_writes_nothing() -> None:
    before = len(tracking_store.client().search_runs(["1"]))
    run = tracking.Unrecorded({"commit": "c0ffee", "mlflow.user": "me"})
    run.page("name", "text")
    run.params({"a": 1})
    run.metrics({"a": 1.0})
    run.inputs({"data": "c0ffee"}, "training")
    assert run.lineage() == {"commit": "c0ffee"}
    assert len(tracking_store.client().search_runs(["1"])) == before


def test_stage_in_a_dvc_copy_logs_to_the_project(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    here = tracking_store.address()
    elsewhere = tmp_path_factory.mktemp("exps")  # as created by `dvc exp run --temp`
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert tracking_store.address() == here
    assert [path.resolve() for path in elsewhere.iterdir()] == [project / "mlruns"]
