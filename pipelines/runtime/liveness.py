"""Leases of running processes: file locks that the kernel releases when their holder dies for any reason.

Every process with an MLflow run holds a lease in `.gradus/alive/`. An MLflow run with the status RUNNING whose lease
is not held belongs to a dead process; so does a program started under such a lease.
"""

import atexit
import fcntl
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from pipelines.runtime.errors import InProgressError
from pipelines.runtime.progress import say

MARKS = Path(".gradus/alive")
LOCKS = Path(".gradus/locks")
FLOW = "GRADUS_FLOW_MARK"
"""Environment variable with the lease of the flow that started a program."""

PATIENCE = 20.0  # seconds that an orphan has to exit by itself


def lease() -> Path:
    """Return the lease file of this process in the present project, locked until it dies and removed by a clean exit.

    The file is locked before it becomes visible, so that it is never seen unlocked while its holder lives.
    """
    return _lease(MARKS.resolve())


@cache
def _lease(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid.uuid4().hex
    aside = path.with_suffix(".part")
    descriptor = os.open(aside, os.O_CREAT | os.O_WRONLY, 0o644)  # open for the lifetime of the process
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    aside.rename(path)
    atexit.register(_release, path, os.getpid())
    return path


def _release(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        path.unlink(missing_ok=True)


def keep_lease_file() -> None:
    """Keep this process's lease file after its exit, because it could not end its MLflow run."""
    atexit.unregister(_release)


def is_held(path: Path) -> bool:
    """Return whether any process holds the lock on `path`."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def remove_stale() -> None:
    """Remove the leases of dead processes. Call after cleaning up their runs and programs."""
    for path in MARKS.glob("*"):
        if path.suffix != ".part" and not is_held(path):
            path.unlink(missing_ok=True)


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a command gracefully: without SIGHUP when it is ignored, as `nohup` asks for.

    An ignored SIGINT is included, because background jobs of a shell, and their children, inherit it.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    return signals if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*signals, signal.SIGHUP]


@contextmanager
def exclusive(stage: str) -> Iterator[None]:
    """Hold the exclusive lock on `stage` in this project.

    Raises:
        InProgressError: another process runs the stage.
    """
    with _locked(stage, fcntl.LOCK_EX, "being run here already, by"):
        yield


@contextmanager
def shared(activity: str) -> Iterator[None]:
    """Hold a lock on `activity` in this project, which any number of processes may hold, but none beside `exclusive`.

    Raises:
        InProgressError: another process holds the exclusive lock.
    """
    with _locked(activity, fcntl.LOCK_SH, "not possible now because of"):
        yield


@contextmanager
def _locked(name: str, kind: int, state: str) -> Iterator[None]:
    LOCKS.mkdir(parents=True, exist_ok=True)
    with (LOCKS / name).open("a+") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InProgressError(
                f"{name} is {state} process {file.read() or '?'}; wait for it, or stop it."
            ) from error
        _sign(file.fileno())
        yield


def lock_file(folder: Path) -> Path:
    """Return the lock file of a folder that several projects share, as the worktrees of a project its checkpoints.

    It is beside the folder, which its holder may remove and create again.
    """
    return folder.with_name(f"{folder.name}.lock")


@contextmanager
def waiting(folder: Path) -> Iterator[None]:
    """Create `folder` and hold the exclusive lock on it, after any other process that holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = lock_file(folder)
    while True:
        with path.open("a+") as file:
            _wait_for(file.fileno(), str(folder))
            if not _is_linked(file.fileno(), path):  # the holder before removed it: the next one locks another file
                continue
            folder.mkdir(exist_ok=True)
            yield
            return


def remove_unless_held(folder: Path) -> None:
    """Remove `folder` and its lock file, if it exists, unless another process holds the lock (`waiting`)."""
    if folder.is_dir():
        path = lock_file(folder)
        with path.open("a+") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_linked(file.fileno(), path):
                shutil.rmtree(folder, ignore_errors=True)
                path.unlink()


def _is_linked(handle: int, path: Path) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@cache
def accelerator() -> int:
    """Lock this user's GPU until this process dies, waiting for any other Gradus process that holds it.

    Returns the file descriptor of the lock. Each value of CUDA_VISIBLE_DEVICES has its own lock.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "-")
    path = Path(tempfile.gettempdir()) / f"gradus-{os.getuid()}-gpu-{seen}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    _wait_for(handle, "the GPU")
    return handle


def _wait_for(handle: int, what: str) -> None:
    """Lock an open file, and say which process holds it if that has to wait."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for {what}, which process {os.pread(handle, 20, 0).decode() or '?'} holds")
        fcntl.flock(handle, fcntl.LOCK_EX)
    _sign(handle)


def _sign(handle: int) -> None:
    """Write the id of this process to the file that it has locked."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)


def lead() -> None:
    """Let programs that this process starts from now on end when it dies, instead of when its flow does."""
    os.environ[FLOW] = str(lease())


def follow_the_flow() -> None:
    """End this process when the flow, or other leader, that started it dies: first with SIGINT, then with SIGKILL."""
    if flow := os.environ.get(FLOW):
        threading.Thread(target=_end_after, args=(Path(flow),), daemon=True).start()


def _end_after(flow: Path) -> None:
    while is_held(flow):
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)
