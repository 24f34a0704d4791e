"""An exam is another one when its questions, its asking or its judging are others, and only then."""

import re
from pathlib import Path

import pytest

from flows import exam
from pipelines.config import Config

EVALUATION = Path(__file__).parents[2] / "pipelines/evaluation"


@pytest.mark.parametrize(
    ("block", "changes", "other"),
    [
        ("evaluate", {"beams": 2}, True),
        ("evaluate", {"max_new_tokens": 3}, True),
        ("evaluate", {"max_extra_words": 3}, True),
        ("curate", {"refusal": "Nobody has told me."}, True),
        ("evaluate", {"batch_size": 3}, False),
    ],
)
def test_what_decides_a_figure_decides_the_exam(
    config: Config, block: str, changes: dict[str, object], other: bool
) -> None:
    changed = config.model_copy(update={block: getattr(config, block).model_copy(update=changes)})
    assert (exam.of("questions", changed) != exam.of("questions", config)) == other
    assert exam.of("others", config) != exam.of("questions", config)


def test_a_rule_of_judging_decides_the_exam_and_its_wording_does_not(tmp_path: Path) -> None:
    def rules(text: str, name: str) -> str:
        (tmp_path / name).write_text(text)
        return exam.rules((tmp_path / name,))

    before = rules('"""A module."""\nLIMIT = 2\ndef right() -> bool:\n    """Tell."""\n    return LIMIT > 1\n', "a.py")
    assert rules("# Anew.\nLIMIT = 2\n\ndef right() -> bool:\n    return LIMIT > 1  # so\n", "b.py") == before
    assert rules("LIMIT = 3\ndef right() -> bool:\n    return LIMIT > 1\n", "c.py") != before


def test_every_module_that_judges_is_among_the_rules() -> None:
    imported = {
        name
        for module in exam.JUDGING
        for name in re.findall(r"from pipelines\.evaluation\.(\w+) import", (EVALUATION / f"{module}.py").read_text())
    }
    assert imported - {"questions"} <= set(exam.JUDGING)  # the questions are hashed as data
