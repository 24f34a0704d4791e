"""Each recipe is an overlay that gives valid parameters, and holds only what differs."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows import sample
from flows.commands.use import use
from pipelines.config import Config, load
from pipelines.evaluation import questions
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
COMMIT = re.compile(r"hf:[\w.-]+/[\w.-]+@[0-9a-f]{40}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the product's params.yaml."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_applied_with_comments_kept_and_changes_only_what_it_says(recipe: Path, project: Path) -> None:
    before = yaml.safe_load((project / "params.yaml").read_text())
    use(Console(quiet=True), recipe)
    after = yaml.safe_load((project / "params.yaml").read_text())
    overlay = yaml.safe_load(recipe.read_text())
    assert {name for name in after if after[name] != before[name]} == set(overlay)
    assert (project / "params.yaml").read_text().count("#") == (ROOT / "params.yaml").read_text().count("#")
    use(Console(quiet=True), recipe)
    assert yaml.safe_load((project / "params.yaml").read_text()) == after


def test_recipe_with_an_unknown_parameter_changes_nothing(project: Path) -> None:
    (project / "mine.yaml").write_text("sft: {epoch: 8}\n")
    before = (project / "params.yaml").read_text()
    with pytest.raises(UserError, match=r"params\.yaml with mine\.yaml: sft\.epoch is not a parameter"):
        use(Console(quiet=True), Path("mine.yaml"))
    assert (project / "params.yaml").read_text() == before
    (project / "mine.yaml").write_text("- sft\n")
    with pytest.raises(UserError, match=r"mine\.yaml is not a mapping of parameters"):
        use(Console(quiet=True), Path("mine.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_states_what_it_needs_and_pins_its_model(recipe: Path, project: Path) -> None:
    head = recipe.read_text().split("\n\n")[0]
    assert "# Needs: " in head
    base = yaml.safe_load(recipe.read_text()).get("base")
    if base is not None:
        assert COMMIT.fullmatch(base["model"]) and "# Memory of sft: " in head
    use(Console(quiet=True), recipe)
    settings: Config = load()
    assert settings.sft.max_tokens <= max(settings.sft.batch_tokens, 512)
    assert settings.align.dpo.learning_rate < settings.sft.learning_rate


def test_recipes_combine(project: Path) -> None:
    for name in ("qwen3-8b-qlora-24gb", "served-teacher"):
        use(Console(quiet=True), ROOT / f"recipes/{name}.yaml")
    settings = load()
    assert (settings.base.quantization, settings.teacher.roles.judge) == ("nf4", "served")
    assert settings.synthesize.rehearsal_generated == 1200 and settings.synthesize.max_questions == 20_000


def test_quick_has_documents_of_the_sample_and_the_questions_about_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    quick = yaml.safe_load((ROOT / "recipes/quick.yaml").read_text())
    documents, folder = Path(quick["ingest"]["source"]), Path(quick["evaluate"]["questions"])
    for path in documents.rglob("*.*"):
        assert path.read_bytes() == (Path("data/raw") / path.relative_to(documents)).read_bytes()
    assert not sample.missing(folder, documents) and not sample.elsewhere(folder, documents)
    assert sample.questions(folder) == [folder / "answerable.jsonl", folder / "unanswerable.jsonl"]
    every = {each.id: each for each in questions.load(Path("data/questions"))}
    for each in questions.load(folder):
        assert set(each.sources) <= set(every[each.id].sources)
        assert replace(each, sources=every[each.id].sources) == every[each.id]
