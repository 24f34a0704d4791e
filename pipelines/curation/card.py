"""Dataset cards for the Hugging Face hub: counts, filter yields, sources and licences of a data set."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.artifacts import Row

TEMPLATE = Path(__file__).parent / "card.md.jinja"
UNKNOWN = "unknown"
_SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
    10**8: "10M<n<100M",
    10**9: "100M<n<1B",
}
_UNFILTERED = {"keyword_query", "keyword_query_refusal", "rehearsal"}
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class Split:
    """One file of a data set."""

    name: str
    path: str
    rows: int


def card(
    set_: str,
    splits: Mapping[str, tuple[str, Sequence[Row]]],
    rejects: Sequence[Row],
    documents: Sequence[Row],
    *,
    form: str,
    license_: str,
    teachers: Sequence[str] = (),
    licenses: Mapping[str, str] | None = None,
    kept: Mapping[str, int] | None = None,
    parameters: Mapping[str, Any] | None = None,
    commit: str | None = None,
) -> str:
    """Return the card of the data set of the task `set_`; equal inputs give equal cards.

    `splits` are file names and rows by split name; `documents` the documents that rows may be about; `licenses` their
    licences by id, `license_` the licence of documents without one. `kept` counts the rows that passed the filters, by
    kind, before augmentation; with it the card states the share that each filter rejected. `parameters` are those of
    the task.
    """
    rows = [row for _, part in splits.values() for row in part]
    names = {document["id"]: document["source"] for document in documents}
    sources = Counter(str(row["source"]) for row in rows if row.get("source")).most_common()
    passed = {kind: count for kind, count in (kept or {}).items() if kind not in _UNFILTERED}
    failed = Counter(row["reason"] for row in rejects)
    facts: dict[str, Any] = {
        "set": set_,
        "title": {"curate": "Questions and answers", "pairs": "Preference pairs"}[set_],
        "form": form,
        "license": " ".join(license_.split()),
        "teachers": list(teachers),
        "splits": [Split(name, path, len(part)) for name, (path, part) in splits.items()],
        "kinds": sorted(Counter(str(row.get("kind") or UNKNOWN) for row in rows).items()),
        "passed": sorted(passed.items()),
        "rejects": failed.most_common(),
        "met": sum(passed.values()) + failed.total(),
        "sources": [(_cell(names.get(id_, UNKNOWN)), id_[:12], count) for id_, count in sources],
        "licenses": [_cell((licenses or {}).get(id_, license_)) for id_, _ in sources],
        "without_source": sum(not row.get("source") for row in rows),
        "parameters": yaml.safe_dump(dict(parameters), allow_unicode=True).strip() if parameters else "",
        "commit": commit,
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=False,  # Markdown, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    languages = {document["language"] for document in documents}
    front = yaml.safe_dump(_front(facts, languages), allow_unicode=True, sort_keys=False)
    return f"---\n{front}---\n\n" + environment.get_template(TEMPLATE.name).render(facts)


def _front(facts: Mapping[str, Any], languages: Set[str | None]) -> dict[str, Any]:
    """Return the YAML front matter, with the files for `datasets`."""
    known = sorted(language for language in languages if language and language != UNKNOWN)
    rows = sum(split.rows for split in facts["splits"])
    files = [{"split": split.name, "path": split.path} for split in facts["splits"]]
    return {
        **({"language": known} if known else {}),
        **_license(facts["license"]),
        "task_categories": ["text-generation" if facts["set"] == "curate" else "reinforcement-learning"],
        "size_categories": [next((words for most, words in _SIZES.items() if rows < most), "1B<n<10B")],
        "configs": [{"config_name": "default", "data_files": files}],
    }


def _license(stated: str) -> dict[str, str]:
    """Return the licence in the hub's format: a short name, or "other" with `license_name`."""
    short = stated.lower()
    return {"license": short} if _LICENSE.fullmatch(short) else {"license": "other", "license_name": stated}


def _cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
