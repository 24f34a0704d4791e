"""`gradus status` with and without a run in progress: stages, champion and servers."""

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
from flows.dag import dvc_lock, graph, staleness
from flows.run.run_state import RunState, StageState
from flows.serve import prefect_server
from flows.serve.prefect_server import check_free
from pipelines import config
from pipelines.runtime.errors import UserError
from tests.flows.conftest import Project

pytestmark = pytest.mark.slow


def _output(fake: Project) -> str:
    process = fake.start("status")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def test_changed_values_are_shown_and_optional_stages_marked(fake: Project) -> None:
    fake.describe({"ingest": [], "clean": ["ingest"], "extra": []}, extra={"meta": {"optional": True}})
    fake.change(ingest={"value": "old"})
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "clean"], env=fake.environment, check=True, capture_output=True
    )
    fake.change(ingest={"value": "new"})
    assert staleness.changes(graph.read())["ingest"] == 'ingest.value "old" → "new"'
    rows = {line.split()[0]: line for line in _output(fake).splitlines() if line}
    assert "changed" in rows["ingest"] and '"old" → "new"' in rows["ingest"]
    assert "follows" in rows["clean"]
    assert "optional" in rows["extra"] and "never ran" not in rows["extra"]


def test_note_of_a_stage_is_shown_with_its_brackets() -> None:
    note = "[transformers] user: What is [INST] x [/INST]"
    run = RunState(time.time(), None, {"sft": StageState("running", note, time.time())})
    console = Console(record=True, width=200)
    console.print(status._progress(run))
    assert note in console.export_text()


@pytest.mark.e2e
def test_running_stages_are_shown(fake: Project) -> None:
    fake.describe({"ingest": [], "clean": ["ingest"]}, ingest={"seconds": 60})
    process = fake.start("run", "clean")
    while not fake.started():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    output = _output(fake)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert "ingest  running" in output and "clean   waiting" in output
    assert "A run has been in progress" in output
    assert "A run has been in progress" not in _output(fake)


def test_champion_is_read_without_mlflow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status.champion() == "none yet."
    store = MlflowClient(f"sqlite:///{project / 'mlruns/mlflow.db'}")
    store.create_registered_model("gradus")
    version = store.create_model_version("gradus", (project / "x").as_uri(), tags={"model": "sft"})
    store.set_registered_model_alias("gradus", "champion", version.version)
    assert status.champion() == "version 1 (sft)." and status.openings(10) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://models.example")
    assert "http://models.example" in status.champion()


def test_taken_port_error_names_the_option_and_the_server(project: Path) -> None:
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


def test_status_works_while_another_dvc_holds_the_lock(fake: Project, capsys: pytest.CaptureFixture[str]) -> None:
    fake.describe({"ingest": []})
    with dvc_lock.locked_repo():
        status.show(Console(width=200), config.load())
    assert "is not available now: another dvc command is running" in capsys.readouterr().out
