"""Leases and locks, held by real processes that end in several ways."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.runtime import liveness
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow

SHARER = """
from pathlib import Path
from pipelines.runtime import liveness
with liveness.waiting(Path("checkpoints/sft/key")):
    print("in", flush=True)
"""
HOLDER = """
import sys, time
from pipelines.runtime import liveness
print(liveness.lease(), flush=True)
with liveness.exclusive("sft"):
    print("exclusive", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(project: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process


def lease_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    lease = Path(process.stdout.readline().strip())
    assert process.stdout.readline() == "exclusive\n"
    return lease


def test_lease_is_held_while_its_process_lives_and_removed_on_clean_exit(holder: subprocess.Popen[str]) -> None:
    lease = lease_of(holder)
    assert liveness.is_held(lease)
    holder.communicate("\n")
    assert not lease.exists()
    assert not liveness.is_held(lease)


def test_killed_process_leaves_a_stale_lease(holder: subprocess.Popen[str]) -> None:
    lease = lease_of(holder)
    holder.kill()
    holder.wait()
    assert lease.exists()
    assert not liveness.is_held(lease)
    own = liveness.lease()
    liveness.remove_stale()
    assert not lease.exists() and own.exists()


def test_stage_is_run_by_one_process_at_a_time(holder: subprocess.Popen[str]) -> None:
    lease_of(holder)
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


def test_each_project_has_its_own_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = []
    for name in ("one", "two", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        leases.append(liveness.lease())
    first, second, again = leases
    assert first == again != second and first.is_relative_to(tmp_path / "one")
    assert liveness.is_held(first) and liveness.is_held(second)


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


def test_program_ends_when_its_flow_is_killed(holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(liveness.FLOW, str(lease_of(holder)))
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


def test_gpu_is_locked_by_one_process_and_others_wait(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(project))
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    one = subprocess.Popen([sys.executable, "-c", GREEDY], text=True, **pipes)
    assert one.stdout is not None and one.stdout.readline() == "has it\n"
    two = subprocess.Popen([sys.executable, "-c", GREEDY], text=True, **pipes)
    assert two.stderr is not None
    assert two.stderr.readline() == f"waiting for the GPU, which process {one.pid} holds\n"
    one.kill()
    one.wait()
    assert two.stdout is not None and two.stdout.readline() == "has it\n"
    two.communicate("\n")


def test_shared_folder_is_used_by_one_process_at_a_time(project: Path) -> None:
    """The second process waits; worktrees of a project, whose locks on stages are apart, share its checkpoints."""
    with liveness.waiting(Path("checkpoints/sft/key")):
        command = [sys.executable, "-c", SHARER]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        notice = second.stderr.readline()
        assert "waiting for checkpoints/sft/key, which process" in notice and str(os.getpid()) in notice
        assert second.poll() is None
    output, _ = second.communicate(timeout=60)
    assert output == "in\n"


def test_shared_folder_is_removed_only_while_no_process_uses_it(project: Path) -> None:
    """As by a flow whose task has ended, while another run already trains in the same folder."""
    folder = Path("checkpoints/sft/key")
    with liveness.waiting(folder):
        liveness.remove_unless_held(folder)
        assert folder.is_dir()
        second = subprocess.Popen([sys.executable, "-c", SHARER], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert second.stderr is not None and b"waiting for" in second.stderr.readline()
        shutil.rmtree(folder)
        assert second.poll() is None  # the lock survives its folder
        liveness.lock_file(folder).unlink()  # and the second process locks the next file
    assert second.communicate(timeout=60)[0] == b"in\n" and folder.is_dir() and liveness.lock_file(folder).exists()
    liveness.remove_unless_held(folder)
    assert list(folder.parent.iterdir()) == []
    liveness.remove_unless_held(Path("checkpoints/sft/none"))


def test_ignored_hangup_stays_ignored() -> None:
    """As under `nohup`, whose purpose is that a run outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert liveness.stop_signals() == [signal.SIGINT, signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.default_int_handler)
        assert signal.SIGHUP in liveness.stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
