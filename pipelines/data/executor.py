"""Parallel map over shards, by local processes or on a Ray cluster.

Shards are passed by path: the function reads and writes the files itself and returns little. Texts therefore pass
through no queue, the parent process holds none of them, and the result does not depend on the backend. On Ray the
project folder must be on a file system that all machines share.
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
    """Execution backend for functions over shards."""

    backend: Literal["native", "ray"] = "native"
    address: str | None = None
    """Address of a Ray cluster, such as ray://head:10001; None starts one on this machine."""

    def over(
        self, function: Callable[[Item], Result], items: Sequence[Item], what: str, few: int = 1
    ) -> Iterator[Result]:
        """Yield `function(item)` for every item, in order, with a progress bar; `function` must be picklable.

        Up to `few` items run in this process, because starting workers would take longer than the work.

        Raises:
            UserError: a worker was killed, most likely for lack of memory, or Ray is not installed.
        """
        if self.backend == "ray":
            results = _by_ray(function, items, self.address)
        elif len(items) <= few:
            results = _by_threads(function, items)
        else:
            results = _by_processes(function, items)
        return track(results, what, len(items))


def workers() -> int:
    """Return the number of worker processes for this machine: its available CPU cores."""
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
                f"A worker that processed a shard of documents was killed (exit code {error.exitcode}), most likely "
                "for lack of memory; free some memory, or use fewer cores (taskset -c 0 gradus run)."
            ) from error
        finally:
            pool.stop()  # type: ignore[no-untyped-call]


def _by_ray(function: Callable[[Item], Result], items: Sequence[Item], address: str | None) -> Iterator[Result]:
    try:
        import ray
    except ImportError as error:
        raise UserError("data.backend is ray, but Ray is not installed; run pip install 'gradus[ray]'.") from error
    if not ray.is_initialized():  # Ray keeps running until this program ends
        local: dict[str, Any] = {"num_cpus": workers(), "include_dashboard": False}
        ray.init(**{"address": address} if address else local, log_to_driver=False)
    here = Path.cwd()

    @ray.remote
    def run_item(item: Item) -> Result:
        os.chdir(here)
        return function(item)

    yield from map(ray.get, [run_item.remote(item) for item in items])
