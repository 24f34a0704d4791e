"""`gradus status` beside a run and alone: what runs, who is champion, which servers, what would run and why."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from flows.commands import status
from flows.dag import dvc_lock, graph
from flows.serve import prefect_server
from flows.serve.prefect_server import check_free
from pipelines.runtime.errors import UserError
from tests.flows.conftest import Project


def _said(fake: Project) -> str:
    process = fake.start("status")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def test_what_changed_is_told_old_and_new_and_optional_stages_are_optional(fake: Project) -> None:
    fake.describe({"ingest": [], "clean": ["ingest"], "extra": []}, extra={"meta": {"optional": True}})
    fake.change(ingest={"value": "old"})
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "clean"], env=fake.environment, check=True, capture_output=True
    )
    fake.change(ingest={"value": "new"})
    assert dvc_lock.changes(graph.read())["ingest"] == 'ingest.value "old" → "new"'
    rows = {line.split()[0]: line for line in _said(fake).splitlines() if line}
    assert "changed" in rows["ingest"] and '"old" → "new"' in rows["ingest"]
    assert "follows" in rows["clean"]
    assert "optional" in rows["extra"] and "never ran" not in rows["extra"]


def test_a_run_is_told_of_while_it_runs(fake: Project) -> None:
    fake.describe({"ingest": [], "clean": ["ingest"]}, ingest={"seconds": 60})
    process = fake.start("run", "clean")
    while not fake.started():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    said = _said(fake)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert "ingest  running" in said and "clean   waiting" in said
    assert "A run is at work" in said
    assert "A run is at work" not in _said(fake)


def test_the_champion_is_read_without_mlflow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status.champion() == "none yet."
    store = MlflowClient(f"sqlite:///{project / 'mlruns/mlflow.db'}")
    store.create_registered_model("gradus")
    version = store.create_model_version("gradus", (project / "x").as_uri(), tags={"model": "sft"})
    store.set_registered_model_alias("gradus", "champion", version.version)
    assert status.champion() == "version 1 (sft)."
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://models.example")
    assert "http://models.example" in status.champion()


def test_a_taken_port_names_its_option_and_its_holder(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind((prefect_server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} is taken; choose another one with --prefect-port"):
            check_free(port, "--prefect-port")
        prefect_server.announce_page("MLflow", f"http://{prefect_server.HOST}:{port}")
        assert prefect_server.pages() == {"MLflow": f"http://{prefect_server.HOST}:{port}"}
        with pytest.raises(UserError, match="is taken, by this project's MLflow; choose another one with --port"):
            check_free(port)


def test_another_dvc_at_work_does_not_end_it(fake: Project, capsys: pytest.CaptureFixture[str]) -> None:
    fake.describe({"ingest": []})
    with dvc_lock.closed():
        status.show(Console(width=200))
    assert "cannot be told now: another dvc command is at work" in capsys.readouterr().out
