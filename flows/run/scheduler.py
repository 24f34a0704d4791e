"""Scheduler of one flow run: admits stages by free cores and accelerator, and stops them all on request.

A stage takes `meta.cores` cores and, with `meta.gpu`, this flow's accelerator slot (other flows:
flows/run/accelerator.py), so that light stages run concurrently and heavy ones do not compete. Among waiting stages
that fit, the one with the highest `meta.priority` starts first.
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
from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError


class Scheduler:
    """Resources of the machine, the stages waiting for them, and the running programs."""

    def __init__(self, cores: int) -> None:
        """Provide `cores` cores and one accelerator slot."""
        self.cores, self.free, self.accelerator_free = cores, cores, True
        self.waiting: list[Stage] = []
        self.stopping = False
        self.room = threading.Condition()
        self.programs: set[Program] = set()

    @contextmanager
    def place(self, stage: Stage) -> Iterator[None]:
        """Acquire the resources of `stage`, waiting for them, and release them on exit.

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
        """Register `program` to be stopped with the run, and stop its remaining processes on exit."""
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
        """Let Ctrl-C, SIGTERM and a closed terminal stop the run: gracefully the first time, immediately the second."""
        before = {number: signal.signal(number, self._interrupted) for number in liveness.stop_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """Stop in a thread, because the interrupted thread may hold a lock that `stop` needs."""
        threading.Thread(target=self.stop, args=(not self.stopping,), daemon=True).start()

    def stop(self, patient: bool = True) -> None:
        """Start no further stage and stop the running programs."""
        with self.room:
            self.stopping = True
            self.room.notify_all()
            programs = list(self.programs)
        threads = [threading.Thread(target=program.stop, args=(patient,)) for program in programs]
        for thread in threads:
            thread.start()


def cores(threads: int) -> int:
    """Return the number of cores that stages may share: the machine's, but at least `threads`.

    Raises:
        UserError: `threads` is more than four times the number of cores.
    """
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads > 4 * present:
        raise UserError(f"compute.threads is {threads}, but this machine has {present} cores; lower it in params.yaml.")
    return max(present, threads)
