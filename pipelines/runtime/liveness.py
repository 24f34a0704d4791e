"""Who still works here: locks on files, which the kernel lets go when their holder dies, however it dies.

Every process that has an MLflow run holds a mark in `.gradus/alive/`. A run that says RUNNING and whose mark nobody
holds belongs to a dead process; so does a program that was started under such a mark.
"""

import atexit
import fcntl
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TextIO

from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say

MARKS = Path(".gradus/alive")
LOCKS = Path(".gradus/locks")
FLOW = "GRADUS_FLOW_MARK"
"""Names, to the programs that a flow starts, the mark which that flow holds."""

_HELD: list[TextIO] = []  # open for as long as the process lives
PATIENCE = 20.0  # seconds an orphan has to end by itself


@cache
def lease() -> Path:
    """Return the file that this process holds until it dies; it is gone after a clean end.

    A mark appears with its lock on it, so that it is never seen unheld while its holder lives.
    """
    MARKS.mkdir(parents=True, exist_ok=True)
    path = MARKS.resolve() / uuid.uuid4().hex
    aside = path.with_suffix(".part")
    file = aside.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    aside.rename(path)
    _HELD.append(file)
    atexit.register(_leave, path, os.getpid())
    return path


def _leave(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        path.unlink(missing_ok=True)


def stay() -> None:
    """Leave this process's mark behind at its end, for it could not end its MLflow run."""
    atexit.unregister(_leave)


def is_held(path: Path) -> bool:
    """Tell whether any process holds the lock on `path`."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def remove_stale() -> None:
    """Remove the marks of the dead, once what they left has been seen to."""
    for path in MARKS.glob("*"):
        if path.suffix != ".part" and not is_held(path):
            path.unlink(missing_ok=True)


@contextmanager
def exclusive(stage: str) -> Iterator[None]:
    """Be the only process that runs `stage` in this project.

    Raises:
        UserError: another one does.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / stage).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(
                f"{stage} is being run here already, by process {file.read() or '?'}; wait for it, or end it."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@cache
def accelerator() -> int:
    """Hold this user's GPU until this process dies, waiting for any other process of Gradus that holds it.

    Returns the descriptor of the lock. Processes that see other devices (CUDA_VISIBLE_DEVICES) hold other locks.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "-")
    path = Path(tempfile.gettempdir()) / f"gradus-{os.getuid()}-gpu-{seen}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for the GPU, which process {os.read(handle, 20).decode() or '?'} holds")
        fcntl.flock(handle, fcntl.LOCK_EX)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def follow_the_flow() -> None:
    """End this process when the flow that started it is dead: first as by Ctrl-C, then for good."""
    if flow := os.environ.get(FLOW):
        threading.Thread(target=_outlive, args=(Path(flow),), daemon=True).start()


def _outlive(flow: Path) -> None:
    while is_held(flow):
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)
