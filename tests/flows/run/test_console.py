"""Progress display: time left, state file for `gradus status`, table on a terminal, log lines elsewhere."""

import io
from pathlib import Path

from rich.console import Console

from flows.run import run_state
from flows.run.console import RunConsole, duration


def test_time_left_uses_previous_durations_and_reported_progress(project: Path) -> None:
    run_state.keep_duration("sft", 100)
    run_state.keep_duration("evaluate", 50)
    with RunConsole(Console(file=io.StringIO()), ["base", "sft", "evaluate"]) as display:
        assert display.left() is None  # base has never run here
        display.ended("base", "cached")
        assert display.left() == 150
        display.running("sft")
        display.line("sft", "sft 10/100, 900 s left, loss 1.2", False)
        assert 940 < (display.left() or 0) <= 950
        assert display.summary() == "1 of 3 stages, about 16 min left"
        (state,) = run_state.running()
        assert state.stages["sft"].state == "running" and state.left is not None
        display.ended("sft", "done")
        assert run_state.durations()["sft"] < 10
    assert run_state.running() == []


def test_log_contains_only_lines_that_stay(project: Path) -> None:
    written = io.StringIO()
    with RunConsole(Console(file=written, width=200), ["sft"]) as display:
        display.running("sft")
        display.line("sft", "sft 1/100", False)
        display.line("sft", "going on from step 5", True)
        display.ended("sft", "failed")
    lines = [line.strip() for line in written.getvalue().splitlines()]
    assert lines[:2] == ["sft | started", "sft | going on from step 5"]
    assert len(lines) == 3 and lines[2].startswith("sft | failed 0.0 s")


def test_terminal_shows_a_table_and_a_progress_bar(project: Path) -> None:
    written = io.StringIO()
    with RunConsole(Console(file=written, force_terminal=True, width=100), ["sft", "dpo"]) as display:
        display.ended("sft", "cached")
    assert "cached" in written.getvalue() and "1 of 2 stages" in written.getvalue()


def test_state_of_a_killed_run_is_ignored(project: Path) -> None:
    run_state.write(run_state.RunState(0.0, None, {}))
    assert len(run_state.running()) == 1
    content = run_state.FILE.read_text()
    run_state.FILE.write_text(content.replace("alive/", "alive/gone"))
    assert run_state.running() == []


def test_durations_are_formatted() -> None:
    assert [duration(each) for each in (50, 720, 12_000)] == ["50 s", "12 min", "3 h 20 min"]
