"""A project of fake stages: real Git, DVC, Prefect and MLflow around programs that run for a moment."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console

from flows.post_train import post_train
from pipelines import config
from tests.support.project import prefect_server as serve

ROOT = Path(__file__).parents[2]

# fake.yaml defines what a stage does. A logged stage uses tasks/__init__.py, as real stages do; the others only write
# their outputs, which saves the seconds of importing MLflow.
PROGRAM = """
import json, sys, time
from contextlib import contextmanager
from pathlib import Path
import yaml

name = sys.argv[1]
how = yaml.safe_load(Path("fake.yaml").read_text())[name]

def note(file):
    with Path(file).open("a") as lines:
        lines.write(f"{name} {time.time()}\\n")

def work(out):
    note("started.txt")
    print(f"{name} works", file=sys.stderr, flush=True)
    time.sleep(how.get("seconds", 0.1))
    if "refuses" in how:
        from pipelines.runtime.errors import UserError
        raise UserError(how["refuses"])
    if "tampers" in how:
        Path(how["tampers"]).write_text("tampered")
    if "megabytes" in how:
        (out / "large.bin").write_bytes(bytes(2**20) * how["megabytes"])
    (out / "result.txt").write_text(str(time.time() if how.get("random") else how.get("value", name)))
    note("ended.txt")

def train(place, run):
    import torch
    from pipelines.training.checkpoints import Checkpoints
    kept = Checkpoints(place, seconds=0)
    saved = kept.latest()
    with kept.guarded():
        for number in range(saved.step + 1 if saved else 1, how["steps"] + 1):
            with Path("steps.txt").open("a") as lines:
                lines.write(f"{number}\\n")
            run.curve({"loss": float(-number)}, number)
            time.sleep(0.1)
            kept.step(number, lambda: ({"weight": torch.tensor([number])}, {}))

if how.get("logged"):
    from tasks import task
    with task(name) as t:
        if "steps" in how:
            train(t.place, t.run)
        work(t.out)
        t.finish({"answer": 42.0})
else:
    status = Path(".gradus/status")
    status.mkdir(parents=True, exist_ok=True)
    (status / f"{name}.json").write_text(json.dumps({"state": "running"}))
    out = Path("artifacts") / name
    out.mkdir(parents=True)
    work(out)
    Path("runs").mkdir(exist_ok=True)
    Path(f"runs/{name}.json").write_text(json.dumps({"run_id": name}))
"""


@dataclass
class Project:
    """A folder with Git, DVC and fake stages, and methods to run the flow in it."""

    path: Path
    store: str
    environment: dict[str, str]
    how: dict[str, dict[str, Any]] = field(default_factory=dict)

    def describe(self, parents: dict[str, list[str]], **how: dict[str, Any]) -> None:
        """Write the graph and the behaviour of each stage."""
        self.how = {name: how.get(name, {}) for name in parents}
        (self.path / "dvc.yaml").write_text(
            yaml.safe_dump({"stages": {name: _stage(name, parents[name], **self.how[name]) for name in parents}})
        )
        self.change()

    def change(self, **how: dict[str, Any]) -> None:
        """Change the behaviour of some stages."""
        self.how |= how
        (self.path / "fake.yaml").write_text(yaml.safe_dump(self.how))

    def run(self, *targets: str, promoting: bool = True) -> None:
        """Run the flow in this process."""
        post_train(config.load(), Console(stderr=True), list(targets), False, promoting)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command `gradus` in a subprocess."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.Popen(
            command, cwd=self.path, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def started(self) -> list[str]:
        """Return the stages that were started, in order."""
        return list(self.times("started.txt"))

    def times(self, file: str) -> dict[str, float]:
        """Return the last time at which each stage wrote to started.txt or ended.txt."""
        path = self.path / file
        lines = path.read_text().splitlines() if path.exists() else []
        return {line.split()[0]: float(line.split()[1]) for line in lines}

    def forget(self) -> None:
        """Clear the list of started stages."""
        (self.path / "started.txt").unlink()

    def runs(self) -> tuple[Run, dict[str, Run]]:
        """Return the last flow run in MLflow, and its child runs by stage name."""
        store = MlflowClient(self.store)
        found = store.search_runs(["1"], order_by=["attributes.start_time DESC"])
        parent = next(run for run in found if run.data.tags.get("flow") == "post_train")
        children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        return parent, {run.info.run_name: run for run in children}

    def processes(self) -> list[str]:
        """Return the processes running in this folder, except the tests."""
        return [
            " ".join(each.info["cmdline"])
            for each in psutil.process_iter(["cwd", "cmdline", "pid", "status"])
            if self._ours(each)
        ]

    def _ours(self, process: psutil.Process) -> bool:
        alive = process.info["status"] != psutil.STATUS_ZOMBIE and process.info["pid"] != os.getpid()
        return alive and process.info["cwd"] == str(self.path)


def _stage(
    name: str, parents: list[str], meta: dict[str, Any] | None = None, reads: tuple[str, ...] = (), **_: Any
) -> dict[str, Any]:
    return {
        "cmd": f"python fake.py {name}",
        "meta": {"cores": 1, "retries": 5, "timeout": 60, **(meta or {})},
        "deps": ["fake.py", *reads, *(f"artifacts/{parent}" for parent in parents)],
        "params": [{"fake.yaml": [name]}],
        "outs": [f"artifacts/{name}", f"runs/{name}.json"],
    }


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's own parameters and data, with one document."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw", "teacher", "rehearsal"))
    (tmp_path / ".git").mkdir()
    (tmp_path / "data/raw").mkdir()
    (tmp_path / "data/raw/a.txt").write_text("A document.")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the database of `prefect_server`; tests that start another server use separate folders."""
    return tmp_path_factory.mktemp("shared-prefect")


@pytest.fixture(scope="session")
def prefect_server(prefect_home: Path) -> Iterator[str]:
    """One Prefect server shared by all tests, because starting one takes seconds."""
    with serve(prefect_home) as address:
        yield address


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database shared by all tests, because creating its tables takes seconds."""
    address = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    MlflowClient(address).create_experiment("gradus", tmp_path_factory.mktemp("artifacts").as_uri())
    return address


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without stages in a commit of Git and under DVC, as the working directory; no server is needed."""
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/.gitkeep").touch()  # marks a project; not a package, which would shadow the real tasks
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/a.txt").write_text("A document.")
    (tmp_path / "fake.py").write_text(PROGRAM)
    for command in (["init"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-m", "start"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fake(
    repository: Path, prefect_server: str, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project without stages as the working directory, using the shared servers."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    own = {"PREFECT_API_URL": prefect_server, "PREFECT_HOME": str(repository / ".gradus"), "COLUMNS": "200"}
    environment = {**os.environ, **own}
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield Project(repository, mlflow_store, environment)
