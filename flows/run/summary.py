"""Terminal summary of a run: comparison of all models, verdict and next steps."""

from rich.console import Console
from rich.text import Text

from flows.promotion.promote import Promotion
from flows.run.description import checks
from pipelines.evaluation.report.page import terminal_table
from pipelines.models.release import registry
from pipelines.models.release.registry import Version


def show(console: Console, promotion: Promotion) -> None:
    """Print the comparison, every check of the gate, the promotion decision with its reason, and the next steps."""
    console.print(terminal_table(promotion.comparison))
    for line in checks(promotion):
        console.print(line, markup=False, highlight=False)
    name = f"{promotion.candidate} (version {promotion.version} of {registry.NAME})"
    if promotion.promoted:
        console.print(f"{name} is champion.", style="green", highlight=False)
        if promotion.reason:
            console.print(f"The promotion was forced: {promotion.reason}", markup=False, highlight=False)
    elif reason := _beyond(promotion):
        console.print(Text.assemble((f"{name} is not promoted:", "yellow"), f" {reason}"))
    else:
        console.print(f"{name} is not promoted.", style="yellow", highlight=False)
    console.print(str(promotion.openings), markup=False, highlight=False)
    for line in hints(promotion, registry.version_with_alias(registry.CHAMPION)):
        console.print(line, markup=False, highlight=False)


def _beyond(promotion: Promotion) -> str:
    """Return the reason of the refusal without the checks, which are printed above it."""
    against = promotion.decision.get("against_champion") or {"checks": []}
    reason = promotion.reason
    for check in (*promotion.comparison["verdict"]["checks"], *against["checks"]):
        reason = reason.replace(check["detail"], "")
    return " ".join(reason.split())


def hints(promotion: Promotion, champion: Version | None) -> list[str]:
    """Return the next steps as commands that work in the present state."""
    inspect = "Inspect the run with `gradus ui`"
    if promotion.promoted:
        return [f'{inspect}; ask the model with `gradus ask "…"`, or chat with it: `gradus chat`.']
    number = promotion.version
    asked = (
        f'asks it while there is no champion; `gradus promote --version {number} --force "REASON"` makes it champion'
        if champion is None
        else f"asks the champion, version {champion.number}; add `--version {number}` to ask this one"
    )
    return [f'{inspect}. `gradus ask "…"` {asked}.']
