"""What a run ends with on the terminal: the comparison of all models, the verdict, and what to do next."""

from rich.console import Console

from flows.promotion.promote import Promotion
from pipelines.evaluation.report import terminal_table
from pipelines.models import registry
from pipelines.models.registry import Version


def show(console: Console, promotion: Promotion) -> None:
    """Print the table, whether the candidate is champion and why not, and what can be done next."""
    console.print(terminal_table(promotion.comparison))
    name = f"{promotion.candidate} (version {promotion.version} of {registry.NAME})"
    if promotion.promoted:
        console.print(f"[green]{name} is champion.[/]")
        if promotion.reason:
            console.print(f"It was made champion by force: {promotion.reason}", markup=False, highlight=False)
    else:
        console.print(f"[yellow]{name} is not promoted:[/]", end=" ")
        console.print(promotion.reason, markup=False, highlight=False)
    for line in hints(promotion, registry.version_with_alias(registry.CHAMPION)):
        console.print(line, markup=False, highlight=False)


def hints(promotion: Promotion, champion: Version | None) -> list[str]:
    """Return what can be done next, and which commands work now."""
    look = "Look closer with `gradus ui`"
    if promotion.promoted:
        return [f'{look}; ask it something with `gradus ask "…"`, or talk with it: `gradus chat`.']
    number = promotion.version
    asked = (
        f'asks it, for there is no champion yet; `gradus promote --version {number} --force "REASON"` makes it champion'
        if champion is None
        else f"asks the champion, version {champion.number}; with `--version {number}` it asks this one"
    )
    return [f'{look}. `gradus ask "…"` {asked}.']
