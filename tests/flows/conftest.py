"""A project of fake stages: real Git, DVC, Prefect and MLflow around programs that take a moment each."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).parents[2]

PROGRAM = '''
"""A stage that reads its inputs, waits, and writes what params.yaml tells it to."""
import json, sys, time
from pathlib import Path
import yaml
from pipelines.errors import UserError
from pipelines.progress import say
from tasks import task

name = sys.argv[1]
with task(name) as t:
    how = yaml.safe_load(Path("fake.yaml").read_text())[name]
    say(f"{name} works")
    with Path("started.txt").open("a") as started:
        started.write(f"{name} {time.time()}\\n")
    end = time.monotonic() + how.get("seconds", 0.2)
    while time.monotonic() < end:
        time.sleep(0.05)
    if "refuses" in how:
        raise UserError(how["refuses"])
    if "crashes" in how:
        raise RuntimeError(how["crashes"])
    if "tampers" in how:
        Path(how["tampers"]).write_text("tampered")
    (t.out / "result.txt").write_text(str(how.get("value", name)))
    with Path("ended.txt").open("a") as ended:
        ended.write(f"{name} {time.time()}\\n")
    t.finish({"seconds": 0.0})
'''

PARENTS = {"ingest": [], "clean": ["ingest"], "dedup": ["ingest"], "split": ["clean", "dedup"], "sft": ["split"]}


@dataclass
class Project:
    """A folder with Git, DVC and fake stages, and the command `gradus` in it."""

    path: Path
    environment: dict[str, str]

    def set(self, **stages: dict[str, object]) -> None:
        """Write how each stage behaves."""
        known = {name: stages.get(name, {}) for name in PARENTS}
        lines = [f"{name}: {{{', '.join(f'{k}: {v!r}' for k, v in how.items())}}}\n" for name, how in known.items()]
        (self.path / "fake.yaml").write_text("".join(lines))

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of `gradus`."""
        return [sys.executable, "-m", "flows.cli", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `gradus`."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def gradus(self, *arguments: str) -> tuple[int, str]:
        """Run `gradus` and return its exit status and what it said."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=100)
        return process.returncode, said

    def started(self) -> list[str]:
        """Return the stages whose program has been started, in order."""
        return self._names("started.txt")

    def ended(self) -> list[str]:
        """Return the stages whose program ended well, in order."""
        return self._names("ended.txt")

    def runs(self) -> dict[str, Run]:
        """Return the latest MLflow run of each name."""
        store = MlflowClient(f"sqlite:///{self.path / 'mlruns/mlflow.db'}")
        found = store.search_runs(["1"], order_by=["attributes.start_time ASC"])
        return {run.info.run_name: run for run in found}

    def _names(self, file: str) -> list[str]:
        path = self.path / file
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def dvc_yaml(parents: dict[str, list[str]]) -> str:
    """Describe the fake stages; each depends on its own entry of fake.yaml."""
    stages = "".join(
        f"  {name}:\n    cmd: python fake.py {name}\n    meta: {{cores: 1, retries: 3, timeout: 60}}\n"
        f"    deps: [{', '.join(['fake.py', *(f'artifacts/{parent}' for parent in above)])}]\n"
        f"    params: [{{fake.yaml: [{name}]}}]\n"
        f"    outs: [artifacts/{name}, runs/{name}.json]\n"
        for name, above in parents.items()
    )
    return f"stages:\n{stages}"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all tests; starting one takes seconds."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "critical"],
        env={**environment, "PREFECT__SERVER_EPHEMERAL": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/api"
    _await(f"{address}/health")
    yield address
    process.terminate()
    process.wait()


def _await(address: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(address).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(address)


@pytest.fixture
def fake(tmp_path: Path, prefect_server: str) -> Project:
    """The project of fake stages: ingest, then clean and dedup, then split, then sft."""
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/a.txt").write_text("A document.")
    (tmp_path / "fake.py").write_text(PROGRAM)
    (tmp_path / "dvc.yaml").write_text(dvc_yaml(PARENTS))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": prefect_server, "COLUMNS": "200"}
    environment.pop("PREFECT_HOME", None)
    project = Project(tmp_path, environment)
    project.set()
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "start")
    return project


def _git(where: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=where, check=True)


def survivors(words: Sequence[str]) -> list[str]:
    """Return the command lines of running processes that contain all `words`."""
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if all(word in line for word in words)]
