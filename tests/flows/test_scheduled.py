"""Scheduled flows and notifications, with a real Prefect server and a real webhook."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import emit_event
from prefect.states import Running
from prefect.variables import Variable

from flows import scheduled
from flows.serve import heartbeat, notify
from flows.serve import prefect_server as prefects
from flows.serve.prefect_server import NOTIFY
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError
from tests.flows.conftest import ROOT, Project, free_port
from tests.flows.dag.test_worktree import commit, git

pytestmark = pytest.mark.slow


@pytest.fixture
def received(prefect_server: str, fake: Project) -> Iterator[list[dict[str, str]]]:
    """Messages received by a webhook, which is the block that `gradus_notify` names."""
    messages: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    block = CustomWebhookNotificationBlock(
        name="hook",
        url=f"http://127.0.0.1:{server.server_port}",
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
        headers=None,
        cookies=None,
    )
    block.save("hook", overwrite=True)
    Variable.set(NOTIFY, "custom-webhook/hook", overwrite=True)
    yield messages
    Variable.unset(NOTIFY)
    server.shutdown()


def test_message_reaches_the_webhook(received: list[dict[str, str]]) -> None:
    notify.send("Gradus: a new champion", "Version 3.")
    assert received == [{"subject": "Gradus: a new champion", "body": "Version 3."}]


def test_failing_webhook_is_reported_without_an_error(
    received: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    Variable.set(NOTIFY, "custom-webhook/nobody", overwrite=True)
    notify.send("Gradus", "anything")
    assert received == []
    assert "could not send a message" in capsys.readouterr().err


def test_unchanged_project_starts_no_stage(fake: Project) -> None:
    fake.describe({"ingest": [], "compare": ["ingest"]})
    fake.run("ingest", "compare", promoting=False)
    fake.forget()
    state = scheduled.retrain(return_state=True)
    assert state.is_completed() and "Nothing changed" in (state.message or "")
    assert not (fake.path / "started.txt").exists()


def test_retrain_during_a_run_starts_and_repairs_nothing(fake: Project, received: list[dict[str, str]]) -> None:
    fake.describe({"ingest": [], "compare": ["ingest"]})
    leftover = fake.path / "artifacts/evaluate/former/answers.jsonl"  # of a model that the run still evaluates
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    with liveness.exclusive("post_train"):
        state = scheduled.retrain(return_state=True)
    assert state.is_completed() and "Nothing was started: post_train is being run" in (state.message or "")
    assert leftover.exists() and received == [] and fake.started() == []


def test_failed_run_sends_a_message(fake: Project, received: list[dict[str, str]]) -> None:
    fake.describe({"ingest": [], "compare": ["ingest"]}, ingest={"logged": True, "refuses": "There is no text."})
    state = scheduled.retrain(return_state=True)
    assert state.is_failed()
    assert len(received) == 1 and "There is no text." in received[0]["body"]


def crashed(client: SyncPrefectClient, run: UUID) -> bool:
    state = client.read_flow_run(run).state
    return state is not None and state.is_crashed()


@pytest.mark.e2e
def test_run_without_heartbeats_is_marked_as_crashed(received: list[dict[str, str]], prefect_server: str) -> None:
    heartbeat.watch(timedelta(seconds=10))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(scheduled.retrain, state=Running())
        emit_event(heartbeat.BEAT, {"prefect.resource.id": f"prefect.flow-run.{run.id}"})
        end = time.monotonic() + 90
        while not crashed(client, run.id) and time.monotonic() < end:
            time.sleep(0.5)
        assert crashed(client, run.id)
    while not received and time.monotonic() < end:
        time.sleep(0.5)
    assert received[0]["subject"] == "Gradus: a run crashed" and run.name in received[0]["body"]


@pytest.mark.e2e
def test_up_serves_deploys_and_stops_all_processes(fake: Project) -> None:
    fake.describe({"ingest": []})
    shutil.copy(ROOT / "prefect.yaml", fake.path)
    shutil.copytree(ROOT / "flows", fake.path / "flows")
    del fake.environment["PREFECT_API_URL"]
    ports = free_port(), free_port()
    process = fake.start("up", "--prefect-port", str(ports[0]), "--port", str(ports[1]))
    assert process.stdout is not None
    output = [process.stdout.readline() for _ in range(2)]
    assert f"http://127.0.0.1:{ports[0]}" in output[0] and "schedules" in output[1], output

    def listed(what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.post(f"http://127.0.0.1:{ports[0]}/api/{what}/filter", json={}).json()
        return found

    assert {each["name"] for each in listed("deployments")} == {"weekly", "when-documents-change", "daily-evaluation"}
    assert all(schedule["active"] for each in listed("deployments") for schedule in each["schedules"])
    assert heartbeat.NAME in {each["name"] for each in listed("automations")}
    run, servers = fake.start("run", "ingest"), set[int]()
    while run.poll() is None:
        servers.add(sum("prefect server start" in line for line in fake.processes()))
    assert run.returncode == 0 and servers == {1}  # it used this server
    assert "ingest" in {each["name"].rsplit("-", 1)[0] for each in listed("task_runs")}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert fake.processes() == []


def test_retrain_runs_only_given_stages(fake: Project) -> None:
    fake.describe({"ingest": [], "data_report": ["ingest"], "compare": ["ingest"]})
    state = scheduled.retrain(stages=["data_report"], return_state=True)
    assert state.is_completed() and fake.started() == ["ingest", "data_report"]


@pytest.mark.e2e
def test_retrain_with_parameters_runs_in_a_worktree(fake: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.describe({"ingest": [], "compare": ["ingest"]})
    commit("stages")
    monkeypatch.setenv("PREFECT_API_URL", fake.environment["PREFECT_API_URL"])
    state = scheduled.retrain(stages=["ingest"], set=["sft.epochs=3"], return_state=True)
    assert state.is_completed() and "Run with sft.epochs=3: finished" in (state.message or ""), state.message
    (branch,) = git("branch", "--list", "runs/*", "--format=%(refname:short)").split()
    assert "epochs: 3" in git("show", f"{branch}:params.yaml") and fake.started() == []
    state = scheduled.retrain(set=["sft.epoch=3"], return_state=True)
    assert state.is_failed() and "sft.epoch" in (state.message or "")


def test_notify_command_configures_messages(fake: Project, received: list[dict[str, str]]) -> None:
    fake.describe({"ingest": []})
    Variable.unset(NOTIFY)
    hook: Any = CustomWebhookNotificationBlock.load("hook")
    process = fake.start("notify", "webhook", str(hook.url), "--test")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0 and "a test message was sent" in output, output
    notify.send("Gradus: a new champion", "Version 3.")
    assert [each["subject"] for each in received] == ["Gradus: test message", "Gradus: a new champion"]


def test_notification_setting_is_read_without_a_server(
    received: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, prefect_home: Path
) -> None:
    monkeypatch.setattr(prefects, "DATABASE", prefect_home / "prefect.db")
    assert prefects.notifies()
    Variable.unset(NOTIFY)
    assert not prefects.notifies()
    monkeypatch.setattr(prefects, "DATABASE", Path("none.db"))
    assert not prefects.notifies()
    monkeypatch.setenv(prefects.ELSEWHERE, "postgresql+asyncpg://host/prefect")
    assert prefects.notifies()


@pytest.mark.parametrize(
    ("kind", "address", "reason"),
    [("pigeon", "http://127.0.0.1", "not a kind"), ("discord", "http://127.0.0.1", "address")],
)
def test_invalid_webhook_is_rejected_without_revealing_its_address(
    prefect_server: str, kind: str, address: str, reason: str
) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        notify.set_up(kind, address, test=False)
    assert address not in str(refused.value)  # it is a secret


def test_every_deployment_names_an_existing_flow() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = [each["entrypoint"].removeprefix("flows/scheduled.py:") for each in deployments]
    assert len(names) == 3 and all(isinstance(getattr(scheduled, name), Flow) for name in names)
