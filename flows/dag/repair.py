"""What a killed DVC, or a full disk, leaves half written, and DVC would never get past: dvc.lock and the rwlock."""

import json
import shutil
from collections.abc import Container
from pathlib import Path

import psutil
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.lock import make_lock
from dvc.repo import Repo

from flows.dag.dvc_lock import LOCK, ONE_AT_A_TIME, closed
from pipelines import artifacts
from pipelines.runtime.progress import say

TORN = Path(".gradus/dvc.lock.torn")


def repair() -> None:
    """Put right what DVC keeps of its users and of the stages."""
    _mend_users()
    _mend_lock()


def remove_leftovers(models: Container[str]) -> None:
    """Remove evaluations of models that are compared no longer: `compare` depends on the folder, which names none.

    DVC's templates cannot list dependencies that a parameter names; so the folder holds these and no others.
    """
    for path in (artifacts.ARTIFACTS / "evaluate").glob("*"):
        if path.name not in models and path.is_dir():
            shutil.rmtree(path)


def _mend_users() -> None:
    """Remove the list of who reads and writes what, when it is torn or names no living DVC."""
    with ONE_AT_A_TIME, Repo() as repo:
        users = Path(repo.tmp_dir) / "rwlock"
        with make_lock(f"{users}.lock", tmp_dir=repo.tmp_dir, wait=True):
            if users.exists() and not any(map(_is_dvc, _processes(users))):
                users.unlink()


def _mend_lock() -> None:
    """Set half a dvc.lock aside: DVC's run cache knows all it said. A merge conflict is the user's to mend."""
    if not LOCK.exists() or "<<<<<<<" in LOCK.read_text(encoding="utf-8", errors="replace"):
        return
    try:
        with closed() as repo:
            Lockfile(repo, str(LOCK)).load()
    except DvcException:
        TORN.parent.mkdir(exist_ok=True)
        LOCK.replace(TORN)
        say(f"{LOCK} was half written and is now {TORN}; what it named is brought back from DVC's cache")


def _processes(users: Path) -> list[int]:
    """Return the processes that DVC's list names; none when it cannot be read."""
    try:
        listed = json.loads(users.read_text(encoding="utf-8"))
    except ValueError:
        return []
    readers = [reader for path in listed.get("read", {}).values() for reader in path]
    return [int(each["pid"]) for each in (*readers, *listed.get("write", {}).values())]


def _is_dvc(process: int) -> bool:
    """Whether this process lives and is DVC: numbers of dead ones are used again."""
    try:
        return any("dvc" in word for word in psutil.Process(process).cmdline())
    except psutil.NoSuchProcess:
        return False
