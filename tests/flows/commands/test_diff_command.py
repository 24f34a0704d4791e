"""`gradus diff`: which questions changed from one registered version to another."""

from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.diff import diff
from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.models.release import registry
from pipelines.runtime import tracking, tracking_store
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow

QUESTIONS = ("a1", "a2", "a3", "a4", "a5", "a6", "a7")
BEFORE = dict(zip(QUESTIONS, ("wrong", "correct", "refused", "wrong", "correct", "wrong", "wrong"), strict=True))
AFTER = dict(zip(QUESTIONS, ("correct", "wrong", "wrong", "refused", "correct", "correct", "wrong"), strict=True))


def register(verdicts: dict[str, str], fingerprint: str, wrong: str = "1784") -> None:
    """Register a version with answers and without weights."""
    rows: list[Row] = [
        {
            "id": name,
            "split": "test",
            "question": f"Question {name}?",
            "accepted": ["1783"],
            "answer": wrong if verdict == "wrong" else verdict,
            "verdict": verdict,
        }
        for name, verdict in verdicts.items()
    ]
    artifacts.write_rows(Path("answers.jsonl"), [*rows, *({**row, "split": "validation"} for row in rows[:1])])
    store = tracking_store.client()
    with tracking.started("evaluate@sft", {}) as run:
        run.artifact(Path("answers.jsonl"))
    if not store.search_registered_models():
        store.create_registered_model(registry.NAME)
    tags = {registry.FINGERPRINT: fingerprint, f"{registry.ANSWERS}{fingerprint}": run.id}
    store.create_model_version(registry.NAME, f"runs:/{run.id}/model", tags=tags)


def printed(before: int, after: int, shown: int | None) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        diff(console, before, after, shown)
    return captured.get()


@pytest.mark.usefixtures("project")
def test_changed_questions_are_listed_by_kind_of_change() -> None:
    register(BEFORE, "one")
    register(AFTER, "one", wrong="1785")
    text = printed(1, 2, 1)
    assert "Version 1 → version 2, 7 test questions" in text
    titles = ("Learnt: 2", "Lost: 1", "Newly hallucinated: 2", "No longer hallucinated: 3")
    assert all(title in text for title in (*titles, "Still wrong, with another answer: 1"))
    assert "Question a1? [1783]\n    before: 1784 (wrong)\n    after:  correct (correct)" in text
    assert "and 1 more; --all shows them" in text and "Question a6?" not in text
    assert "Question a6?" in printed(1, 2, None)


@pytest.mark.usefixtures("project")
def test_versions_with_different_evaluations_are_not_compared() -> None:
    register(BEFORE, "one")
    register(AFTER, "two")
    with pytest.raises(UserError, match=r"not evaluated on the same questions .* `gradus promote --version 2`"):
        printed(1, 2, None)
