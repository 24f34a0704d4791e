"""Room on the machine, and the end of programs that do not want to end."""

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


def occupy(bench: Scheduler, stage: Stage) -> tuple[threading.Thread, threading.Event, threading.Event]:
    """Take a place in a thread; return it, the event of having it, and the event that gives it back."""
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with bench.place(stage):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    return thread, inside, leave


def until_waiting(bench: Scheduler, count: int) -> None:
    end = time.monotonic() + 10
    while len(bench.waiting) < count:
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0.01)


def test_light_stages_run_side_by_side_and_a_heavy_one_waits() -> None:
    bench = Scheduler(2)
    first, one, leave_one = occupy(bench, LIGHT)
    second, two, leave_two = occupy(bench, LIGHT)
    assert one.wait(10) and two.wait(10)
    third, three, leave_three = occupy(bench, HEAVY)
    leave_one.set()
    first.join()
    assert not three.is_set()
    leave_two.set()
    second.join()
    assert three.wait(10)
    leave_three.set()
    third.join()
    assert bench.free == 2 and bench.accelerator_free


def test_two_stages_never_share_the_accelerator() -> None:
    bench = Scheduler(8)
    first, one, leave_one = occupy(bench, HEAVY)
    assert one.wait(10)
    second, two, leave_two = occupy(bench, HEAVY)
    until_waiting(bench, 1)
    assert bench.free == 6 and not two.is_set()
    leave_one.set()
    assert two.wait(10)
    leave_two.set()
    first.join()
    second.join()


def test_of_those_that_wait_the_more_urgent_goes_first() -> None:
    bench = Scheduler(2)
    first, one, leave_one = occupy(bench, HEAVY)
    assert one.wait(10)
    second, two, leave_two = occupy(bench, HEAVY)
    until_waiting(bench, 1)
    third, three, leave_three = occupy(bench, replace(HEAVY, priority=1))
    until_waiting(bench, 2)
    leave_one.set()
    assert three.wait(10) and not two.is_set()
    leave_three.set()
    assert two.wait(10)
    leave_two.set()
    for thread in (first, second, third):
        thread.join()


def test_what_has_room_does_not_wait_for_the_urgent_that_have_none() -> None:
    bench = Scheduler(8)
    first, one, leave_one = occupy(bench, HEAVY)
    assert one.wait(10)
    second, two, leave_two = occupy(bench, replace(HEAVY, priority=1))
    until_waiting(bench, 1)
    third, three, leave_three = occupy(bench, LIGHT)
    assert three.wait(10) and not two.is_set()
    for leave in (leave_one, leave_two, leave_three):
        leave.set()
    for thread in (first, second, third):
        thread.join()


def test_who_waits_for_a_place_is_sent_away_when_the_run_stops() -> None:
    bench = Scheduler(1)
    bench.stop()
    with pytest.raises(StoppedError), bench.place(LIGHT):
        raise AssertionError("a place was given")


DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, "-c", child])
print("ready", file=sys.stderr, flush=True)
time.sleep(300)
"""


def test_a_program_that_hears_no_signal_is_ended_with_its_children(tmp_path: Path) -> None:
    program = Program([sys.executable, "-c", DEAF], tmp_path / "log", {}, followed=True)
    assert next(program.lines()) == ("ready", True)
    program.stop(patient=False)
    assert not program._alive()
    assert program.wait() == -9


def test_lines_are_told_from_bars_and_all_is_logged(tmp_path: Path) -> None:
    words = r"import sys; sys.stderr.write('half\rwhole\rdone\n'); print('aside')"
    program = Program([sys.executable, "-c", words], tmp_path / "log", {}, followed=True)
    assert list(program.lines()) == [("half", False), ("whole", False), ("done", True)]
    assert program.wait() == 0
    logged = (tmp_path / "log").read_text()  # the two streams may meet in the middle of a line
    assert "aside" in logged and "done" in logged
