"""Which test questions one version answers otherwise than another. Reads the answers of both versions in MLflow."""

from collections.abc import Iterator

from pipelines.artifacts import Row
from pipelines.models.release import registry
from pipelines.models.release.registry import Version

Pair = tuple[Row, Row]
"""The rows of answers.jsonl of the earlier and of the later version, for one question."""


def changes(pairs: list[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """Yield the changed questions by kind of change; a correct answer that became wrong is lost and hallucinated."""
    verdicts = [(old["verdict"], new["verdict"]) for old, new in pairs]
    kinds = {
        "Learnt": [old != "correct" == new for old, new in verdicts],
        "Lost": [old == "correct" != new for old, new in verdicts],
        "Newly hallucinated": [old != "wrong" == new for old, new in verdicts],
        "No longer hallucinated": [old == "wrong" != new for old, new in verdicts],
        "Still wrong, with another answer": [
            old["verdict"] == new["verdict"] == "wrong" and old["answer"] != new["answer"] for old, new in pairs
        ],
    }
    for title, changed in kinds.items():
        yield title, [pair for pair, is_changed in zip(pairs, changed, strict=True) if is_changed]


def paired(before: Version, after: Version) -> list[Pair] | None:
    """Return both answers to every test question of an evaluation that both versions went through; None without one."""
    both = [tag for tag in after.tags if tag.startswith(registry.ANSWERS) and tag in before.tags]
    for tag in sorted(both, key=lambda tag: tag != f"{registry.ANSWERS}{after.tags.get(registry.FINGERPRINT)}"):
        one, other = (registry.answers(each, tag.removeprefix(registry.ANSWERS)) for each in (before, after))
        if one is not None and other is not None:
            return [pair for pair in zip(one, other, strict=True) if pair[0]["split"] == "test"]
    return None


def truth(row: Row) -> str:
    """Return the short accepted answer of a question, or that there is none."""
    return str(row["accepted"][0]) if row["accepted"] else "not in the documents"
