"""Clean: mend, strip and drop. Every edit and every drop is counted by its reason.

Reads artifacts/ingest; writes artifacts/clean/{documents/, drops.jsonl, edits.jsonl}.
Alone: python -m tasks.clean
"""

from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.clean import character_distribution, passes
from pipelines.data.clean.boilerplate import Lines, repeated_lines
from pipelines.data.clean.character_distribution import Reference
from pipelines.data.clean.passes import Rules
from pipelines.data.clean.quality import RULES
from pipelines.data.config import CleanConfig
from pipelines.data.executor import Executor
from pipelines.runtime.errors import UserError
from tasks import task

DROPS = (*dict.fromkeys(rule.reason for rule in RULES), "language", "token_distribution", "judged", "pii_action")
EDITS = (
    *("unicode", "wrapped_line", "emphasis", "space", "repeated_line"),
    *("javascript_line", "policy_line", "unpunctuated_line", "few_words_line"),
    *("email", "phone", "ip", "card", "iban", "national_id"),
)


class Journal:
    """Writes what was done to which document, as rows, and counts it by reason."""

    def __init__(self, path: Path) -> None:
        """Begin an empty one at `path`."""
        self.counts: Counter[str] = Counter()
        self.path = path
        path.touch()

    def note(self, rows: list[artifacts.Row]) -> None:
        """Add rows; one counts its places, or itself."""
        for row in rows:
            self.counts[row["reason"]] += row.get("count", 1)
        artifacts.add_rows(self.path, rows)


def clean(source: Path, out: Path, config: CleanConfig, runner: Executor) -> dict[str, float]:
    """Clean the documents of `source`; returns counts by reason.

    Raises:
        UserError: nothing is left.
    """
    passes.load_custom_filter(config.custom_filter)
    table = out / "documents"
    table.mkdir(exist_ok=True)
    edits, drops = Journal(out / "edits.jsonl"), Journal(out / "drops.jsonl")
    with TemporaryDirectory(dir=out) as scratch:
        lines = _mend(source / "documents", Path(scratch), runner, edits)
        boilerplate = repeated_lines(lines, config.max_line_documents)
        shards = documents.shards(Path(scratch))
        marked = list(zip(shards, (each.affected(boilerplate) for each in lines), strict=True))
        reference = _reference(shards, boilerplate, runner)
        judge = partial(
            passes.filter_shard, table=table, boilerplate=boilerplate, reference=reference, rules=_rules(config)
        )
        kept, characters = 0, 0
        for judged in runner.over(judge, marked, "judging"):
            kept, characters = kept + judged.documents, characters + judged.characters
            edits.note(judged.edits)
            drops.note(judged.drops)
    if not kept:
        reasons = ", ".join(f"{reason} {count}" for reason, count in drops.counts.items())
        raise UserError(f"clean drops all the documents ({reasons}); loosen its limits in params.yaml.")
    return {
        "documents": kept,
        "dropped": drops.counts.total(),
        "characters": characters,
        **{f"dropped_{reason}": drops.counts[reason] for reason in DROPS},
        **{f"edited_{reason}": edits.counts[reason] for reason in EDITS},
    }


def _mend(source: Path, table: Path, runner: Executor, edits: Journal) -> list[Lines]:
    found = []
    for mended in runner.over(partial(passes.normalize_shard, table=table), documents.shards(source), "mending"):
        edits.note(mended.edits)
        found.append(mended.lines)
    return found


def _reference(shards: list[Path], boilerplate: frozenset[int], runner: Executor) -> Reference:
    share = passes.SAMPLE / len(documents.columns(shards, ["id"]))
    usual = partial(passes.usual, boilerplate=boilerplate, share=share)
    found = runner.over(usual, shards, "sampling", few=len(shards))
    return character_distribution.reference([letters for each in found for letters in each])


def _rules(config: CleanConfig) -> Rules:
    limits = {name: limit for name, limit in config.quality.model_dump().items() if limit is not None}
    return Rules(
        languages=config.languages,
        quality=limits,
        c4_lines=config.c4_lines,
        max_kl=config.max_kl,
        pii_action=config.pii_action,
        pii_types=config.pii_types,
        custom_filter=config.custom_filter,
    )


if __name__ == "__main__":
    with task("clean") as t:
        t.finish(clean(t.input("ingest"), t.out, t.config.clean, Executor(**t.config.data.model_dump())))
