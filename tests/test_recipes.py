"""Recipes: each is a whole, valid params.yaml."""

from pathlib import Path

import pytest

from pipelines.config import load

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *RECIPES], ids=lambda path: path.name)
def test_a_recipe_is_valid(path: Path) -> None:
    settings = load(path)
    assert set(settings.align.methods) <= set(settings.evaluate.models)
