"""A dataset card: counts, yields, sources and licence of a set, in the form that the Hugging Face hub reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.artifacts import Row

TEMPLATE = Path(__file__).parent / "card.md.jinja"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class Split:
    """One file of a set."""

    name: str
    path: str
    rows: int


def card(
    set_: str,
    splits: Mapping[str, tuple[str, Sequence[Row]]],
    rejects: Sequence[Row],
    names: Mapping[str, str],
    *,
    form: str,
    license_: str,
    languages: Sequence[str],
    teachers: Sequence[str],
) -> str:
    """Return the card of the set made by the task `set_`; equal inputs give the same card.

    `splits` are files and rows by name; `names` are the documents by id.
    """
    rows = [row for _, part in splits.values() for row in part]
    sources = Counter(str(row["source"]) for row in rows if row.get("source"))
    facts: dict[str, Any] = {
        "set": set_,
        "title": {"curate": "Questions and answers", "preferences": "Preference pairs"}[set_],
        "form": form,
        "license": license_,
        "languages": list(languages),
        "teachers": list(teachers),
        "splits": [Split(name, path, len(part)) for name, (path, part) in splits.items()],
        "size": next((words for most, words in _SIZES if len(rows) < most), "n>1M"),
        "kinds": sorted(Counter(str(row.get("kind") or "unknown") for row in rows).items()),
        "rejects": Counter(row["reason"] for row in rejects).most_common(),
        "sources": [(names.get(each, "unknown"), each[:12], count) for each, count in sources.most_common()],
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=False,  # Markdown, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE.name).render(facts)
