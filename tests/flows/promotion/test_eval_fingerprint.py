"""The evaluation's fingerprint differs when questions, decoding or scoring differ, and only then."""

import shutil
from pathlib import Path

import pytest

from flows.promotion import eval_fingerprint
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
def test_questions_and_decoding_decide_the_fingerprint(
    config: Config, block: str, changes: dict[str, object], other: bool
) -> None:
    changed = config.model_copy(update={block: getattr(config, block).model_copy(update=changes)})
    assert (eval_fingerprint.of("questions", changed) != eval_fingerprint.of("questions", config)) == other
    assert eval_fingerprint.of("others", config) != eval_fingerprint.of("questions", config)


@pytest.mark.parametrize(
    ("module", "old", "new", "other"),
    [
        ("evaluation/scoring.py", '"""', '"""Reworded. ', False),
        ("training/packing.py", "import", "FIRST = 1\nimport", False),
        ("evaluation/metrics.py", " + ", " - ", True),
        ("text/numerals.py", "10000", "10001", True),
    ],
)
def test_a_rule_of_scoring_decides_the_fingerprint_and_its_wording_does_not(
    tmp_path: Path, module: str, old: str, new: str, other: bool
) -> None:
    shutil.copytree(eval_fingerprint.PROJECT / "pipelines", tmp_path / "pipelines")
    changed = tmp_path / "pipelines" / module
    assert old in changed.read_text()
    changed.write_text(changed.read_text().replace(old, new, 1))
    assert (eval_fingerprint.rules(tmp_path) != eval_fingerprint.rules(eval_fingerprint.PROJECT)) == other
