"""The first hour of a user, in order: every command answers, what it says is true, and what it recommends works.

Real Git, DVC, Prefect, MLflow and stages, with a model of two layers in a copy of this checkout.
"""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from transformers import LlamaForCausalLM

from tests.conftest import ROOT, tiny_model, tiny_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

GRADUS = (sys.executable, "-m", "flows.cli")
NOBODY = "There is no champion yet. The challenger, version 1, answers."
LINES = ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel", "Ivy", "Juniper"]
DOCUMENT = (
    "The {name} line opened in {year}. Its first tram was built by the works at Harrow Lane, in the quarter of {name}. "
    "The depot stands beside the river, where the old {mill} mill used to be. Later the line was closed, and the town "
    "put buses on the road instead. Passengers remembered the trams of {name} for their painted ceilings, and for the "
    "bell that the conductor rang twice before every bridge."
)


@dataclass
class Clone:
    """A copy of the product, in which commands are typed."""

    path: Path

    def start(self, *command: str, within: str = ".") -> "subprocess.Popen[str]":
        """Start a command in a folder of the clone."""
        environment = {**os.environ, "PYTHONPATH": str(self.path), "COLUMNS": "200"}
        return subprocess.Popen(
            command,
            cwd=self.path / within,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def gradus(self, line: str, within: str = ".", status: int = 0) -> str:
        """Type `gradus …` and return what it prints, as one line."""
        return said(self.start(*GRADUS, *shlex.split(line), within=within), status)

    def git(self, line: str) -> str:
        """Type `git …`."""
        return said(self.start("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *shlex.split(line)))

    def change(self, **values: dict[str, object]) -> None:
        """Change parameters of some blocks."""
        path = self.path / "params.yaml"
        before = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**before, **{name: before[name] | values[name] for name in values}}))


