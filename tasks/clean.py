"""Clean: normalize text, remove boilerplate, mask PII and filter documents. Edits and drops are counted by reason.

Reads artifacts/ingest; writes artifacts/clean/{documents/, drops.jsonl, edits.jsonl}.
Standalone: python -m tasks.clean
"""

from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.clean import character_distribution, passes
from pipelines.data.clean.boilerplate import Lines, affected, repeated_lines
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
    """Writes edits or drops as rows and counts them by reason."""

    def __init__(self, path: Path) -> None:
        """Create an empty journal at `path`."""
        self.counts: Counter[str] = Counter()
        self.path = path
        path.touch()

    def note(self, rows: list[artifacts.Row]) -> None:
        """Append rows; a row adds its `count`, or 1."""
        for row in rows:
            self.counts[row["reason"]] += row.get("count", 1)
        artifacts.add_rows(self.path, rows)


def clean(source: Path, out: Path, config: CleanConfig, runner: Executor) -> dict[str, float]:
    """Clean the documents of `source`; return counts by reason.

    Raises:
        UserError: every document is dropped.
    """
    passes.load_custom_filter(config.custom_filter)
    table = out / "documents"
    table.mkdir(exist_ok=True)
    edits, drops = Journal(out / "edits.jsonl"), Journal(out / "drops.jsonl")
    with TemporaryDirectory(dir=out) as scratch:
        lines = _normalize(source / "documents", Path(scratch), runner, edits)
        boilerplate = repeated_lines(lines, config.max_line_documents)
        shards = documents.shards(Path(scratch))
        marked = list(zip(shards, affected(lines, boilerplate), strict=True))
        reference = _reference(shards, boilerplate, runner)
        apply_filters = partial(
            passes.filter_shard, table=table, boilerplate=boilerplate, reference=reference, rules=_rules(config)
        )
        kept, characters = 0, 0
        for filtered in runner.over(apply_filters, marked, "filtering"):
            kept, characters = kept + filtered.documents, characters + filtered.characters
            edits.note(filtered.edits)
            drops.note(filtered.drops)
    if not kept:
        reasons = ", ".join(f"{reason} {count}" for reason, count in drops.counts.items())
        raise UserError(f"clean drops all documents ({reasons}); relax its limits in params.yaml.")
    return {
        "documents": kept,
        "dropped": drops.counts.total(),
        "characters": characters,
        **{f"dropped_{reason}": drops.counts[reason] for reason in DROPS},
        **{f"edited_{reason}": edits.counts[reason] for reason in EDITS},
    }


def _normalize(source: Path, table: Path, runner: Executor, edits: Journal) -> list[Lines]:
    lines = []
    for normalized in runner.over(
        partial(passes.normalize_shard, table=table), documents.shards(source), "normalizing"
    ):
        edits.note(normalized.edits)
        lines.append(normalized.lines)
    return lines


def _reference(shards: list[Path], boilerplate: frozenset[int], runner: Executor) -> Reference:
    share = passes.SAMPLE_DOCUMENTS / len(documents.columns(shards, ["id"]))
    sample = partial(passes.sample_letters, boilerplate=boilerplate, share=share)
    counts = runner.over(sample, shards, "sampling", few=len(shards))
    return character_distribution.reference([letters for each in counts for letters in each])


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
