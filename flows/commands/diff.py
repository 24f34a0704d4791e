"""Which questions one version answers otherwise than another: what to read before a promotion. Standalone: gradus diff

Reads the answers of both versions in MLflow; writes nothing.
"""

from rich.console import Console
from rich.text import Text

from flows.promotion.changes import changes, paired, truth
from pipelines.artifacts import Row
from pipelines.models.release import registry
from pipelines.runtime.errors import UserError


def diff(console: Console, before: int, after: int, shown: int | None) -> None:
    """Print the test questions that version `after` answers otherwise than `before`, up to `shown` of each change.

    Raises:
        UserError: a version does not exist, or the two were not evaluated on the same questions.
    """
    pairs = paired(registry.get(before), registry.get(after))
    if pairs is None:
        raise UserError(
            f"Versions {before} and {after} were not evaluated on the same questions in the same way; "
            f"`gradus promote --version {after}` evaluates it and the champion again."
        )
    console.print(f"Version {before} → version {after}, {len(pairs)} test questions", highlight=False)
    for title, changed in changes(pairs):
        console.print(Text(f"\n{title}: {len(changed)}", "bold"))
        for old, new in changed[:shown]:
            console.print(
                Text(f"  {new['question']} [{truth(new)}]\n    before: {_said(old)}\n    after:  {_said(new)}")
            )
        if shown is not None and len(changed) > shown:
            console.print(Text(f"  … and {len(changed) - shown} more; --all shows them", "dim"))


def _said(row: Row) -> str:
    return f"{row['answer'] or '(nothing)'} ({row['verdict']})"
