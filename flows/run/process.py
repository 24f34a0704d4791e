"""Subprocesses in their own process group, so that terminating one also terminates its children."""

import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import psutil

from pipelines.runtime import liveness
from pipelines.runtime.progress import say

LOGS = Path(".gradus/logs")

GRACE = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""Escalation: signals and the seconds to react to each. The first leaves time to save a checkpoint."""


class Program:
    """A running program. Its output goes to a log; its stderr can be followed line by line."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        followed: bool = False,
        folder: Path = Path(),
    ) -> None:
        """Start `command` in `folder` with `environment` added to this process's.

        With `followed`, the caller must read `lines`.
        The program inherits this process's lease, so that `end_orphans` can terminate it when this process is dead.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log.open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.PIPE if followed else subprocess.STDOUT,
            env={**os.environ, liveness.FLOW: str(liveness.lease()), **environment},
            start_new_session=True,
            cwd=folder,
        )
        self.stop_lock = Lock()

    def lines(self) -> Iterator[tuple[str, bool]]:
        """Yield each line of stderr and whether it stays; progress bars end in a carriage return and do not stay."""
        assert self.process.stderr is not None
        with io.TextIOWrapper(self.process.stderr, encoding="utf-8", errors="replace", newline="") as stream:
            for line in stream:
                with suppress(OSError):  # a full disk must not fail the run
                    os.write(self.log.fileno(), line.encode())
                if text := line.strip():
                    yield text, line.endswith("\n")

    def wait(self) -> int:
        """Wait until the program ends, then terminate remaining children; return its exit status."""
        status = self.process.wait()
        self.stop()
        self.log.close()
        return status

    def stop(self, patient: bool = True) -> None:
        """Terminate the group with SIGINT, SIGTERM, SIGKILL and a grace period each; SIGKILL first if not `patient`."""
        if not patient:
            self._signal(signal.SIGKILL)
        with self.stop_lock:
            for number, seconds in GRACE:
                if not self._alive():
                    return
                self._signal(number)
                self._settle(seconds)
            if self._alive():
                raise RuntimeError(f"process group {self.process.pid} survives SIGKILL")

    def _settle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._alive() and time.monotonic() < end:
            time.sleep(0.05)

    def _signal(self, number: int) -> bool:
        """Send a signal to the group (0 sends none); return whether the group exists."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _alive(self) -> bool:
        """Return whether any process of the group is still running; zombies do not count."""
        self.process.poll()
        return self._signal(0) and any(map(self._runs, psutil.process_iter()))

    def _runs(self, process: psutil.Process) -> bool:
        try:
            return os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False


def follow(command: Sequence[str], log: Path) -> int:
    """Run a program, print the lines of its stderr that stay, and return its exit status."""
    program = Program(command, log, {}, followed=True)
    try:
        for line, stays in program.lines():
            if stays:
                say(line)
        return program.wait()
    finally:
        program.stop()


def end_orphans() -> None:
    """Terminate programs whose flow was killed and could not terminate them itself."""
    orphans = [process for process in psutil.process_iter() if _is_orphan(process)]
    for number, seconds in GRACE:
        for process in orphans:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, orphans = psutil.wait_procs(orphans, timeout=seconds)


def _is_orphan(process: psutil.Process) -> bool:
    """Return whether the process was started under a lease of this project that is no longer held."""
    try:
        lease = process.environ().get(liveness.FLOW)
    except (psutil.Error, OSError):  # another user's, or it has just ended
        return False
    return lease is not None and Path(lease).parent == liveness.MARKS.resolve() and not liveness.is_held(Path(lease))
