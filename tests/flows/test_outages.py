"""Outages during a run: each gives one sentence, loses no results, and the next run continues."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from flows.run.errors import StageError
from flows.serve.mlflow_ui import mlflow_command
from tests.flows.conftest import Project, free_port
from tests.support.project import prefect_server as serve
from tests.support.project import until_it_answers

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

CHAIN = {"ingest": [], "clean": ["ingest"]}


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for `gradus` to exit without a traceback; return its exit status and its last output line."""
    output, _ = process.communicate(timeout=300)
    assert "Traceback" not in output, output
    return process.returncode, output.rstrip().splitlines()[-1]


def begun(fake: Project, stage: str, process: "subprocess.Popen[str]") -> None:
    while stage not in fake.started():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def test_hanging_stage_is_stopped(fake: Project) -> None:
    fake.describe(CHAIN, clean={"seconds": 300, "meta": {"timeout": 4}})
    with pytest.raises(StageError, match="longer than 4 s and was stopped") as caught:
        fake.run("clean")
    assert caught.value.user and fake.processes() == []
    fake.forget()
    fake.describe(CHAIN)
    fake.run("clean")
    assert fake.started() == ["clean"]


def test_full_disk_is_reported_and_finished_stages_are_kept(fake: Project, tmp_path: Path) -> None:
    fake.describe(CHAIN, ingest={"logged": True}, clean={"logged": True, "megabytes": 30})
    disk = tmp_path / "disk"
    disk.mkdir()
    gradus = f"{sys.executable} -m flows.cli run clean || echo status $?"
    script = f"""
        mount -t tmpfs -o size=64m tmpfs {disk} && cp -a $(ls -A | grep -v disk) {disk} && cd {disk} || exit 9
        head -c 40000000 /dev/zero > ballast
        {gradus}; rm ballast; echo; {gradus}
    """
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]  # separate mount namespace
    done = subprocess.run(command, env=fake.environment, capture_output=True, text=True, timeout=300, check=True)
    full, again = done.stdout.split("\n\n")
    assert "clean: the disk is full; free some room" in done.stderr
    assert full.splitlines()[-1] == "status 2" and "ingest | done" in full
    assert "status" not in again and "ingest | cached" in again and "clean  | done" in again


def test_damaged_cache_object_is_recomputed(fake: Project) -> None:
    fake.describe(CHAIN)
    fake.run("clean")
    (damaged,) = (path for path in Path(".dvc/cache").rglob("*") if path.is_file() and path.read_text() == "ingest")
    damaged.chmod(0o644)
    damaged.write_text("rotten")
    damaged.chmod(0o444)  # as DVC leaves it
    shutil.rmtree("artifacts/ingest")
    fake.forget()
    fake.run("clean")
    assert Path("artifacts/ingest/result.txt").read_text() == "ingest"
    assert fake.started() == ["ingest"]


def test_truncated_lock_file_is_moved_away_and_its_stages_are_restored(fake: Project) -> None:
    fake.describe(CHAIN)
    fake.run("clean")
    lock = Path("dvc.lock")
    whole = lock.read_text()
    lock.write_text(whole[: whole.rindex("outs:") + 3])
    fake.forget()
    fake.run("clean")
    assert lock.read_text() == whole
    assert not Path("started.txt").exists()


@pytest.mark.parametrize(
    "left", ['{"write": {"arti', '{"write": {"artifacts/clean": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}']
)
def test_rwlock_is_removed_when_truncated_or_of_dead_processes(fake: Project, left: str) -> None:
    fake.describe(CHAIN)
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text(left)
    fake.run("clean")
    assert set(fake.started()) == set(CHAIN)


def test_rwlock_is_kept_while_another_command_reads_the_project(fake: Project) -> None:
    fake.describe(CHAIN)
    Path(".dvc/tmp").mkdir(exist_ok=True)
    reader = subprocess.Popen([sys.executable, "-c", "input()", "status"], stdin=subprocess.PIPE)
    entry = {"pid": reader.pid, "cmd": "flows/cli/__main__.py status"}
    Path(".dvc/tmp/rwlock").write_text(json.dumps({"read": {"params.yaml": [entry]}}))
    fake.run("clean")
    assert entry in json.loads(Path(".dvc/tmp/rwlock").read_text())["read"]["params.yaml"]
    reader.communicate()


def test_prefect_server_death_loses_no_stage(fake: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    fake.describe(CHAIN, ingest={"seconds": 4}, clean={"meta": {"gpu": True}})
    fake.environment["PREFECT_CLIENT_MAX_RETRIES"] = "0"  # saves a minute
    with serve(tmp_path_factory.mktemp("prefect")) as address:
        fake.environment["PREFECT_API_URL"] = address
        process = fake.start("run", "clean")
        begun(fake, "ingest", process)
    status, sentence = ended(process)
    assert status == 2 and sentence.startswith("Prefect's server died. Finished stages are kept")
    fake.forget()
    fake.run("clean")
    assert not Path("started.txt").exists()


def test_run_and_its_server_end_when_both_are_stopped(fake: Project) -> None:
    """As a service manager stops all processes of a service."""
    fake.describe(CHAIN, ingest={"seconds": 60})
    del fake.environment["PREFECT_API_URL"]
    fake.environment["PREFECT_CLIENT_MAX_RETRIES"] = "0"
    process = fake.start("run", "clean")
    begun(fake, "ingest", process)
    run = psutil.Process(process.pid)
    for each in (*run.children(), run):
        each.terminate()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and "Prefect's server died. Finished stages are kept" in output.splitlines()[-1]
    assert fake.processes() == []


@contextmanager
def mlflow_server(store: str, log: Path) -> Iterator[str]:
    """Start an MLflow server, yield its address, and kill it on exit."""
    port = free_port()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store}
    command = [sys.executable, "-m", *mlflow_command(port)]
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        until_it_answers(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_mlflow_server_death_loses_no_training_steps(fake: Project, tmp_path: Path) -> None:
    fake.describe({"ingest": [], "sft": ["ingest"]}, sft={"logged": True, "steps": 40})
    fake.environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # saves some minutes
    steps = fake.path / "steps.txt"
    with mlflow_server(fake.store, tmp_path / "mlflow.log") as address:
        fake.environment["MLFLOW_TRACKING_URI"] = address
        process = fake.start("run", "sft")
        while not steps.exists() or len(steps.read_text().split()) < 8:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
    status, sentence = ended(process)
    assert status == 2 and f"MLflow at {address} does not answer" in sentence
    fake.run("sft")
    taken = [int(step) for step in steps.read_text().split()]
    assert set(taken) == set(range(1, 41)) and len(taken) <= 42
    assert MlflowClient(fake.store).search_runs(["1"], "attributes.status = 'RUNNING'") == []
