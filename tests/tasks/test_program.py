"""The task() context: validated parameters, complete inputs, a record written last, and exit codes."""

import json
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.runtime import liveness, tracking_store
from pipelines.runtime.errors import UserError
from tasks import STATUS, task

pytestmark = pytest.mark.slow


def status(stage: str) -> dict[str, str]:
    return json.loads((STATUS / f"{stage}.json").read_text())


def runs() -> list[tuple[str, str]]:
    store = tracking_store.client()
    found = store.search_runs([tracking_store.experiment(store)])
    return [(run.info.run_name, run.info.status) for run in found]


def test_finished_task_writes_record_run_and_status(config: Config) -> None:
    with task("dedup") as t:
        (t.out / "file").write_text("x")
        t.finish({"documents": 3.0}, note="why")
    assert artifacts.record(Path("artifacts/dedup")) == {"stage": "dedup", "metrics": {"documents": 3.0}, "note": "why"}
    run = tracking_store.client().get_run(artifacts.read_json(Path("runs/dedup.json"))["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["documents"] == 3.0
    assert run.data.params["dedup.shingle"] == str(config.dedup.shingle)
    assert status("dedup")["state"] == "finished"


def test_task_locks_its_checkpoints(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(artifacts.KEY, "key")
    with task("dedup") as t:
        assert t.place is not None and liveness.is_held(liveness.lock_file(t.place))
        t.finish({})
    assert not liveness.is_held(liveness.lock_file(t.place))


def test_user_error_exits_with_code_2_and_its_message(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, task("align", "dpo"):
        raise UserError("There is nothing to align.")
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().endswith("align@dpo: There is nothing to align.")
    assert not Path("artifacts/align/dpo/record.json").exists()
    assert status("align@dpo")["message"] == "There is nothing to align."
    assert runs() == [("align@dpo", "FAILED")]


def test_crash_propagates_and_fails_the_run(config: Config) -> None:
    with pytest.raises(ZeroDivisionError), task("dedup"):
        1 / 0  # noqa: B018
    assert status("dedup")["state"] == "crashed"
    assert runs() == [("dedup", "FAILED")]


def test_interrupt_marks_the_run_killed(config: Config) -> None:
    with pytest.raises(SystemExit) as ended, task("dedup"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert runs() == [("dedup", "KILLED")]


def test_incomplete_input_exits_with_code_2(config: Config) -> None:
    Path("artifacts/clean").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended, task("dedup") as t:
        t.input("clean")
    assert ended.value.code == 2
    assert "incomplete" in status("dedup")["message"]


def test_old_output_is_removed_before_the_task_runs(config: Config) -> None:
    artifacts.complete(artifacts.fresh("dedup"), {})
    with task("dedup") as t:
        assert list(t.out.iterdir()) == []
        t.finish({})


def test_invalid_parameter_exits_before_output_is_removed(config: Config, project: Path) -> None:
    artifacts.complete(artifacts.fresh("dedup"), {})
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "\nspeed: 9\n")
    with pytest.raises(SystemExit) as ended, task("dedup"):
        pass
    assert ended.value.code == 2
    assert Path("artifacts/dedup/record.json").exists()
