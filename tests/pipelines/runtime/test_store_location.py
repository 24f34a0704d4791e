"""A project that is moved keeps its registry and its files, in this process and in MLflow's own server."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import requests

from flows.run.process import Program
from flows.serve.mlflow_ui import QUIET, mlflow_command
from flows.serve.prefect_server import Server
from pipelines.config import Config
from pipelines.models import registry
from pipelines.runtime import store_location, tracking
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT
from tests.flows.conftest import free_port


@pytest.fixture
def moved(base: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project with one version, whose folder was renamed; its addresses are absolute, as they were once.

    Returns the run's id.
    """
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking.started("post_train", {}) as run:
        registry.register(run, base, config.compute, config.evaluate.decoding, {"artifact": "weights"})
        run.record("verdicts.json", [1])
    here = Path.cwd()
    with closing(sqlite3.connect(store_location.DATABASE)) as store, store:
        for table, column in store_location.ADDRESSES:
            where = f"WHERE {column} LIKE 'mlruns/%'"
            store.execute(f"UPDATE {table} SET {column} = ? || {column} {where}", (f"{here.as_uri()}/",))
    there = here.with_name(f"{here.name} renamed")
    here.rename(there)
    monkeypatch.chdir(there)
    return run.id


def addresses() -> list[str]:
    with closing(sqlite3.connect(store_location.DATABASE)) as store:
        return [
            row[0]
            for table, column in store_location.ADDRESSES
            for row in store.execute(f"SELECT {column} FROM {table}")
        ]


def test_a_new_store_names_its_files_relative_to_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking.started("sft", {}) as run:
        run.record("verdicts.json", [1])
    assert run.store.get_run(run.id).info.artifact_uri == f"mlruns/artifacts/{run.id}/artifacts"
    assert (project / f"mlruns/artifacts/{run.id}/artifacts/verdicts.json").exists()
    assert store_location.repair() == ""


def test_a_renamed_project_keeps_its_registry(moved: str) -> None:
    assert not registry.whole(registry.get(1)) and registry.find("weights") is None
    assert store_location.repair().endswith("they are now named relative to the project.")
    assert store_location.repair() == ""
    assert not [each for each in addresses() if each.startswith("file:")]
    assert registry.find("weights") == registry.get(1)
    port = free_port()
    program = Program([sys.executable, "-m", *mlflow_command(port)], Path("ui.log"), QUIET)
    try:
        Server(f"http://127.0.0.1:{port}", program).wait("/health")
        where = f"http://127.0.0.1:{port}/get-artifact?path=verdicts.json&run_uuid={moved}"
        assert requests.get(where, timeout=60).json() == [1]
    finally:
        program.stop()


def test_a_command_repairs_and_says_so_once(moved: str) -> None:
    command = [sys.executable, "-m", "flows.cli", "ask", "Who?"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=False) for _ in range(2)
    )
    assert "they are now named relative to the project" in first.stderr
    assert second.stderr.startswith("There is no champion; `gradus promote --version 1 --force")
    assert second.returncode == 2


def test_a_database_that_cannot_be_written_is_named(moved: str) -> None:
    with closing(sqlite3.connect(store_location.DATABASE)) as store:
        store.execute("CREATE TRIGGER locked BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'locked'); END")
        store.commit()
    with pytest.raises(UserError, match="names its files by their old place"):
        store_location.repair()
    assert [each for each in addresses() if each.startswith("file:")]  # one transaction: nothing was changed