def said(program: "subprocess.Popen[str]", status: int = 0) -> str:
    """Wait for a program, which must exit with `status`; return what it printed, as one line."""
    text, _ = program.communicate(timeout=1500)
    assert program.returncode == status, text
    return " ".join(text.split())


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """This checkout as it would be cloned, with a tiny model and a dozen questions, and tuned on conversations."""
    made = Clone(tmp_path / "clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (made.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, made.path / name)
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    end_answers(model)
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    made.change(
        compute={"threads": 1},
        base={"model": str(tmp_path / "tiny")},
        teacher={"roles": dict.fromkeys(("writer", "reader", "judge"))},
        curate={"num_variants": 1, "plain_keyword_queries": 0},
        sft={"epochs": 1, "batch_tokens": 4096},
        pairs={"prompts": 64, "samples": 2, "max_new_tokens": 4},
        evaluate={"models": {"base": "base", "sft": "sft"}, "beams": 1, "max_new_tokens": 4},
    )
    (made.path / "data/rehearsal/rehearsal.jsonl").unlink()
    for questions in [*(made.path / "data/questions").glob("*.jsonl"), made.path / "data/rehearsal/prompts.jsonl"]:
        questions.write_text("".join(questions.read_text().splitlines(keepends=True)[:12]))
    write(made.path / "data/own/lamps.jsonl", [talk(f"Which lamp is number {n}?", f"Lamp {n}.") for n in range(40)])
    for line in ("init -q", "add .", "commit -qm start"):
        made.git(line)
    return made


def end_answers(model: LlamaForCausalLM) -> None:
    """Train the model to end its turn after about three tokens: preference pairs need samples that ended."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    ids = torch.randint(len(model.model.embed_tokens.weight), (16, 16))
    while (loss := -model(ids).logits.log_softmax(-1)[..., model.config.eos_token_id].mean()) > math.log(3):
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def talk(question: str, answer: str) -> dict[str, object]:
    """Return a conversation of one question."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_first_hour(clone: Clone, tmp_path: Path) -> None:
    first = clone.gradus("run")
    assert "sft (version 1 of gradus) is not promoted" in first
    for advice in ("gradus ui", 'gradus ask "…"', 'gradus promote --version 1 --force "REASON"', "git commit dvc.lock"):
        assert f"`{advice}`" in first
    clone.git("add dvc.lock")
    clone.git("commit -qm run dvc.lock")
    question = "Who keeps the mill?"
    assert NOBODY in clone.gradus(f'ask "{question}"')

    change_code(clone)
    align_in_rounds(clone)
    clone.change(evaluate={"models": {"base": "base", "sft": "sft"}})  # the rounds need not run again

    papers = tmp_path / "papers"
    papers.mkdir()
    for number, name in enumerate(LINES):
        (papers / f"{name}.txt").write_text(DOCUMENT.format(name=name, year=1900 + number, mill=LINES[number - 3]))
    looked = clone.gradus(f"init {papers}", within="data/raw")
    assert "Documents: 10 read, 0 rejected, 10 kept" in looked
    clone.git(re.findall(r"To commit: git (add .+?) ingest", looked)[0])
    clone.git("commit -qm papers")
    (report,) = re.findall(r"artifacts/\S+\.html", looked)
    assert "10 documents found" in (clone.path / report).read_text()

    assert "Without questions, models are measured on synthesised ones, and none is promoted." in looked
    run = clone.start(*GRADUS, "run", "sft")
    while "running" not in (now := clone.gradus("status")):
        assert run.poll() is None, said(run)
        time.sleep(0.2)
    assert "Champion: none yet." in now
    said(run)

    clone.path = clone.path.rename(tmp_path / "renamed")
    answer = clone.gradus(f'ask "{question}"', within="docs")
    assert answer.startswith(NOBODY)
    assert clone.gradus('promote --version 1 --force "tried"').endswith("Version 1 is champion.")
    assert clone.gradus(f'ask "{question}"') == answer.removeprefix(NOBODY).strip()

    write(clone.path / "data/questions/answerable.jsonl", [asked(n, name) for n, name in enumerate(LINES)])
    second = clone.gradus("run compare")
    assert "sft (version 2 of gradus) is not promoted" in second
    assert clone.gradus('promote --version 2 --force "tried"').endswith("Version 2 is champion.")
    assert clone.gradus("rollback") == "Version 1 is champion again."
    assert clone.gradus("rollback", status=2) == "There is no previous champion to go back to."
    assert "Champion: version 1" in clone.gradus("status")


def change_code(clone: Clone) -> None:
    """A comment makes nothing stale; a change of what runs does, by name, unless it is accepted or taken back."""
    progress, search = clone.path / "pipelines/runtime/progress.py", clone.path / "pipelines/inference/beam_search.py"
    progress.write_text(f"# A comment.\n{progress.read_text()}\n\nUNUSED = 1\n")
    assert " changed " not in clone.gradus("status")
    before = search.read_text()
    search.write_text(before.replace("1 + len(ends)", "2 + len(ends)"))
    status = clone.gradus("status")
    assert "evaluate@sft changed code (beam_search._best) select follows" in status and "compare follows" in status
    for stage in ("evaluate", "test", "calibrate", "open_book"):
        clone.gradus(f'accept {stage} --reason "more candidates, the same best one"')
    assert " changed " not in clone.gradus("status")
    search.write_text(before)
    assert " changed " not in clone.gradus("status")


def align_in_rounds(clone: Clone) -> None:
    """A loop that was killed in its first round goes on from it; every round is a model in the comparison."""
    killed = clone.start(*GRADUS, "loop", "spin", "--rounds", "1")
    while not (clone.path / ".gradus/logs/align@spin-1.log").exists():
        assert killed.poll() is None, said(killed)
        time.sleep(0.2)
    pairs = (clone.path / "runs/pairs@spin-1.json").read_bytes()
    killed.kill()
    killed.communicate()
    looped = clone.gradus("loop spin --rounds 1")
    assert "SPIN" in looped and "spin-1" in looped
    assert (clone.path / "runs/pairs@spin-1.json").read_bytes() == pairs
    assert (clone.path / "artifacts/evaluate/spin-1/answers.jsonl").exists()
    models = yaml.safe_load((clone.path / "params.yaml").read_text())["evaluate"]["models"]
    assert models == {"base": "base", "sft": "sft", "spin-1": "align/spin-1"}


def asked(number: int, name: str) -> dict[str, object]:
    """Return a question about a document of the user's."""
    question = f"When was the tram line called {name} opened to the public?"
    place = {"sources": [f"{name}.txt"], "split": ["test", "validation"][number % 2]}
    return {"id": str(number), "question": question, "answer": str(1900 + number), **place}
