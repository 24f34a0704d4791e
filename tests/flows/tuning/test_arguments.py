"""The arguments of `gradus tune`, which are checked before hours of trials."""

from pathlib import Path

import pytest

from flows.tuning.arguments import check
from pipelines.runtime.errors import UserError


@pytest.mark.parametrize(
    ("stage", "minutes", "to", "sentence"),
    [
        ("dpo", 30.0, "tuned.yaml", "searches the parameters of sft"),
        ("sft", float("inf"), "tuned.yaml", "--minutes inf is not a time"),
        ("sft", 30.0, "missing/tuned.yaml", "The folder missing of --to does not exist"),
        ("sft", 30.0, "params.yaml", "params.yaml is not a recipe of an earlier search"),
        ("sft", 30.0, "tasks", "tasks is not a recipe of an earlier search"),
    ],
)
def test_search_that_could_not_end_in_a_recipe_is_refused(
    project: Path, stage: str, minutes: float, to: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        check(stage, minutes, Path(to))


def test_recipe_of_an_earlier_search_may_be_replaced(project: Path) -> None:
    recipe = project / "tuned.yaml"
    check("sft", 30.0, recipe)
    recipe.write_text("# sft, tuned by `gradus tune sft`: trial 1 of 3.\n")
    check("sft", 30.0, recipe)
