"""Repair files that a killed DVC or a full disk left truncated and DVC cannot recover from: dvc.lock and the rwlock."""

import json
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any

import psutil
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.lock import make_lock
from dvc.repo import Repo

from flows.dag.dvc_lock import LOCK, ONE_AT_A_TIME, locked_repo
from pipelines import artifacts
from pipelines.runtime.progress import say

TORN = Path(".gradus/dvc.lock.torn")


def repair() -> None:
    """Repair DVC's rwlock and dvc.lock."""
    _repair_rwlock()
    _repair_lock()


def remove_leftovers(models: Container[str]) -> None:
    """Remove evaluations of models that are no longer compared: `compare` depends on the whole folder.

    DVC's templates cannot take the list of dependencies from a parameter, so the folder must hold exactly these models.
    """
    for path in (artifacts.ARTIFACTS / "evaluate").glob("*"):
        if path.name not in models and path.is_dir():
            shutil.rmtree(path)


def _repair_rwlock() -> None:
    """Remove DVC's rwlock, which lists readers and writers, when it is truncated or all of them have ended."""
    with ONE_AT_A_TIME, Repo() as repo:
        users = Path(repo.tmp_dir) / "rwlock"
        with make_lock(f"{users}.lock", tmp_dir=repo.tmp_dir, wait=True):
            if users.exists() and not any(map(_is_running, _listed(users))):
                users.unlink()


def _repair_lock() -> None:
    """Move a truncated dvc.lock away: DVC's run cache can restore it. Merge conflicts are left to the user."""
    if not LOCK.exists() or "<<<<<<<" in LOCK.read_text(encoding="utf-8", errors="replace"):
        return
    try:
        with locked_repo() as repo:
            Lockfile(repo, str(LOCK)).load()
    except DvcException:
        TORN.parent.mkdir(exist_ok=True)
        LOCK.replace(TORN)
        say(f"{LOCK} was truncated and has been moved to {TORN}; its outputs are restored from DVC's cache")


def _listed(users: Path) -> list[dict[str, Any]]:
    """Return the entries of DVC's rwlock, each with `pid` and `cmd`; empty when it cannot be parsed."""
    try:
        listed = json.loads(users.read_text(encoding="utf-8"))
    except ValueError:
        return []
    readers = [reader for path in listed.get("read", {}).values() for reader in path]
    return [*readers, *listed.get("write", {}).values()]


def _is_running(entry: dict[str, Any]) -> bool:
    """Return whether the process of an entry still runs the command that it was registered with.

    Process ids are reused, so the arguments must match too. The first word may differ: it is a path to a module for
    `python -m`.
    """
    _, _, arguments = str(entry["cmd"]).partition(" ")
    try:
        return " ".join(psutil.Process(int(entry["pid"])).cmdline()).endswith(arguments)
    except psutil.Error:
        return False
