"""Worker pool for readers: each file has limits on time and memory, and a crash rejects only that file."""

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

PREFETCH = 64  # files scheduled ahead of the consumer
BYTES_PER_SECOND = 2**20  # extends the timeout by file size
MAX_CHARACTERS_IN_MEMORY = 2**24  # per file; larger results are spilled to disk

Extracted = list[Found] | Path


@dataclass(frozen=True)
class PendingFile:
    """A file that is being read, or whose result is cached."""

    path: Path
    key: bytes | None
    cached: list[Found] | None
    timeout: float
    """Time limit in seconds."""
    future: "Future[Extracted] | None"


def read(
    paths: Sequence[Path], folder: Path, limits: Limits, seconds: float, megabytes: int
) -> Iterator[Iterable[Found]]:
    """Yield the documents and rejects of each file, in the order of `paths`; cached files are not read again.

    Consume each result before requesting the next.

    A file is rejected if it takes longer than `seconds` plus one second per MiB, or more than `megabytes` of memory.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([extract.__module__])
    waiting: deque[PendingFile] = deque()
    with (
        closing(ExtractionCache(limits)) as cache,
        TemporaryDirectory(dir=cache.place.parent) as spill_folder,
        ProcessPool(workers(), initializer=_confine, initargs=(megabytes,), context=context) as pool,
    ):
        for path in paths:
            key = cache.key(path, folder)
            cached, timeout = cache.get(key), seconds + _size(path) / BYTES_PER_SECOND
            arguments = (path, folder, limits, Path(spill_folder))
            future = None if cached is not None else pool.schedule(_extract_file, args=arguments, timeout=timeout)
            waiting.append(PendingFile(path, key, cached, timeout, future))
            if len(waiting) > PREFETCH:
                yield _result(folder, megabytes, cache, waiting.popleft())
        while waiting:
            yield _result(folder, megabytes, cache, waiting.popleft())


def _confine(megabytes: int) -> None:
    """Limit this process to `megabytes` more memory than it uses, and silence stderr; the task reports the reason."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _extract_file(path: Path, folder: Path, limits: Limits, spill_folder: Path) -> Extracted:
    """Return the results of a file, or the path of the file they were spilled to if they are large."""
    everything = extract(path, folder, limits)
    few: list[Found] = []
    characters = 0
    for found in everything:
        few.append(found)
        characters += len(found.text) if isinstance(found, Document) else len(found.reason)
        if characters > MAX_CHARACTERS_IN_MEMORY:
            break
    else:
        return few
    with (spill_folder / uuid.uuid4().hex).open("w", encoding="utf-8") as file:
        file.writelines(f"{written(found)}\n" for found in chain(few, everything))
    return Path(file.name)


def _read_spilled(file: Path) -> Iterator[Found]:
    with file.open(encoding="utf-8") as lines:
        yield from map(parsed, lines)
    file.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _result(folder: Path, megabytes: int, cache: ExtractionCache, pending: PendingFile) -> Iterable[Found]:
    if pending.future is None:
        return pending.cached or []
    try:
        found = pending.future.result()
    except TimeoutError:
        reason = f"took longer than {pending.timeout:.0f} s to read"
    except MemoryError:
        reason = f"took more than {megabytes} MiB to read"
    except ProcessExpired as error:
        reason = f"its reader crashed (exit code {error.exitcode})"
    except Exception as error:  # noqa: BLE001  a failing reader must not affect other files
        reason = f"its reader failed: {type(error).__name__}: {error}"
    else:
        if isinstance(found, Path):
            return _read_spilled(found)
        cache.put(pending.key, found)
        return found
    return [Reject(name(pending.path, folder), encodable(reason))]
