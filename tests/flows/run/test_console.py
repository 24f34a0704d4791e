"""Bar, time left and the file for `gradus status`; a table on a terminal, few lines elsewhere."""

import io
from pathlib import Path

from rich.console import Console

from flows.run import run_state
from flows.run.console import RunConsole, duration


def test_the_time_left_is_the_former_durations_and_what_a_stage_says(project: Path) -> None:
    run_state.keep_duration("sft", 100)
    run_state.keep_duration("evaluate", 50)
    with RunConsole(Console(file=io.StringIO()), ["base", "sft", "evaluate"]) as screen:
        assert screen.left() is None  # base has never run here
        screen.ended("base", "cached")
        assert screen.left() == 150
        screen.running("sft")
        screen.line("sft", "sft 10/100, 900 s left, loss 1.2", False)
        assert 940 < (screen.left() or 0) <= 950
        assert screen.summary() == "1 of 3 stages, about 16 min left"
        (told,) = run_state.running()
        assert told.stages["sft"].state == "running" and told.left is not None
        screen.ended("sft", "done")
        assert run_state.durations()["sft"] < 10
    assert run_state.running() == []


def test_a_log_keeps_the_lines_that_stay_only(project: Path) -> None:
    written = io.StringIO()
    with RunConsole(Console(file=written, width=200), ["sft"]) as screen:
        screen.running("sft")
        screen.line("sft", "sft 1/100", False)
        screen.line("sft", "going on from step 5", True)
        screen.ended("sft", "failed")
    lines = [line.strip() for line in written.getvalue().splitlines()]
    assert lines[:2] == ["sft | started", "sft | going on from step 5"]
    assert len(lines) == 3 and lines[2].startswith("sft | failed 0.0 s")


def test_a_terminal_shows_a_table_and_a_bar(project: Path) -> None:
    written = io.StringIO()
    with RunConsole(Console(file=written, force_terminal=True, width=100), ["sft", "dpo"]) as screen:
        screen.ended("sft", "cached")
    assert "cached" in written.getvalue() and "1 of 2 stages" in written.getvalue()


def test_the_state_of_a_killed_run_is_not_believed(project: Path) -> None:
    run_state.write(run_state.RunState(0.0, None, {}))
    assert len(run_state.running()) == 1
    told = run_state.FILE.read_text()
    run_state.FILE.write_text(told.replace("alive/", "alive/gone"))
    assert run_state.running() == []


def test_durations_read_well() -> None:
    assert [duration(each) for each in (50, 720, 12_000)] == ["50 s", "12 min", "3 h 20 min"]
