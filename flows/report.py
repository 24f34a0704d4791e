"""What a run ends with on the terminal: the comparison of all models, the verdict, and what to do next."""

from rich.console import Console

from flows.promote import Promotion
from pipelines import registry
from pipelines.evaluation.report import terminal_table


def show(console: Console, promotion: Promotion) -> None:
    """Print the table, whether the candidate was promoted and why not, and two hints."""
    console.print(terminal_table(promotion.comparison))
    name = f"{promotion.candidate} (version {promotion.version} of {registry.NAME})"
    if promotion.promoted:
        console.print(f"[green]{name} is champion.[/]")
    else:
        console.print(f"[yellow]{name} is not promoted:[/]", end=" ")
        console.print(promotion.reason, markup=False, highlight=False)
    console.print(
        'Look closer with `gradus ui`; ask it something with `gradus ask "…"`.', markup=False, highlight=False
    )
