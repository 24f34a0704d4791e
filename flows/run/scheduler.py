"""The workbench of one flow run: what runs, whether there is room for more, and how to end it all.

A stage takes as many cores as its `meta.cores` says and, when it wants the accelerator, this flow's turn at it (other
flows: flows/run/accelerator.py), so that light stages run side by side and heavy ones do not fight. Of those that
wait and have room, the one with the highest `meta.priority` goes first.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flows.dag.graph import Stage
from flows.run.errors import StoppedError
from flows.run.process import Program
from pipelines.runtime.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Scheduler:
    """Room for running stages, and the way to end them."""

    def __init__(self, cores: int) -> None:
        """Offer `cores` cores and one turn at the accelerator."""
        self.cores, self.free, self.accelerator_free = cores, cores, True
        self.waiting: list[Stage] = []
        self.stopping = False
        self.room = threading.Condition()
        self.programs: set[Program] = set()

    @contextmanager
    def place(self, stage: Stage) -> Iterator[None]:
        """Wait for room for `stage`, and hold it.

        Raises:
            StoppedError: the run is being stopped.
        """
        cores = min(stage.cores, self.cores)
        with self.room:
            self.waiting.append(stage)
            self.room.wait_for(lambda: self.stopping or self._is_next(stage))
            self.waiting.remove(stage)
            self.room.notify_all()
            if self.stopping:
                raise StoppedError
            self.free -= cores
            self.accelerator_free &= not stage.gpu
        try:
            yield
        finally:
            with self.room:
                self.free += cores
                self.accelerator_free |= stage.gpu
                self.room.notify_all()

    def _is_next(self, stage: Stage) -> bool:
        return self._fits(stage) and not any(
            other.priority > stage.priority and self._fits(other) for other in self.waiting
        )

    def _fits(self, stage: Stage) -> bool:
        return min(stage.cores, self.cores) <= self.free and (self.accelerator_free or not stage.gpu)

    @contextmanager
    def watched(self, program: Program) -> Iterator[Program]:
        """Have `program` ended with the run, and see that nothing of it is left at the end."""
        with self.room:
            self.programs.add(program)
            stopping = self.stopping
        if stopping:
            program.stop()
        try:
            yield program
        finally:
            program.stop()
            with self.room:
                self.programs.discard(program)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and SIGHUP stop the run: once with patience, twice without."""
        before = {number: signal.signal(number, self._interrupted) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """Work in a thread: the one interrupted may hold a lock that is needed."""
        threading.Thread(target=self.stop, args=(not self.stopping,), daemon=True).start()

    def stop(self, patient: bool = True) -> None:
        """Start nothing more and end what runs."""
        with self.room:
            self.stopping = True
            self.room.notify_all()
            programs = list(self.programs)
        endings = [threading.Thread(target=program.stop, args=(patient,)) for program in programs]
        for ending in endings:
            ending.start()


def cores(threads: int) -> int:
    """Return how many cores the stages may share: the machine's, and never fewer than one stage's threads.

    Raises:
        UserError: one task alone would take more threads than there are cores.
    """
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads > 4 * present:
        raise UserError(f"compute.threads is {threads}, but this machine has {present} cores; lower it in params.yaml.")
    return max(present, threads)
