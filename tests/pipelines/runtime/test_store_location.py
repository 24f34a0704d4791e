"""A moved project keeps its registry and files, in this process and in MLflow's server."""

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
from pipelines.models.release import registration, registry
from pipelines.runtime import store_location, tracking
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT
from tests.flows.conftest import free_port
from tests.support.tables import write_table

pytestmark = pytest.mark.slow


@pytest.fixture
def moved(base: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> str:
    """Create a project with one version, rename its folder, and make its addresses absolute, as in older projects.

    Returns the run's id.
    """
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking.started("post_train", {}) as run:
        documents = Path("train.parquet")
        write_table(documents, [{"source": "mill.md", "title": "Mills", "text": "The mill is old."}])
        registration.register(
            run, base, documents, None, config.compute, config.evaluate.decoding, {"artifact": "weights"}
        )
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


def test_new_store_uses_relative_paths(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking.started("sft", {}) as run:
        run.record("verdicts.json", [1])
    assert run.store.get_run(run.id).info.artifact_uri == f"mlruns/artifacts/{run.id}/artifacts"
    assert (project / f"mlruns/artifacts/{run.id}/artifacts/verdicts.json").exists()
    assert store_location.repair() == ""


def test_renamed_project_keeps_its_registry(moved: str) -> None:
    assert not registry.whole(registry.get(1)) and registry.find("weights") is None
    assert store_location.repair().endswith("the paths are now relative to the project.")
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


@pytest.mark.e2e
def test_command_repairs_paths_and_reports_it_once(moved: str) -> None:
    command = [sys.executable, "-m", "flows.cli", "ask", "Who?"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=False) for _ in range(2)
    )
    assert "the paths are now relative to the project" in first.stderr
    assert second.stderr.startswith("There is no champion; `gradus promote --version 1 --force")
    assert second.returncode == 2


def test_readonly_database_raises_user_error(moved: str) -> None:
    with closing(sqlite3.connect(store_location.DATABASE)) as store:
        store.execute("CREATE TRIGGER locked BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'locked'); END")
        store.commit()
    with pytest.raises(UserError, match="refers to files by their old path"):
        store_location.repair()
    assert [each for each in addresses() if each.startswith("file:")]  # one transaction: nothing has changed
