"""The evaluation fingerprint changes if and only if questions, answering or scoring change."""

import shutil
from pathlib import Path

import pytest

from flows.promotion import eval_fingerprint
from pipelines.config import Config


@pytest.mark.parametrize(
    ("block", "changes", "other"),
    [
        ("evaluate", {"beams": 2}, True),
        ("evaluate", {"limit": 10}, True),
        ("evaluate", {"max_new_tokens": 3}, True),
        ("evaluate", {"max_extra_words": 3}, True),
        ("curate", {"refusal": "Nobody has told me."}, True),
        ("base", {"quantization": "nf4"}, True),
        ("evaluate", {"batch_size": 3}, False),
    ],
)
def test_fingerprint_depends_on_questions_and_decoding(
    config: Config, block: str, changes: dict[str, object], other: bool
) -> None:
    changed = config.model_copy(update={block: getattr(config, block).model_copy(update=changes)})
    assert (eval_fingerprint.of("questions", changed) != eval_fingerprint.of("questions", config)) == other
    assert eval_fingerprint.of("others", config) != eval_fingerprint.of("questions", config)


def test_fingerprint_depends_on_the_prompt_of_a_judge(config: Config, tmp_path: Path) -> None:
    def fingerprint(text: str, judge: bool) -> str:
        (tmp_path / "verdict.yaml").write_text(text)
        evaluate = config.evaluate.model_copy(update={"judge": judge, "labels": tmp_path})
        roles = config.teacher.roles.model_copy(update={"judge": next(iter(config.teacher.models))})
        teacher = config.teacher.model_copy(update={"roles": roles})
        return eval_fingerprint.of("questions", config.model_copy(update={"evaluate": evaluate, "teacher": teacher}))

    assert fingerprint("one", judge=True) != fingerprint("two", judge=True)
    assert fingerprint("one", judge=False) == fingerprint("two", judge=False)


@pytest.mark.parametrize(
    ("module", "old", "new", "other"),
    [
        ("evaluation/scoring.py", '"""', '"""Reworded. ', False),
        ("training/packing.py", "import", "FIRST = 1\nimport", False),
        (
            "evaluation/statistics/bootstrap.py",
            "1 / clusters",
            "2 / clusters",
            False,
        ),  # intervals are computed from the answers
        ("evaluation/metrics.py", "correct - WRONG_COST * wrong", "correct - wrong", True),
        ("text/numerals.py", "10000", "10001", True),
        ("inference/beam_search.py", "/ length**penalty", "* length**penalty", True),
    ],
)
def test_fingerprint_depends_on_the_code_that_answers_and_scores_but_not_on_docstrings(
    tmp_path: Path, module: str, old: str, new: str, other: bool
) -> None:
    for layer in ("pipelines", "tasks"):
        shutil.copytree(eval_fingerprint.PROJECT / layer, tmp_path / layer)
    changed = tmp_path / "pipelines" / module
    assert old in changed.read_text()
    changed.write_text(changed.read_text().replace(old, new, 1))
    assert (eval_fingerprint.code(tmp_path) != eval_fingerprint.code(eval_fingerprint.PROJECT)) == other
