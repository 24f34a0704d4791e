"""Mutual exclusion on the accelerator, with a real Prefect server."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.run import accelerator
from flows.run.errors import StoppedError
from tests.flows.conftest import Project
from tests.support.project import prefect_server as serve

pytestmark = pytest.mark.slow


def never() -> bool:
    return False


@pytest.mark.e2e
def test_stages_that_need_the_accelerator_run_one_at_a_time(fake: Project) -> None:
    gpu = {"seconds": 2, "meta": {"gpu": True}}
    fake.describe({"ingest": [], "clean": ["ingest"], "dedup": ["ingest"]}, clean=gpu, dedup=gpu)
    fake.run("clean", "dedup")
    started, ended = fake.times("started.txt"), fake.times("ended.txt")
    first, second = sorted(("clean", "dedup"), key=lambda name: started[name])
    assert started[second] > ended[first]


def test_waiting_flow_can_be_stopped(fake: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "PATIENCE", 0.5)
    accelerator.create_limit()
    stop, gone = threading.Event(), threading.Event()

    def wait() -> None:
        with pytest.raises(StoppedError), accelerator.held(stop.is_set):
            raise AssertionError("the accelerator was acquired twice")
        gone.set()

    here = copy_context()  # a thread does not inherit the server's address
    with accelerator.held(never):
        threading.Thread(target=here.run, args=(wait,), daemon=True).start()
        assert not gone.wait(2)
        stop.set()
        assert gone.wait(10)
    with accelerator.held(never):
        pass


@pytest.mark.e2e
def test_lease_survives_a_server_restart(tmp_path: Path) -> None:
    def at(address: str, do: Callable[[SyncPrefectClient], Any]) -> Any:
        with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
            return do(client)

    def take(client: SyncPrefectClient) -> str:
        accelerator.create_limit()
        body = {"names": [accelerator.LIMIT], "slots": 1, "mode": "concurrency", "lease_duration": accelerator.LEASE}
        taken = client.request("POST", "/v2/concurrency_limits/increment-with-lease", json=body).json()
        return str(taken["lease_id"])

    with serve(tmp_path) as address:
        lease = at(address, take)
    with serve(tmp_path) as address:
        at(address, lambda client: client.renew_concurrency_lease(lease, accelerator.LEASE))  # raises when it is gone
