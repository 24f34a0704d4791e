"""Files read by processes of their own, so that none can take the task's time, memory or life."""

import multiprocessing
import os
import resource
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from pebble import ProcessExpired, ProcessPool

from pipelines.data.documents import Document
from pipelines.data.executor import workers
from pipelines.data.extract.extraction_cache import ExtractionCache, parsed, written
from pipelines.data.extract.readers import Found, Limits, Reject, extract, name
from pipelines.text.encoding import encodable

AHEAD = 64  # files being read before the first is asked for
BYTES_PER_SECOND = 2**20  # what a reader is given beyond its time, for a large file
FEW = 2**24  # characters; what a file gives beyond that is not held by a process, but laid aside

Given = list[Found] | Path


@dataclass(frozen=True)
class Reading:
    """A file that is being read, or is known."""

    path: Path
    key: bytes | None
    known: list[Found] | None
    given: float
    """Seconds."""
    future: "Future[Given] | None"


def read(
    paths: Sequence[Path], folder: Path, limits: Limits, seconds: float, megabytes: int
) -> Iterator[Iterable[Found]]:
    """Yield what each file gives, in the order of `paths`; one that is known from the last time is not read again.

    What it gives is to be taken before the next is asked for.

    A file may take `seconds`, and one more for every MiB of it, and `megabytes` of memory; else it is rejected.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([extract.__module__])
    waiting: deque[Reading] = deque()
    with (
        closing(ExtractionCache(limits)) as memory,
        TemporaryDirectory(dir=memory.place.parent) as aside,
        ProcessPool(workers(), initializer=_confine, initargs=(megabytes,), context=context) as pool,
    ):
        for path in paths:
            key = memory.key(path, folder)
            known, given = memory.recall(key), seconds + _size(path) / BYTES_PER_SECOND
            arguments = (path, folder, limits, Path(aside))
            future = None if known is not None else pool.schedule(_all, args=arguments, timeout=given)
            waiting.append(Reading(path, key, known, given, future))
            if len(waiting) > AHEAD:
                yield _result(folder, megabytes, memory, waiting.popleft())
        while waiting:
            yield _result(folder, megabytes, memory, waiting.popleft())


def _confine(megabytes: int) -> None:
    """Let this process have that much memory more than it has, and die in silence: the task tells the reason."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _all(path: Path, folder: Path, limits: Limits, aside: Path) -> Given:
    """Return what a file gives; where it gives much, the file it was laid aside in."""
    everything = extract(path, folder, limits)
    few: list[Found] = []
    characters = 0
    for found in everything:
        few.append(found)
        characters += len(found.text) if isinstance(found, Document) else len(found.reason)
        if characters > FEW:
            break
    else:
        return few
    with (aside / uuid.uuid4().hex).open("w", encoding="utf-8") as file:
        file.writelines(f"{written(found)}\n" for found in chain(few, everything))
    return Path(file.name)


def _laid_aside(file: Path) -> Iterator[Found]:
    with file.open(encoding="utf-8") as lines:
        yield from map(parsed, lines)
    file.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _result(folder: Path, megabytes: int, memory: ExtractionCache, reading: Reading) -> Iterable[Found]:
    if reading.future is None:
        return reading.known or []
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
        if isinstance(found, Path):
            return _laid_aside(found)
        memory.keep(reading.key, found)
        return found
    return [Reject(name(reading.path, folder), encodable(reason))]
