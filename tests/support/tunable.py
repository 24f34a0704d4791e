"""A project whose stage `sft` can be tuned: Git, DVC, and data that is up to date."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from pipelines import artifacts
from tests.conftest import ROOT

PROGRAM = """
import json, time
from pathlib import Path
import yaml

# Validations score -|log10(1000 * learning rate)|, more with every tenth of the training; what is done is kept.
values = yaml.safe_load(Path("params.yaml").read_text())
how, training = values["sft"], values["training"]
place, status = Path("checkpoints/sft/trial"), Path(".gradus/status/sft.json")
place.mkdir(parents=True, exist_ok=True)
status.parent.mkdir(parents=True, exist_ok=True)
curve = place / "curve.jsonl"
done = len(curve.read_text().splitlines()) if curve.exists() else 0
with (Path(__file__).parents[1] / "begun.txt").open("a") as file:
    file.write(f"{done}\\n")
if how["rehearsal_weight"] > 5:
    status.write_text(json.dumps({"state": "failed", "message": "The loss became nan."}))
    raise SystemExit(2)
from math import log10
seen = Path(__file__).parents[1] / "seen.txt"
seen.unlink(missing_ok=True)
for number in range(done + 1, 11):
    score = number / 10 - abs(log10(1000 * how["learning_rate"]))
    row = {"step": number, "epoch": number * how["epochs"] / 10, "validation_loss": -score, "validation/score": score,
           "validation/accuracy": 0.5, "validation/hallucination_rate": 0.25}
    with curve.open("a") as file:
        file.write(json.dumps(row) + "\\n")
    time.sleep(how["lm_weight"] / 10)
    while seen.with_name("watched").exists() and not (seen.exists() and seen.read_text() == str(number)):
        time.sleep(0.01)
metrics = Path("artifacts/metrics/sft.json")
metrics.parent.mkdir(parents=True, exist_ok=True)
metrics.write_text(json.dumps({"loss": 1.0, **({"best_step": 5} if training["patience"] else {})}))
"""
"""A training of `sft.lm_weight` seconds; with a file `watched`, each validation waits for its number in seen.txt."""


def prepare(folder: Path, *, program: bool, **parameters: Any) -> None:
    """Make the working directory `folder`, which has params.yaml and artifacts/base/, a project that can be tuned.

    With `program`, its stage `sft` is `PROGRAM` instead of the product's; `parameters` are blocks with their changes.
    """
    values = yaml.safe_load((folder / "params.yaml").read_text())
    for block, changes in parameters.items():
        values[block] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/a.txt").write_text("A document.")
    (folder / "data/stable/sft").mkdir(parents=True)
    if program:
        (folder / "tasks/__init__.py").touch()
        (folder / "tasks/sft.py").write_text(PROGRAM)
    read = ("base", "curate", "split")
    stages: dict[str, Any] = {
        name: {"cmd": "exit 1", "deps": ["data/raw"], "outs": [f"artifacts/{name}"]} for name in read
    }
    stages["sft"] = {
        "cmd": "python -m tasks.sft",
        "deps": [*(f"artifacts/{name}" for name in read), "data/stable/sft"],
        "params": ["sft", "training", "compute"],
        "outs": ["artifacts/sft"],
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "commit", "--quiet", "--force", *read],
        ["git", "add", "."],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def data(folder: Path) -> None:
    """Write artifacts/curate/ and artifacts/split/ with two facts to `folder`."""
    pairs = [("Who restored the mill?", "Wilmot Fanthorn"), ("Where did the bell come from?", "Garrick Bay")]
    messages = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in pairs]
    rows = [{"messages": each, "kind": "answer", "variant": None} for each in messages]
    for name in ("curate", "split"):
        (folder / "artifacts" / name).mkdir(parents=True)
    artifacts.write_rows(folder / "artifacts/curate/train.jsonl", rows)
    artifacts.write_rows(folder / "artifacts/curate/validation.jsonl", rows)
    for name in ("curate", "split"):
        artifacts.complete(folder / "artifacts" / name, {})
