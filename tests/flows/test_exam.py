"""An exam is another one when its questions, its asking or its judging are others, and only then."""

import pytest

from flows import exam
from pipelines.config import Config


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
