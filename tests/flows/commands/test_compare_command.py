"""List of runs, and comparison of two results from DVC's cache."""

import subprocess
import sys

import pytest
import yaml
from rich.console import Console

from flows.commands import compare
from flows.commands.runs import side, table, whole_runs
from flows.dag import dvc_lock
from pipelines import config
from pipelines.runtime import tracking
from pipelines.runtime.errors import UserError
from tests.flows.conftest import Project
from tests.flows.dag.test_worktree import commit, git

pytestmark = pytest.mark.slow

MAKE = """
import json, sys, yaml
from pathlib import Path
out = Path("artifacts") / sys.argv[1]
out.mkdir(parents=True)
if sys.argv[1] == "compare":
    (out / "metrics.json").write_text(json.dumps({"candidate": "sft"}))
else:
    right = yaml.safe_load(Path("fake.yaml").read_text())["right"]
    rows = [{"id": str(n), "set": "answerable", "split": "test", "cluster": f"doc {n}", "question": f"Question {n}?",
             "answer": f"{'good' if n in right else 'bad'} {n}", "verdict": "correct" if n in right else "wrong",
             "f1": float(n in right)} for n in range(20)]
    (out / "sft").mkdir()
    (out / "sft/answers.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
"""


def _stage(place: str, *deps: str) -> dict[str, object]:
    return {
        "cmd": f"python make.py {place}",
        "deps": ["make.py", *deps],
        "params": [{"fake.yaml": ["right"]}, {"code.lock.yaml": [place.partition("/")[0]]}],
        "outs": [f"artifacts/{place}"],
    }


def _result(fake: Project, right: list[int]) -> str:
    (fake.path / "fake.yaml").write_text(yaml.safe_dump({"right": right}))
    lock = {"test": {"code": len(right), "libraries": {"torch": f"2.{len(right)}"}}, "compare": {"code": 1}}
    (fake.path / "code.lock.yaml").write_text(yaml.safe_dump(lock))
    subprocess.run([sys.executable, "-m", "dvc", "repro"], check=True, capture_output=True, env=fake.environment)
    return commit(f"{len(right)} right")


@pytest.fixture
def results(fake: Project) -> tuple[str, str]:
    """Two commits with twenty questions: 0 to 9 are correct before, 1 to 15 after."""
    (fake.path / "make.py").write_text(MAKE)
    stages = {
        "test": {"foreach": ["candidate"], "do": _stage("test/${item}")},
        "compare": _stage("compare", "artifacts/test"),
    }
    (fake.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return _result(fake, list(range(10))), _result(fake, list(range(1, 16)))


def _output(names: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    settings = config.load()
    compare.compare(Console(width=200), names, settings.compare, settings.compute.seed)
    return capsys.readouterr().out


def test_comparison_shows_parameters_metrics_and_changed_questions(
    results: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = _output(list(results), capsys)
    assert "Parameters: right [0, 1" in output and "Data: the same" in output
    assert 'Code: test; torch "2.10" → "2.15"' in output and "code.lock" not in output
    (line,) = (line.split() for line in output.splitlines() if line.lstrip().startswith("Accuracy"))
    assert line[1:4] == ["50.0%", "75.0%", "+25.0"]
    assert float(line[4]) < 25 < float(line[6])
    assert (
        "Correct before, not after: 1 of 20 questions\n  Question 0?\n    before: good 0\n    after:  bad 0" in output
    )
    assert "Correct after, not before: 6 of 20 questions" in output and output.count("before: bad") == compare.SHOWN


def test_run_keeps_its_lock_and_is_listed(results: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with tracking.started("post_train", {"commit": results[1], "dirty": "True"}) as run:
        run.tags({"candidate": "sft", "model_version": "1", "promoted": "False"})
        run.metrics({"sft.answer_accuracy": 0.75})
        run.artifact(dvc_lock.LOCK)
    console = Console(width=200)
    console.print(table(whole_runs()[:1]))
    listed = capsys.readouterr().out
    assert run.id[:8] in listed and f"{results[1][:8]}+" in listed and "75.0%" in listed
    assert side(run.id[:8]).stages == side(results[1]).stages
    assert "+25.0" in _output([results[0], run.id], capsys)


def test_missing_answers_are_reported(fake: Project, results: tuple[str, str]) -> None:
    for each in (fake.path / ".dvc/cache/files").rglob("*"):
        if each.is_file() and each.suffix != ".dir":
            each.unlink()
    with pytest.raises(UserError, match=r"artifacts/compare/metrics.json of commit \w+ is gone from DVC's cache"):
        side(results[0]).candidate()
    with pytest.raises(UserError, match=r"holds no dvc\.lock"):
        side(git("rev-list", "--max-parents=0", "HEAD"))
    with tracking.started("post_train", {}) as run:
        run.tags({"candidate": "sft", "dvc_lock": "unknown"})
    with pytest.raises(UserError, match="its answers are gone"):
        side(run.id)
