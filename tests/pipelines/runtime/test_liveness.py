"""Marks and locks, held by real processes that end in several ways."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError

HOLDER = """
import sys, time
from pipelines.runtime import liveness
print(liveness.mark(), flush=True)
with liveness.alone("sft"):
    print("alone", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(project: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process


def mark_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    mark = Path(process.stdout.readline().strip())
    assert process.stdout.readline() == "alone\n"
    return mark


def test_a_mark_is_held_while_its_process_lives_and_gone_after_a_clean_end(holder: subprocess.Popen[str]) -> None:
    mark = mark_of(holder)
    assert liveness.is_held(mark)
    holder.communicate("\n")
    assert not mark.exists()
    assert not liveness.is_held(mark)


def test_a_killed_process_leaves_a_mark_that_nobody_holds(holder: subprocess.Popen[str]) -> None:
    mark = mark_of(holder)
    holder.kill()
    holder.wait()
    assert mark.exists()
    assert not liveness.is_held(mark)
    own = liveness.lease()
    liveness.remove_stale()
    assert not mark.exists() and own.exists()


def test_a_stage_is_run_by_one_process_at_a_time(holder: subprocess.Popen[str]) -> None:
    mark_of(holder)
    with (
        pytest.raises(UserError, match=f"sft is being run here already, by process {holder.pid}"),
        liveness.exclusive("sft"),
    ):
        pass
    with liveness.exclusive("dpo"):
        pass
    holder.kill()
    holder.wait()
    with liveness.exclusive("sft"):
        pass


FOLLOWER = """
import signal, time
from pipelines.runtime import liveness
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
liveness.follow_the_flow()
print("follows", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_a_program_ends_when_its_flow_is_killed(holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(liveness.FLOW, str(mark_of(holder)))
    follower = subprocess.Popen([sys.executable, "-c", FOLLOWER], stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None and follower.stdout.readline() == "follows\n"
    time.sleep(1.5)
    assert follower.poll() is None
    holder.kill()
    holder.wait()
    assert follower.communicate(timeout=30)[0] == "interrupted\n"


GREEDY = """
from pipelines.runtime import liveness
liveness.accelerator()
print("has it", flush=True)
input()
"""


def test_the_accelerator_is_held_by_one_process_and_waited_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(project))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    one = subprocess.Popen([sys.executable, "-c", GREEDY], **pipes)
    assert one.stdout is not None and one.stdout.readline() == "has it\n"
    two = subprocess.Popen([sys.executable, "-c", GREEDY], **pipes)
    assert two.stderr is not None
    assert two.stderr.readline() == f"waiting for the GPU, which process {one.pid} holds\n"
    one.kill()
    one.wait()
    assert two.stdout is not None and two.stdout.readline() == "has it\n"
    two.communicate("\n")
