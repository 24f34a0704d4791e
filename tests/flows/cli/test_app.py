"""Output and options of the command line interface."""

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.app import console


def test_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("papers [old] and [/INST]")
    assert capsys.readouterr().out == "papers [old] and [/INST]\n"


@pytest.mark.parametrize("arguments", [["ui", "--port", "70000"], ["up", "--prefect-port", "0"]])
def test_port_out_of_range_is_rejected(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and f"Invalid value for '{arguments[1]}'" in result.output
