"""DVC's recorded state: which stages are up to date, whether an input is what its producer wrote, a stage's key.

Reads dvc.yaml, dvc.lock and the files they name. Every query reopens the repository, because running stages write
dvc.lock, and takes DVC's lock, because they do not write it atomically.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipelines.runtime import code_lock
from pipelines.runtime.errors import UserError
from pipelines.runtime.fingerprint import PACKAGES

LOCK = Path("dvc.lock")
ONE_AT_A_TIME = threading.Lock()  # DVC's validation of dvc.yaml is not thread-safe


@contextmanager
def locked_repo(root: Path = Path()) -> Iterator[Repo]:
    """Open the repository under DVC's lock, waiting until no other process writes dvc.lock."""
    with ONE_AT_A_TIME, Repo(str(root), _wait_for_lock=True) as repo, repo.lock:
        yield repo


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is available


@dataclass(frozen=True)
class Inputs:
    """The inputs that determine the result of a stage."""

    key: str
    """Hash of command, dependencies and parameters: equal keys give equal results."""
    data: dict[str, str]
    """DVC's hash of every input file and folder except code, by path."""
    parameters: tuple[str, ...]
    """The keys of params.yaml that the result depends on: values, or whole blocks."""


def prove(name: str) -> Inputs:
    """Check that every input of the stage `name` is what its producer wrote, and return these inputs.

    Raises:
        UserError: an input differs from its producer's output in dvc.lock, or a dependency is missing.
    """
    try:
        with locked_repo() as repo:
            stage = repo.stage.get_target(name)
            parents = list(repo.index.graph.successors(stage))
        with ONE_AT_A_TIME:  # hashing may take long, so DVC's lock is not held
            for parent in parents:
                _prove_outputs(parent, stage)
            stage.save_deps()
        hashes = {str(dep): dep.hash_info for dep in stage.deps}
        facts = [stage.cmd, {path: found.value for path, found in hashes.items()}]
    except DvcException as error:
        raise UserError(f"{name} cannot start: {str(error).strip().splitlines()[0]}.") from error
    data = {path: found.value for path, found in hashes.items() if found.name == "md5" and not path.endswith(".py")}
    parameters = tuple(key for dep in stage.deps if str(dep) == "params.yaml" for key in dep.params)
    return Inputs(hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(), data, parameters)


def _prove_outputs(parent: Any, reader: Any) -> None:
    """Check the outputs of `parent` that `reader` needs; data tracked by `dvc add` may change at any time."""
    if parent.is_data_source:
        return
    for out in parent.outs:
        if any(_overlap(out.fs_path, dep.fs_path) for dep in reader.deps) and out.status():
            wrote = parent.addressing
            raise UserError(
                f"{out} is not what the stage {wrote} wrote, so {reader.addressing} is not started; "
                f"`dvc checkout {out}` restores it, `gradus run {wrote}` recomputes it."
            )


def _overlap(one: str, other: str) -> bool:
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)


def sources() -> list[str]:
    """Return the source paths of a run: graph, parameters, code, and documents or their .dvc files."""
    try:
        with locked_repo() as repo:
            stages = list(repo.index.stages)
            outputs = {str(out) for stage in stages for out in stage.outs}
            read = {str(dep) for stage in stages for dep in stage.deps}
            dvc_files = {Path(stage.path_in_repo).as_posix() for stage in stages if stage.is_data_source}
    except DvcException as error:
        raise UserError(f"dvc.yaml cannot be read: {str(error).strip().splitlines()[0]}.") from error
    return sorted({"dvc.yaml", *PACKAGES} | (read - outputs) | dvc_files)


def changed_data() -> list[str]:
    """Return the data tracked by `dvc add` that the graph reads and that differs from its .dvc file."""
    with locked_repo() as repo:
        stages = list(repo.index.stages)
    read = [dep.fs_path for stage in stages for dep in stage.deps]
    data = [out for stage in stages if stage.is_data_source for out in stage.outs]
    return [str(out) for out in data if any(_overlap(out.fs_path, path) for path in read) and out.status()]


def lock_hash() -> str:
    """Return the SHA-256 of dvc.lock; empty when there is no dvc.lock."""
    with locked_repo():
        return hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.exists() else ""


def output_hash(stage: str, path: Path) -> str:
    """Return the MD5 that dvc.lock holds for the output `path` of `stage`."""
    return _entry(_locked()[stage]["outs"], path)


def input_hash(stage: str, path: Path) -> str:
    """Return the MD5 that dvc.lock holds for the dependency `path` of `stage`."""
    return _entry(_locked()[stage]["deps"], path)


def read_by(stage: str) -> dict[str, str]:
    """Return the MD5 that dvc.lock holds for each dependency of `stage`, by path."""
    return {dep["path"]: str(dep["md5"]) for dep in _locked().get(stage, {}).get("deps", [])}


def code_entry(known: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the entry of code.lock.yaml recorded in dvc.lock for a stage; empty when there is none."""
    entry: dict[str, Any] = known.get("params", {}).get(str(code_lock.LOCK), {}).get(name) or {}
    return entry


def codes_of(stage: str) -> set[str]:
    """Return the code hashes (code.lock.yaml) with which the instances of `stage` ran."""
    entries = [entry for name, entry in _locked().items() if name.partition("@")[0] == stage]
    return {found["code"] for entry in entries if (found := code_entry(entry, stage))}


def current_hash(path: Path) -> str:
    """Return the present hash of a dependency of the graph in the working tree."""
    with locked_repo() as repo:
        dep = next(dep for stage in repo.index.stages for dep in stage.deps if str(dep) == path.as_posix())
        dep.save()
    return str(dep.hash_info.value)


def _entry(entries: list[dict[str, Any]], path: Path) -> str:
    return str(next(entry["md5"] for entry in entries if entry["path"] == path.as_posix()))


def _locked() -> dict[str, Any]:
    with locked_repo():
        return recorded()


def recorded() -> dict[str, Any]:
    """Return the stages in dvc.lock, by name."""
    content: dict[str, Any] = yaml.load(LOCK.read_bytes(), _Loader) if LOCK.exists() else {}
    stages: dict[str, Any] = content.get("stages", {})
    return stages
