"""`gradus use` on files that cannot be merged."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.use import use
from pipelines.runtime.errors import UserError


@pytest.mark.parametrize("spoil", [lambda text: text + "\n  a: [", lambda text: ""], ids=["syntax", "empty"])
def test_broken_params_are_reported_in_one_sentence(project: Path, spoil: Callable[[str], str]) -> None:
    params, recipe = project / "params.yaml", project / "recipe.yaml"
    params.write_text(before := spoil(params.read_text()))
    recipe.write_text("sft: {epochs: 3}\n")
    with pytest.raises(UserError, match=r"params\.yaml") as caught:
        use(Console(quiet=True), recipe)
    assert "\n" not in str(caught.value) and params.read_text() == before


def test_duplicate_key_is_reported_with_its_line(project: Path) -> None:
    """PyYAML, which reads the parameters of a run, takes the last of two keys."""
    params, recipe = project / "params.yaml", project / "recipe.yaml"
    text = params.read_text()
    params.write_text(text.replace("compute:\n", "compute:\n  seed: 1\n", 1))
    recipe.write_text("sft: {epochs: 3}\n")
    with pytest.raises(UserError, match=r"params\.yaml, line \d+: found duplicate key"):
        use(Console(quiet=True), recipe)


def test_folder_is_no_recipe(project: Path) -> None:
    with pytest.raises(UserError, match="tasks is a folder; give one of its YAML files"):
        use(Console(quiet=True), Path("tasks"))
