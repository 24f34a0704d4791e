"""Files read by processes of their own, so that none can take the task's time, memory or life."""

import multiprocessing
import os
import resource
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from pipelines.data.extract import Found, Limits, Reject, extract, name
from pipelines.data.memory import Memory

AHEAD = 64  # files being read before the first is asked for
BYTES_PER_SECOND = 2**20  # what a reader is given beyond its time, for a large file


@dataclass(frozen=True)
class Reading:
    """A file that is being read, or is known."""

    path: Path
    key: bytes | None
    known: list[Found]
    given: float
    """Seconds."""
    future: "Future[list[Found]] | None"


def read(paths: Sequence[Path], folder: Path, limits: Limits, seconds: float, megabytes: int) -> Iterator[list[Found]]:
    """Yield what each file gives, in the order of `paths`; one that is known from the last time is not read again.

    A file may take `seconds`, and one more for every MiB of it, and `megabytes` of memory; else it is rejected.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([extract.__module__])
    waiting: deque[Reading] = deque()
    with (
        closing(Memory(limits)) as memory,
        ProcessPool(workers(), initializer=_confine, initargs=(megabytes,), context=context) as pool,
    ):
        for path in paths:
            key = memory.key(path, folder)
            known, given = memory.recall(key), seconds + _size(path) / BYTES_PER_SECOND
            future = None if known is not None else pool.schedule(_all, args=(path, folder, limits), timeout=given)
            waiting.append(Reading(path, key, known or [], given, future))
            if len(waiting) > AHEAD:
                yield _result(folder, megabytes, memory, waiting.popleft())
        while waiting:
            yield _result(folder, megabytes, memory, waiting.popleft())


def workers() -> int:
    """Return how many files are read at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _confine(megabytes: int) -> None:
    """Let this process have that much memory more than it has, and die in silence: the task tells the reason."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _all(path: Path, folder: Path, limits: Limits) -> list[Found]:
    return list(extract(path, folder, limits))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _result(folder: Path, megabytes: int, memory: Memory, reading: Reading) -> list[Found]:
    if reading.future is None:
        return reading.known
    try:
        found = reading.future.result()
    except TimeoutError:
        reason = f"took longer than {reading.given:.0f} s to read"
    except MemoryError:
        reason = f"took more than {megabytes} MiB to read"
    except ProcessExpired as error:
        reason = f"its reader crashed (exit code {error.exitcode})"
    except Exception as error:  # noqa: BLE001  whatever a reader raises, the other files are fine
        reason = f"its reader failed: {type(error).__name__}: {error}"
    else:
        memory.keep(reading.key, found)
        return found
    return [Reject(name(reading.path, folder), reason)]
