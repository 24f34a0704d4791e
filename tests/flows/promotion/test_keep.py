"""`gradus keep` with real git and DVC, and `gradus chat` with the adapters that it kept."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from flows import preflight
from flows.cli.champions import _which
from flows.commands import chat
from flows.promotion.keep import keep
from pipelines import artifacts
from pipelines.config import Config
from pipelines.models import loading, saving
from pipelines.models.task_adapters import store
from pipelines.models.tuning import preparation
from pipelines.models.tuning.config import TuningConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.tracking import started

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(base: Path, config: Config) -> Path:
    """artifacts/align/dpo/ with an adapter on the base model and its MLflow run, in a repository."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    tuning = TuningConfig(method="lora", options={"r": 4, "lora_alpha": 8})
    model = preparation.trainable(base, tuning, config.compute, config.base)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.2)
    out = artifacts.fresh("align/dpo")
    saving.save(model, loading.tokenizer(base), out, base)
    (out / "stable").mkdir()
    with started("align@dpo", {}) as run:
        run.tags({"commit": "0123456789", "dirty": "False", "stage_key": "k"})
    artifacts.write_json(artifacts.RUNS / "align@dpo.json", {"run_id": run.id})
    artifacts.complete(out, {"stage": "align@dpo", "metrics": {"loss": 0.5}})
    return out


def output(name: str, source: str, settings: Config, replace: bool = False) -> str:
    console = Console(file=io.StringIO(), width=200)
    keep(console, name, source, replace, settings)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_trained_adapter_is_copied_with_its_origin_and_tracked(
    trained: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = output("legal", "dpo", config)
    assert "To commit: git add data/adapters/legal.dvc data/adapters/.gitignore" in printed
    place = store.find("legal")
    assert Path("data/adapters/legal.dvc").is_file() and not (place / "stable").exists()
    record = artifacts.record(place)
    assert (record["stage"], record["metrics"]) == ("align@dpo", {"loss": 0.5})
    assert record["origin"].items() >= {"commit": "0123456789", "dirty": "False", "stage_key": "k"}.items()
    with pytest.raises(UserError, match=r"data/adapters/legal exists; choose another name"):
        output("legal", "dpo", config)
    output("legal", "align/dpo", config, replace=True)
    output("tax", "dpo", config)
    for source, message in (
        ("sft", "missing or incomplete"),
        ("base", "has a whole model, and only adapters are kept"),
    ):
        with pytest.raises(UserError, match=message):
            output("other", source, config)

    location, model = chat.load_adapter("legal", config)
    assert location.title == "The adapter legal" and chat._commit(location) == "01234567"
    monkeypatch.setattr(
        "sys.stdin", io.StringIO("/adapter\n/adapter legal\nWho?\n/adapter nobody\n/adapter tax\nWho?\n")
    )
    console = Console(file=io.StringIO(), width=200)
    chat.chat(console, "base", config)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[2] == "legal, tax" and lines[3] == "The adapter legal answers."
    assert model.answer([{"role": "user", "content": "Who?"}]) == lines[4]
    assert "There is no adapter 'nobody': there are legal, tax" in lines[5] and lines[6] == "The adapter tax answers."


def test_run_of_combine_needs_the_named_adapters(config: Config) -> None:
    changed = config.combine.model_copy(update={"adapters": {"legal": 1.0}})
    with pytest.raises(UserError, match=r"no adapter 'legal': data/adapters has none; `gradus keep legal`"):
        preflight.check_stages(["base", "combine"], config.model_copy(update={"combine": changed}))
    with pytest.raises(UserError, match=r"combine\.adapters is empty"):
        preflight.check_stages(["base", "combine"], config)


def test_one_model_is_asked() -> None:
    assert _which(None, "", "legal") == ""
    with pytest.raises(UserError, match="give only one of them"):
        _which(3, "", "legal")
