"""Scheduling of stages by resources, and termination of programs that ignore signals."""

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows.dag.graph import Stage
from flows.run.errors import StoppedError
from flows.run.process import Program
from flows.run.scheduler import Scheduler

LIGHT = Stage("light", (), cores=1, gpu=False, retries=0, timeout=60)
HEAVY = Stage("heavy", (), cores=2, gpu=True, retries=0, timeout=60)


def occupy(scheduler: Scheduler, stage: Stage) -> tuple[threading.Thread, threading.Event, threading.Event]:
    """Acquire resources in a thread; return it, the event of the acquisition, and the event that releases them."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with scheduler.place(stage):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    return thread, inside, leave


def until_waiting(scheduler: Scheduler, count: int) -> None:
    end = time.monotonic() + 10
    while len(scheduler.waiting) < count:
        assert time.monotonic() < end, "no stage is waiting"
        time.sleep(0.01)


def test_light_stages_run_concurrently_and_a_heavy_one_waits() -> None:
    scheduler = Scheduler(2)
    first, one, leave_one = occupy(scheduler, LIGHT)
    second, two, leave_two = occupy(scheduler, LIGHT)
    assert one.wait(10) and two.wait(10)
    third, three, leave_three = occupy(scheduler, HEAVY)
    leave_one.set()
    first.join()
    assert not three.is_set()
    leave_two.set()
    second.join()
    assert three.wait(10)
    leave_three.set()
    third.join()
    assert scheduler.free == 2 and scheduler.accelerator_free


def test_two_stages_never_share_the_accelerator() -> None:
    scheduler = Scheduler(8)
    first, one, leave_one = occupy(scheduler, HEAVY)
    assert one.wait(10)
    second, two, leave_two = occupy(scheduler, HEAVY)
    until_waiting(scheduler, 1)
    assert scheduler.free == 6 and not two.is_set()
    leave_one.set()
    assert two.wait(10)
    leave_two.set()
    first.join()
    second.join()


def test_waiting_stage_with_highest_priority_starts_first() -> None:
    scheduler = Scheduler(2)
    first, one, leave_one = occupy(scheduler, HEAVY)
    assert one.wait(10)
    second, two, leave_two = occupy(scheduler, HEAVY)
    until_waiting(scheduler, 1)
    third, three, leave_three = occupy(scheduler, replace(HEAVY, priority=1))
    until_waiting(scheduler, 2)
    leave_one.set()
    assert three.wait(10) and not two.is_set()
    leave_three.set()
    assert two.wait(10)
    leave_two.set()
    for thread in (first, second, third):
        thread.join()


def test_stage_that_fits_does_not_wait_for_urgent_ones_that_do_not() -> None:
    scheduler = Scheduler(8)
    first, one, leave_one = occupy(scheduler, HEAVY)
    assert one.wait(10)
    second, two, leave_two = occupy(scheduler, replace(HEAVY, priority=1))
    until_waiting(scheduler, 1)
    third, three, leave_three = occupy(scheduler, LIGHT)
    assert three.wait(10) and not two.is_set()
    for leave in (leave_one, leave_two, leave_three):
        leave.set()
    for thread in (first, second, third):
        thread.join()


def test_waiting_stage_is_cancelled_when_the_run_stops() -> None:
    scheduler = Scheduler(1)
    scheduler.stop()
    with pytest.raises(StoppedError), scheduler.place(LIGHT):
        raise AssertionError("resources were acquired")


IGNORES_SIGNALS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, "-c", child])
print("ready", file=sys.stderr, flush=True)
time.sleep(300)
"""


def test_program_that_ignores_signals_is_killed_with_its_children(tmp_path: Path) -> None:
    program = Program([sys.executable, "-c", IGNORES_SIGNALS], tmp_path / "log", {}, followed=True)
    assert next(program.lines()) == ("ready", True)
    program.stop(patient=False)
    assert not program._alive()
    assert program.wait() == -9


def test_lines_are_distinguished_from_progress_bars_and_all_are_logged(tmp_path: Path) -> None:
    words = r"import sys; sys.stderr.write('half\rwhole\rdone\n'); print('aside')"
    program = Program([sys.executable, "-c", words], tmp_path / "log", {}, followed=True)
    assert list(program.lines()) == [("half", False), ("whole", False), ("done", True)]
    assert program.wait() == 0
    logged = (tmp_path / "log").read_text()  # the two streams may meet in the middle of a line
    assert "aside" in logged and "done" in logged
