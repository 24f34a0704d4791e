"""Progress: few lines in a log, and more transient lines for a flow."""

import pytest

from pipelines.runtime import progress


@pytest.mark.parametrize(("seconds", "steps", "kept"), [(3600, 10_000, 99), (300, 100_000, 10), (20, 5000, 0)])
def test_log_has_a_line_per_percent_or_half_minute(
    seconds: float, steps: int, kept: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("pipelines.runtime.progress.time.monotonic", lambda: now[0])
    monkeypatch.delenv(progress.FOLLOWED, raising=False)
    meter = progress.Meter("sft", steps)
    for _ in range(steps):
        now[0] += seconds / steps
        meter.step(note="loss 1.0")
    lines = capsys.readouterr().err.splitlines()
    assert abs(len(lines) - kept) <= 2


def test_flow_gets_more_frequent_transient_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("pipelines.runtime.progress.time.monotonic", lambda: now[0])
    monkeypatch.setenv(progress.FOLLOWED, "1")
    meter = progress.Meter("sft", 10)
    for _ in range(10):
        now[0] += 2.5
        meter.step()
    told = capsys.readouterr().err
    assert "\n" not in told
    assert told.split("\r")[4] == "sft 5/10, 12 s left"
