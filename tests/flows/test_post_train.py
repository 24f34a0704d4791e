"""The post_train flow, with fake stages and real Git, DVC, Prefect and MLflow."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.repo import Repo
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from rich.console import Console

from flows.dag import staleness
from flows.post_train import link
from flows.run.console import RunConsole
from flows.run.errors import StageError
from flows.run.scheduler import Scheduler
from flows.run.stage import Run
from pipelines import artifacts
from pipelines.runtime import tracking
from pipelines.runtime.errors import UserError
from tests.flows.conftest import Project

pytestmark = pytest.mark.slow

DIAMOND = {"ingest": [], "clean": ["ingest"], "dedup": ["ingest"], "split": ["clean", "dedup"]}


def test_stages_run_in_order_concurrently_and_once(fake: Project) -> None:
    fake.describe(DIAMOND, ingest={"logged": True}, clean={"seconds": 4}, dedup={"seconds": 4})
    fake.run("split")
    started, ended = fake.times("started.txt"), fake.times("ended.txt")
    assert set(started) == set(DIAMOND)
    for name, parents in DIAMOND.items():
        assert all(started[name] > ended[parent] for parent in parents)
    assert max(started["clean"], started["dedup"]) < min(ended["clean"], ended["dedup"])
    parent, children = fake.runs()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert parent.info.status == children["ingest"].info.status == "FINISHED"
    assert children["ingest"].data.metrics["answer"] == 42
    assert parent.data.tags["commit"] == children["ingest"].data.tags["commit"] == commit
    assert children["ingest"].data.tags["flow_run"] == parent.data.tags["flow_run"]
    assert len(children["ingest"].data.tags["stage_key"]) == len(children["ingest"].data.tags["dvc_lock"]) == 64

    fake.forget()
    fake.run("split")
    assert fake.started() == []
    again, _ = fake.runs()
    assert again.info.run_id == parent.info.run_id  # a run with nothing to do creates no MLflow run

    fake.change(dedup={"value": "other"})
    fake.run("split")
    assert fake.started() == ["dedup", "split"]
    last, _ = fake.runs()
    assert last.data.tags["cached.ingest"] == children["ingest"].info.run_id


def test_cached_stage_instance_is_linked(fake: Project) -> None:
    artifacts.write_json(artifacts.RUNS / "evaluate@sft.json", {"run_id": "origin"})
    console = Console()
    with tracking.started("post_train", {}) as parent:
        link(Run(parent, Scheduler(1), RunConsole(console, []), frozenset({"evaluate@sft"}), False))
    assert parent.store.get_run(parent.id).data.tags["cached.evaluate/sft"] == "origin"


@pytest.mark.e2e
def test_stages_independent_of_a_failed_stage_finish(fake: Project) -> None:
    sentence = "The documents are in no known language; set clean.languages."
    fake.describe(DIAMOND, clean={"logged": True, "refuses": sentence}, dedup={"seconds": 1})
    process = fake.start("run", "split")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 2
    assert output.rstrip().splitlines()[-1] == f"clean: {sentence}"
    assert sorted(line.split()[0] for line in Path("started.txt").read_text().splitlines()) == [
        "clean",  # once: a failed stage is not retried
        "dedup",
        "ingest",
    ]
    parent, children = fake.runs()
    assert parent.info.status == children["clean"].info.status == "FAILED"
    fake.change(clean={})
    fake.forget()
    fake.run("split")
    assert fake.started() == ["clean", "split"]


def test_input_modified_after_its_producer_is_rejected(fake: Project) -> None:
    chain = {"ingest": [], "clean": ["ingest"], "dedup": ["ingest", "clean"]}
    fake.describe(chain, clean={"tampers": "artifacts/ingest/result.txt"})
    with pytest.raises(StageError, match="artifacts/ingest is not what the stage ingest wrote") as caught:
        fake.run("dedup")
    assert caught.value.user
    assert fake.started() == ["ingest", "clean"]


def in_prefect(fake: Project) -> tuple[FlowRun, list[str]]:
    """Return the last flow run in Prefect and its log messages."""
    with get_client(sync_client=True) as client:
        (found,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        filtered = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[found.id]))
        return found, [each.message for each in client.read_logs(filtered)]


def test_run_is_described_in_mlflow_and_prefect(fake: Project) -> None:
    fake.describe({"ingest": [], "data_report": ["ingest"]}, ingest={"logged": True})
    fake.run("data_report")
    parent, _ = fake.runs()
    tags, params = parent.data.tags, parent.data.params
    assert parent.info.run_name == "data_report only"
    assert tags["mlflow.source.git.commit"] == tags["commit"] and tags["mlflow.user"]
    assert f"commit `{tags['commit'][:10]}`" in tags["mlflow.note.content"]
    assert "completed (2): `ingest`, `data_report`" in tags["mlflow.note.content"]
    assert params["sft.tuning.method"] and params["evaluate.models.base"] == "base"
    run, lines = in_prefect(fake)
    assert run.name == "data_report only" and str(run.id) in tags["mlflow.note.content"]
    assert "ingest works" in lines


@pytest.mark.e2e
def test_interrupt_stops_all_processes_and_marks_the_run_as_stopped(fake: Project) -> None:
    fake.describe({"ingest": [], "clean": ["ingest"]}, clean={"logged": True, "seconds": 300})
    process = fake.start("run", "clean")
    while "clean" not in fake.started():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Stopped." in output
    assert fake.processes() == []
    parent, children = fake.runs()
    assert parent.info.status == children["clean"].info.status == "KILLED"
    assert parent.info.run_name == "clean only · stopped"
    run, _ = in_prefect(fake)
    assert run.state is not None and run.state.is_cancelled() and run.name == "clean only · stopped"
    assert [one.dataset.name for one in children["clean"].inputs.dataset_inputs] == ["artifacts/ingest"]


@pytest.mark.e2e
def test_next_run_cleans_up_after_a_killed_flow(fake: Project) -> None:
    slow = {"clean": {"logged": True, "seconds": 300}, "dedup": {"seconds": 300}}  # only the first stops with its flow
    fake.describe({"ingest": [], "clean": ["ingest"], "dedup": ["ingest"]}, **slow)
    process = fake.start("run", "clean", "dedup")
    while not {"clean", "dedup"} <= set(fake.started()):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.kill()
    process.communicate()
    assert len(fake.processes()) >= 2  # dvc and the stage
    killed, _ = fake.runs()
    assert killed.info.status == "RUNNING"
    fake.change(clean={"logged": True}, dedup={})
    fake.run("clean", "dedup")
    assert fake.processes() == []
    store = MlflowClient(fake.store)
    assert store.get_run(killed.info.run_id).info.status == "KILLED"
    assert store.search_runs(["1"], "attributes.status = 'RUNNING'") == []
    parent, children = fake.runs()
    assert parent.info.status == children["clean"].info.status == "FINISHED"


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_training_resumes_with_one_metric_curve(fake: Project, number: int) -> None:
    fake.describe({"ingest": [], "sft": ["ingest"]}, sft={"logged": True, "steps": 40})
    process = fake.start("run", "sft")
    steps = fake.path / "steps.txt"
    while not steps.exists() or len(steps.read_text().split()) < 8:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    # Another user's process and a zombie have no command line to read: None.
    (trainer,) = (
        each
        for each in psutil.process_iter(["cmdline", "cwd"])
        if (each.info["cmdline"] or [])[1:] == ["fake.py", "sft"] and each.info["cwd"] == str(fake.path)
    )
    trainer.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0 and fake.processes() == []
    _, before = fake.runs()
    assert before["sft"].info.status == "KILLED"
    fake.run("sft")
    taken = [int(step) for step in steps.read_text().split()]
    assert set(taken) == set(range(1, 41)) and len(taken) <= 41  # the interrupted step is repeated
    _, after = fake.runs()
    assert after["sft"].info.run_id == before["sft"].info.run_id
    assert (after["sft"].info.status, after["sft"].data.tags["resumed"]) == ("FINISHED", "1")
    curve = MlflowClient(fake.store).get_metric_history(after["sft"].info.run_id, "train/loss")
    assert [point.step for point in curve] == list(range(1, 41))
    assert list((fake.path / "checkpoints/sft").iterdir()) == []


@pytest.mark.e2e
def test_concurrent_run_is_rejected(fake: Project) -> None:
    fake.describe({"ingest": []}, ingest={"seconds": 120})
    first = fake.start("run", "ingest")
    while not fake.started():
        time.sleep(0.1)
    second = fake.start("run", "ingest")
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 2 and f"post_train is being run here already, by process {first.pid}" in output
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.wait(timeout=60)
    assert (fake.path / "started.txt").read_text().count("ingest") == 1


@pytest.mark.e2e
def test_stage_is_retried_while_another_dvc_runs_it(fake: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.describe({"ingest": []}, ingest={"seconds": 8})
    other = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "ingest"], env=fake.environment)
    while not fake.started():
        time.sleep(0.1)
    with pytest.raises(UserError, match="another dvc command is running"):
        fake.run("ingest")
    monkeypatch.setattr(staleness, "changes", lambda _: {"ingest": "as if the other dvc had started after the check"})
    fake.run("ingest")
    assert other.wait() == 0
    assert (fake.path / "started.txt").read_text().count("ingest") == 1


@pytest.mark.e2e
def test_stage_that_finishes_while_another_dvc_holds_the_lock_is_not_lost(fake: Project) -> None:
    fake.describe({"ingest": []}, ingest={"seconds": 2})
    process = fake.start("run", "ingest")
    while not fake.started():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    with Repo(_wait_for_lock=True).lock:
        time.sleep(8)  # DVC itself waits for three seconds
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert Path("started.txt").read_text().count("ingest") == 1 and Path("dvc.lock").exists()


def test_unknown_parameter_is_rejected_before_anything_starts(fake: Project) -> None:
    fake.describe({"ingest": []})
    text = (fake.path / "params.yaml").read_text()
    (fake.path / "params.yaml").write_text(text.replace("max_bytes:", "max_bites:"))
    process = fake.start("run", "ingest")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "ingest.max_bites is not a parameter; did you mean max_bytes?" in output
    assert not (fake.path / ".gradus").exists()


def test_empty_document_folder_is_rejected(fake: Project) -> None:
    fake.describe({"ingest": []})
    (fake.path / "data/raw/a.txt").unlink()
    process = fake.start("run", "ingest")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "data/raw holds no documents" in output
