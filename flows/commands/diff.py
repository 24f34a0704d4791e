"""Which questions one version answers otherwise than another: what to read before a promotion. Standalone: gradus diff

Reads the answers of both versions in MLflow; writes nothing.
"""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from pipelines.artifacts import Row
from pipelines.models import registry
from pipelines.models.registry import Version
from pipelines.runtime.errors import UserError

Pair = tuple[Row, Row]


def diff(console: Console, before: int, after: int, shown: int | None) -> None:
    """Print the test questions that version `after` answers otherwise than `before`, up to `shown` of each change.

    Raises:
        UserError: a version does not exist, or the two were not evaluated on the same questions.
    """
    pairs = _pairs(registry.get(before), registry.get(after))
    console.print(f"Version {before} → version {after}, {len(pairs)} test questions", highlight=False)
    for title, changed in changes(pairs):
        console.print(Text(f"\n{title}: {len(changed)}", "bold"))
        for old, new in changed[:shown]:
            console.print(Text(f"  {new['question']}{_truth(new)}\n    before: {_said(old)}\n    after:  {_said(new)}"))
        if shown is not None and len(changed) > shown:
            console.print(Text(f"  … and {len(changed) - shown} more; --all shows them", "dim"))


def changes(pairs: list[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """Yield the questions whose verdict changed, by kind of change; each is in one."""
    yield "Learnt", [(old, new) for old, new in pairs if new["verdict"] == "correct" != old["verdict"]]
    yield "Lost", [(old, new) for old, new in pairs if old["verdict"] == "correct" != new["verdict"]]
    for title, verdicts in (
        ("Newly hallucinated", ("refused", "wrong")),
        ("No longer hallucinated", ("wrong", "refused")),
    ):
        yield title, [pair for pair in pairs if (pair[0]["verdict"], pair[1]["verdict"]) == verdicts]


def _pairs(before: Version, after: Version) -> list[Pair]:
    """Return both answers to every test question of an evaluation that both versions went through."""
    both = [tag for tag in after.tags if tag.startswith(registry.ANSWERS) and tag in before.tags]
    for tag in sorted(both, key=lambda tag: tag != f"{registry.ANSWERS}{after.tags.get(registry.FINGERPRINT)}"):
        one, other = (registry.answers(each, tag.removeprefix(registry.ANSWERS)) for each in (before, after))
        if one is not None and other is not None:
            return [pair for pair in zip(one, other, strict=True) if pair[0]["split"] == "test"]
    raise UserError(
        f"Versions {before.number} and {after.number} were not evaluated on the same questions in the same way; "
        f"`gradus promote --version {after.number}` evaluates it and the champion again."
    )


def _truth(row: Row) -> str:
    return f" [{row['accepted'][0]}]" if row["accepted"] else " [not in the documents]"


def _said(row: Row) -> str:
    return f"{row['answer'] or '(nothing)'} ({row['verdict']})"
