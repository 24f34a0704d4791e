"""`gradus run --set`: validated first, run in a worktree, committed on a branch, working tree unchanged."""

from pathlib import Path

import pytest
import yaml

from flows.run import overrides
from pipelines.runtime.errors import UserError
from tests.flows.conftest import Project
from tests.flows.dag.test_worktree import CHAIN, commit, git

pytestmark = pytest.mark.slow

TEXT = Path("params.yaml").read_text()


def test_override_keeps_every_other_line_and_comment() -> None:
    after = overrides.changed(TEXT, ["sft.epochs=9", "clean.quality.max_words=null", "clean.languages=[en, de]"])
    changed = {now for was, now in zip(TEXT.splitlines(), after.splitlines(), strict=True) if was != now}
    assert changed == {"  epochs: 9", "  languages: [en, de]"}
    settings = overrides.checked(after)
    assert (settings.sft.epochs, settings.clean.languages) == (9, ["en", "de"])


def test_small_float_is_a_number_for_every_yaml_parser() -> None:
    after = overrides.changed(TEXT, ["sft.learning_rate=1e-05"])
    assert yaml.safe_load(after)["sft"]["learning_rate"] == 1e-5


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("sft.epoch=3", "--set sft.epoch: there is no such parameter; did you mean sft.epochs?"),
        ("nothing.like.it=3", "there is no such parameter; params.yaml lists all parameters."),
        ("sft.epochs", "is not an assignment; write it as --set sft.epochs=8."),
        ("sft.epochs=[", "is not valid YAML"),
        ("sft.epochs=many", "params.yaml with --set: sft.epochs input should be a valid integer"),
    ],
)
def test_invalid_override_is_reported(assignment: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        overrides.checked(overrides.changed(TEXT, [assignment]))
    assert sentence in str(caught.value)


def test_malformed_assignment_names_the_option_that_gave_it() -> None:
    for assignment in ("sft.epochs", "sft.epochs=["):
        with pytest.raises(UserError, match=r"^--search "):
            overrides.changed(TEXT, [assignment], "--search")


@pytest.mark.e2e
def test_run_with_override_is_on_a_branch_and_leaves_params_unchanged(fake: Project) -> None:
    fake.describe(CHAIN)
    commit("start")
    before = (fake.path / "params.yaml").read_text()
    (fake.path / "fake.py").write_text((fake.path / "fake.py").read_text() + "# not committed\n")
    process = fake.start("run", "--set", "sft.epochs=9", "clean")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "Uncommitted changes are ignored: the run uses HEAD" in output
    branch = git("branch", "--format", "%(refname:short)", "--list", "runs/*")
    assert "\n  epochs: 9\n" in git("show", f"{branch}:params.yaml")
    assert "artifacts/clean" in git("show", f"{branch}:dvc.lock")
    assert (fake.path / "params.yaml").read_text() == before and not (fake.path / "artifacts").exists()


def test_unknown_parameter_creates_no_worktree(fake: Project) -> None:
    fake.describe(CHAIN)
    commit("start")
    process = fake.start("run", "--set", "sft.epoch=9", "clean")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "did you mean sft.epochs?" in output
    assert not (fake.path / ".gradus/worktrees").exists()
