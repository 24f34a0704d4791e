"""`gradus ask` and `gradus chat`: choice of the model, errors without a model, and commands of a chat."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands import chat
from pipelines.config import Config
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow


def chat_output(config: Config, monkeypatch: pytest.MonkeyPatch, *lines: str) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    console = Console(file=io.StringIO(), width=200)
    chat.chat(console, "base", config)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_chat_continues_after_an_invalid_command(base: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    output = chat_output(
        config, monkeypatch, "Who are you?", "", "/help", "/model nobody", "/new", "/model base", "/quit", "no"
    )
    assert "There is no model 'nobody'; choose champion, challenger, a version number, base" in output
    assert output.count("base answers.") == 2 and output.count("/quit ends.") == 2


def test_long_chat_drops_its_first_turns(base: Path, config: Config) -> None:
    _, model = chat.load("base", config)
    turns = [{"role": role, "content": "keeper " * 40} for role in ("user", "assistant") * 20]
    asked = {"role": "user", "content": "Who?"}
    model.answer([*turns, asked])  # too long for the 512 positions of the model
    assert model.answer([asked]) == model.answer([asked])


def test_error_without_a_model_names_the_command_that_registers_one(config: Config) -> None:
    with pytest.raises(UserError, match="registry is empty; `gradus run` registers the best model"):
        chat.load("", config)
    with pytest.raises(UserError, match="missing or incomplete"):
        chat.load("sft", config)
    Path("mlruns/mlflow.db").unlink()
    with pytest.raises(UserError, match="No model is registered yet; `gradus run` registers one"):
        chat.load("", config)
    assert not Path("mlruns/mlflow.db").exists()
