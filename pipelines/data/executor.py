"""One function over many shards: by processes of this machine, or by Ray on many.

A shard is named, not handed over: the function reads and writes its files itself, and returns little. So texts pass
through no queue, this process holds none of them, and the result is the same whoever carries it. On Ray the project's
folder must lie where all machines see it.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pebble import ProcessExpired, ProcessPool

from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Executor:
    """Who carries the work."""

    backend: Literal["native", "ray"] = "native"
    address: str | None = None
    """Of a Ray cluster, such as ray://head:10001; None starts one on this machine."""

    def over(
        self, function: Callable[[Item], Result], items: Sequence[Item], what: str, few: int = 1
    ) -> Iterator[Result]:
        """Yield `function` of every item, in their order, showing progress; `function` can be pickled.

        A `few` items are done by this process, for others would take longer to start than to work.

        Raises:
            UserError: a process was killed, most likely for want of memory; or there is no Ray.
        """
        if self.backend == "ray":
            results = _by_ray(function, items, self.address)
        elif len(items) <= few:
            results = _by_threads(function, items)
        else:
            results = _by_processes(function, items)
        return track(results, what, len(items))


def workers() -> int:
    """Return how many processes this machine keeps busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    with ThreadPoolExecutor(workers()) as pool:
        yield from pool.map(function, items)


def _by_processes(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.func.__module__ if isinstance(function, partial) else function.__module__])
    with ProcessPool(workers(), initializer=gc.disable, context=context) as pool:  # a shard leaves no cycles behind
        try:
            yield from pool.map(function, items).result()
        except ProcessExpired as error:
            raise UserError(
                f"A process that read a shard of documents was killed (exit code {error.exitcode}), most likely for "
                "want of memory; free some, or run on fewer cores (taskset -c 0 gradus run)."
            ) from error
        finally:
            pool.stop()  # type: ignore[no-untyped-call]


def _by_ray(function: Callable[[Item], Result], items: Sequence[Item], address: str | None) -> Iterator[Result]:
    try:
        import ray
    except ImportError as error:
        raise UserError("data.backend is ray, and Ray is not installed; pip install 'gradus[ray]'.") from error
    if not ray.is_initialized():  # it stays until this program ends
        local: dict[str, Any] = {"num_cpus": workers(), "include_dashboard": False}
        ray.init(**{"address": address} if address else local, log_to_driver=False)
    here = Path.cwd()

    @ray.remote
    def carried(item: Item) -> Result:
        os.chdir(here)
        return function(item)

    yield from map(ray.get, [carried.remote(item) for item in items])
