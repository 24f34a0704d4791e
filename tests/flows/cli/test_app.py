"""Output and options of the command line interface."""

from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.testing import CliRunner

from flows import preflight
from flows.cli import app, running, servers
from flows.cli.app import console
from pipelines import config
from pipelines.runtime.errors import UserError


def test_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("papers [old] and [/INST]")
    assert capsys.readouterr().out == "papers [old] and [/INST]\n"


@pytest.mark.parametrize("arguments", [["ui", "--port", "70000"], ["up", "--prefect-port", "0"]])
def test_port_out_of_range_is_rejected(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and f"Invalid value for '{arguments[1]}'" in result.output


def test_forced_promotion_needs_a_reason(project: Path) -> None:
    result = CliRunner().invoke(app, ["promote", "--force", " "])
    assert isinstance(result.exception, UserError) and "needs the reason" in str(result.exception)


def test_run_in_a_worktree_refuses_to_commit_to_the_working_tree(project: Path) -> None:
    result = CliRunner().invoke(app, ["run", "--set", "sft.epochs=3", "--commit"])
    assert result.exit_code == 2 and result.exception is not None


def test_unknown_kind_of_webhook_is_rejected_before_a_server_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(servers, "prefect")
    result = CliRunner().invoke(app, ["notify", "pigeon", "http://127.0.0.1"])
    assert result.exit_code == 2 and "pigeon" in result.output


def test_kinds_of_webhooks_are_those_that_can_be_set_up() -> None:
    from flows.serve import notify

    assert set(get_args(servers.Kind)) == set(notify.KINDS)


def test_unknown_stage_is_rejected_before_a_server_starts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = {"cmd": "python fake.py ingest", "outs": ["artifacts/ingest"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": stage}}))
    monkeypatch.setattr(preflight, "check", config.load)
    monkeypatch.delattr(running, "prefect")
    result = CliRunner().invoke(app, ["run", "typo"])
    assert isinstance(result.exception, UserError) and "typo" in str(result.exception)
