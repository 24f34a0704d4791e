"""What runs now, in a small file that other commands read at any time: stages, progress, time left.

Writes and reads .gradus/running.json, of this folder and of the worktrees of pinned runs. It names the mark that its
writer holds while it lives (pipelines/runtime/liveness.py), so the file of a process that was killed is not believed.
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
    """How far one stage is."""

    state: str
    note: str
    began: float | None
    """Seconds since the epoch; None before it starts."""


@dataclass(frozen=True)
class RunState:
    """How far one run is."""

    began: float
    left: float | None
    """Seconds until the whole run ends; None where nothing is known yet."""
    stages: dict[str, StageState]


def write(state: RunState) -> None:
    """Tell the other commands how far this process's run is."""
    with suppress(OSError):  # a full disk costs the account of a run, not the run
        artifacts.write_json(FILE, {"mark": str(liveness.lease()), **asdict(state)})


def clear() -> None:
    """Tell the other commands that nothing runs any more."""
    FILE.unlink(missing_ok=True)


def running() -> list[RunState]:
    """Return the runs of living processes: of the working tree, and of commits in worktrees."""
    found = [_read(folder / FILE) for folder in (Path(), *sorted(Path().glob(WORKTREES)))]
    return [state for state in found if state is not None]


def _read(path: Path) -> RunState | None:
    if not path.exists():
        return None
    told: dict[str, Any] = artifacts.read_json(path)
    if not liveness.is_held(Path(told["mark"])):
        return None
    stages = {name: StageState(**state) for name, state in told["stages"].items()}
    return RunState(told["began"], told["left"], stages)


def durations() -> dict[str, float]:
    """Return the seconds that each stage took when it last ran here."""
    found: dict[str, float] = artifacts.read_json(DURATIONS) if DURATIONS.exists() else {}
    return found


def keep_duration(stage: str, seconds: float) -> None:
    """Keep how long `stage` took."""
    with suppress(OSError):
        artifacts.write_json(DURATIONS, {**durations(), stage: round(seconds, 1)})
