"""Summary of the LLM calls to teacher models and their cost: `gradus calls`."""

from rich.console import Console
from rich.table import Table

from pipelines.llm.cache import PATH, ResponseCache, Use


def show(console: Console) -> None:
    """Print the cached calls by model and purpose, with totals."""
    if not PATH.exists():
        console.print("No LLM calls have been made yet.")
        return
    store = ResponseCache(PATH)
    uses = store.summary()
    store.close()
    table = Table("model", "purpose", box=None, header_style="bold")
    for heading in ("answers", "cache hits", "tokens in", "tokens out", "cost"):
        table.add_column(heading, justify="right")
    table.add_column("failures")
    for use in uses:
        table.add_row(use.model, use.what, *_numbers([use]), _failures(use))
    table.add_section()
    table.add_row("total", "", *_numbers(uses), "")
    console.print(table)
    answers, hits = sum(use.answers for use in uses), sum(use.hits for use in uses)
    asked = answers + hits
    console.print(
        f"{hits / asked if asked else 0:.0%} of {asked:,} answers came from {PATH} "
        f"({PATH.stat().st_size / 1e6:.1f} MB) instead of a new call.",
        highlight=False,
    )


def _numbers(uses: list[Use]) -> list[str]:
    answers, hits = sum(use.answers for use in uses), sum(use.hits for use in uses)
    tokens = sum(use.prompt_tokens for use in uses), sum(use.completion_tokens for use in uses)
    return [f"{count:,}" for count in (answers, hits, *tokens)] + [f"{sum(use.cost for use in uses):.2f}"]


def _failures(use: Use) -> str:
    return ", ".join(f"{times} {reason.replace('_', ' ')}" for reason, times in sorted(use.failures.items()))
