"""Asking and talking: which model answers, what is said when there is none, and what a conversation's commands do."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands import chat
from pipelines.config import Config
from pipelines.runtime.errors import UserError


def talked(config: Config, monkeypatch: pytest.MonkeyPatch, *lines: str) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    console = Console(file=io.StringIO(), width=200)
    chat.chat(console, "base", config)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_conversation_goes_on_after_a_wrong_command(
    base: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = talked(
        config, monkeypatch, "Who are you?", "", "/help", "/model nobody", "/new", "/model base", "/quit", "no"
    )
    assert "There is no model 'nobody'; there are champion, challenger, version numbers, base" in said
    assert said.count("base answers.") == 2 and said.count("/quit ends.") == 2


def test_a_long_conversation_forgets_its_first_turns(base: Path, config: Config) -> None:
    _, model = chat.load("base", config)
    turns = [{"role": role, "content": "keeper " * 40} for role in ("user", "assistant") * 20]
    asked = {"role": "user", "content": "Who?"}
    model.answer([*turns, asked])  # a model of 512 positions would fail
    assert model.answer([asked]) == model.answer([asked])


def test_without_a_model_a_sentence_says_what_makes_one(config: Config) -> None:
    with pytest.raises(UserError, match="registry is empty; `gradus run` registers the best model"):
        chat.load("", config)
    with pytest.raises(UserError, match="missing or incomplete"):
        chat.load("sft", config)
    Path("mlruns/mlflow.db").unlink()
    with pytest.raises(UserError, match="No model is registered yet; `gradus run` makes one"):
        chat.load("", config)
    assert not Path("mlruns/mlflow.db").exists()
