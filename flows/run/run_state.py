"""State of the present run, in a small file that other commands can read: stages, progress, time left.

Writes and reads .gradus/running.json of this folder and of worktrees. The file names the lease that its writer holds
while it is alive (pipelines/runtime/liveness.py), so the file of a killed process is ignored.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.runtime import liveness

FILE = Path(".gradus/running.json")
DURATIONS = Path(".gradus/durations.json")
WORKTREES = ".gradus/worktrees/*"


@dataclass(frozen=True)
class StageState:
    """State of one stage."""

    state: str
    note: str
    began: float | None
    """Seconds since the epoch; None before it starts."""


@dataclass(frozen=True)
class RunState:
    """State of one run."""

    began: float
    left: float | None
    """Estimated seconds until the run ends; None when unknown."""
    stages: dict[str, StageState]


def write(state: RunState) -> None:
    """Write the state of this process's run for other commands."""
    with suppress(OSError):  # a full disk must not fail the run
        artifacts.write_json(FILE, {"mark": str(liveness.lease()), **asdict(state)})


def clear() -> None:
    """Remove the state file: nothing is running."""
    FILE.unlink(missing_ok=True)


def running() -> list[RunState]:
    """Return the runs of living processes, in the working tree and in worktrees."""
    states = [_read(folder / FILE) for folder in (Path(), *sorted(Path().glob(WORKTREES)))]
    return [state for state in states if state is not None]


def _read(path: Path) -> RunState | None:
    if not path.exists():
        return None
    content: dict[str, Any] = artifacts.read_json(path)
    if not liveness.is_held(Path(content["mark"])):
        return None
    stages = {name: StageState(**state) for name, state in content["stages"].items()}
    return RunState(content["began"], content["left"], stages)


def durations() -> dict[str, float]:
    """Return the duration in seconds of the last run of each stage."""
    found: dict[str, float] = artifacts.read_json(DURATIONS) if DURATIONS.exists() else {}
    return found


def keep_duration(stage: str, seconds: float) -> None:
    """Record the duration of `stage`."""
    with suppress(OSError):
        artifacts.write_json(DURATIONS, {**durations(), stage: round(seconds, 1)})
