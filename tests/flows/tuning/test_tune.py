"""`gradus tune` as a command: the recipe and the MLflow runs of a search, a killed one, and what is refused."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.commands.use import use
from flows.run import run_state
from pipelines import artifacts
from pipelines.config import Config, load
from pipelines.evaluation.in_training import sample
from pipelines.evaluation.in_training.sample import SCORE, ValidationQuestions
from pipelines.evaluation.questions import Question
from pipelines.runtime import tracking_store
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT
from tests.support import tunable

pytestmark = pytest.mark.slow

RATE = ("--search", "sft.learning_rate=0.0001:0.05:log")


def gradus(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tune", *arguments], catch_exceptions=False)


@pytest.fixture
def ready(config: Config, base: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose data is up to date, with a program that only measures."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    tunable.data(project)
    tunable.prepare(project, program=True, sft={"validation_questions": 5, "lm_weight": 1.0})
    return project


def test_best_trial_is_a_recipe_and_the_search_an_mlflow_run(ready: Path) -> None:
    done = gradus("sft", *RATE, "--trials", "3", "--to", "best.yaml")
    assert done.exit_code == 0 and "All 3 trials have ended." in done.output
    assert "best.yaml has its parameters: `gradus use best.yaml && gradus run` trains with them." in done.output
    assert done.output.splitlines()[0].startswith("The search ends at ")
    recipe = yaml.safe_load((ready / "best.yaml").read_text())
    store = tracking_store.client()
    (parent,) = store.search_runs(["1"], "tags.flow = 'tune'")
    scores = [each.value for each in store.get_metric_history(parent.info.run_id, SCORE)]
    assert parent.info.status == "FINISHED" and parent.info.run_name.startswith("tune sft · 3 trials · best ")
    assert f"score {max(scores):.3f}" in (ready / "best.yaml").read_text() and list(recipe) == ["sft"]
    use(Console(quiet=True), Path("best.yaml"))
    assert load().sft.learning_rate == recipe["sft"]["learning_rate"]


def test_what_cannot_be_searched_is_refused_before_any_trial(ready: Path) -> None:
    with pytest.raises(UserError, match=r"searches the parameters of sft, .* not of align"):
        gradus("align")
    with pytest.raises(UserError, match=r"there is no such parameter; did you mean sft.epochs"):
        gradus("sft", "--search", "sft.epoch=1:3")
    run_state.keep_duration("sft", 600)
    with pytest.raises(UserError, match=r"--minutes 1 does not suffice .* \(sft took 600 s, its first fifth 120 s\)"):
        gradus("sft", "--minutes", "1")
    with pytest.raises(UserError, match=r"--minutes 0 does not suffice for the first rung of one trial"):
        gradus("sft", "--minutes", "0")
    (ready / "data/raw/a.txt").write_text("Another document.")
    with pytest.raises(UserError, match=r"is out of date \(data/raw modified\).*`gradus run base curate split` first"):
        gradus("sft")
    (ready / "artifacts/curate/record.json").unlink()
    with pytest.raises(UserError, match=r"artifacts/curate is missing or incomplete"):
        gradus("sft")
    assert not (ready / "begun.txt").exists()


def test_trials_without_anything_to_compare_them_by_are_refused(ready: Path) -> None:
    values = yaml.safe_load((ready / "params.yaml").read_text())
    values["sft"]["validation_questions"] = 0
    (ready / "params.yaml").write_text(yaml.safe_dump(values))
    artifacts.write_rows(ready / "artifacts/curate/validation.jsonl", [])
    subprocess.run([sys.executable, "-m", "dvc", "commit", "--quiet", "--force", "curate"], cwd=ready, check=True)
    with pytest.raises(UserError, match=r"validation.jsonl has no row, so that trials cannot be compared"):
        gradus("sft")


@pytest.mark.e2e
def test_killed_search_of_the_product_continues_with_the_trials_that_it_has(
    config: Config, teachable: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunable.data(project)
    asked = [Question("a", "answerable", "name", "validation", "Who restored the mill?", ("Wilmot Fanthorn",), (), ())]
    sample.write(project / "artifacts/curate", 1, ValidationQuestions(tuple(asked), "I don't know.", 12, 25))
    tuning = {"method": "lora", "options": {"r": 8, "lora_alpha": 16}}
    small = {"tuning": tuning, "epochs": 30, "validation_questions": 1}
    tunable.prepare(project, program=False, sft=small)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", "flows.cli", "tune", "sft", *RATE, "--trials"]
    killed = subprocess.Popen([*command, "2"], cwd=project, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.startswith("trial 0 done"):
            killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = gradus("sft", *RATE, "--trials", "2")
    assert done.exit_code == 0 and "trial 0" not in done.output and "All 2 trials have ended." in done.output
    recipe = yaml.safe_load((project / "tuned.yaml").read_text())
    use(Console(quiet=True), Path("tuned.yaml"))
    assert load().sft.learning_rate == recipe["sft"]["learning_rate"]
    store = tracking_store.client()
    (parent,) = store.search_runs(["1"], "tags.flow = 'tune'")
    trials = store.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted(each.data.tags["trial"] for each in trials) == ["0", "1"]
    assert parent.info.status == "FINISHED" and {each.info.status for each in trials} <= {"FINISHED", "KILLED"}
    assert all(each.data.metrics.keys() >= {SCORE, "train/loss"} for each in trials)
    assert not (project / "artifacts/sft").exists() and not list(project.glob(".gradus/tune/sft-*/*"))
