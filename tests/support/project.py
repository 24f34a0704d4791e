"""A project of eight fast stages in a temporary folder, with real Git, DVC, Prefect and MLflow."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[2]

GRAPH = {
    "ingest": [],
    "clean": ["ingest"],
    "dedup": ["ingest"],
    "split": ["clean", "dedup"],
    "teacher": ["ingest"],
    "synthesize": ["split", "teacher"],
    "curate": ["synthesize"],
    "sft": ["curate"],
}

# Each stage hashes its inputs; the last one is a training with checkpoints, whose result depends on every step.
STAGE = """
import hashlib, sys, time
from pathlib import Path
import yaml
from tasks import task

name = sys.argv[1]
how = yaml.safe_load(Path("fake.yaml").read_text())[name]

def train(place):
    import torch
    from pipelines.training.checkpoints import Checkpoints, pack, restore_generators, unpack
    weights = {"w": torch.nn.Parameter(torch.zeros(8))}
    optimizer = torch.optim.AdamW(weights.values(), lr=0.1)
    torch.manual_seed(17)
    kept, done = Checkpoints(place, seconds=0.2), 0
    if saved := kept.latest():
        unpack(saved.tensors, weights, optimizer)
        restore_generators(saved.tensors)
        done = saved.step
    with kept.guarded():
        for number in range(done + 1, 21):
            time.sleep(how["seconds"] / 20)
            ((weights["w"] - torch.randn(8)) ** 2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            kept.step(number, lambda: (pack(weights, optimizer), {}))
    return weights["w"].detach().numpy().tobytes()

with Path("started.txt").open("a") as lines:
    lines.write(f"{name}\\n")
with task(name) as t:
    digest = hashlib.sha256(name.encode())
    for parent in how["parents"]:
        digest.update((t.input(parent) / "result.txt").read_bytes())
    if name == "sft":
        digest.update(train(t.place))
    else:
        time.sleep(how["seconds"])
    (t.out / "result.txt").write_text(digest.hexdigest())
    if how["megabytes"]:
        with (t.out / "large.bin").open("wb") as file:
            for _ in range(how["megabytes"]):
                file.write(digest.digest() * 32768)
    t.finish({"answer": 42.0})
"""


@dataclass
class Project:
    """The project folder and the environment of its programs."""

    path: Path
    environment: dict[str, str]

    def describe(self, round_: int, seconds: float, megabytes: int = 0, graph: dict[str, list[str]] = GRAPH) -> None:
        """Write the graph; a new `round_` reruns every stage with the same result."""
        stages, how = {}, {}
        for name, parents in graph.items():
            how[name] = {"round": round_, "seconds": seconds, "megabytes": megabytes, "parents": parents}
            stages[name] = {
                "cmd": f"python stage.py {name}",
                "meta": {"cores": 1, "retries": 5, "timeout": 120},
                "deps": ["stage.py", *(f"artifacts/{parent}" for parent in parents)],
                "params": [{"fake.yaml": [name]}],
                "outs": [f"artifacts/{name}", f"runs/{name}.json"],
            }
        (self.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        (self.path / "fake.yaml").write_text(yaml.safe_dump(how))

    def start(self, *targets: str) -> "subprocess.Popen[str]":
        """Start `gradus run`."""
        command = [sys.executable, "-m", "flows.cli", "run", *targets]
        log = (self.path / "gradus.log").open("w")
        return subprocess.Popen(command, cwd=self.path, env=self.environment, stdout=log, stderr=log, text=True)

    def run(self, *targets: str) -> float:
        """Run `gradus run` to the end; return the seconds."""
        began = time.monotonic()
        if self.start(*targets).wait():
            raise RuntimeError((self.path / "gradus.log").read_text())
        return time.monotonic() - began

    def dvc(self, *arguments: str) -> None:
        """Run DVC."""
        subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.path,
            env=self.environment,
            check=True,
            capture_output=True,
        )

    def started(self) -> list[str]:
        """Return the stages that have been started, in order."""
        path = self.path / "started.txt"
        return path.read_text().split() if path.exists() else []

    def results(self) -> dict[str, str]:
        """Return the digest of every output."""
        return {
            path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.path.glob("artifacts/*/result.txt")
        }

    def processes(self) -> list[psutil.Process]:
        """Return the processes that run in the folder."""
        found = psutil.process_iter(["cwd", "cmdline", "status"])
        return [
            each for each in found if each.info["cwd"] == str(self.path) and each.info["status"] != psutil.STATUS_ZOMBIE
        ]


def project(folder: Path) -> Project:
    """Create the project in `folder`."""
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "tasks").mkdir()
    (folder / "tasks/.gitkeep").touch()  # marks a project, without a package that would shadow the product's
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/a.txt").write_text("A document.")
    (folder / "stage.py").write_text(STAGE)
    for command in (["init"], ["add", "."], ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-m", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Project(folder.resolve(), {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path})


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Start a Prefect server with its state in `home`; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(port)]
    with (home / "prefect.log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, "PREFECT_HOME": str(home)}, stdout=log, stderr=log)
    try:
        until_it_answers(f"http://127.0.0.1:{port}/api/health")
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait()


def until_it_answers(address: str) -> None:
    """Wait until a server answers at `address`."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)
