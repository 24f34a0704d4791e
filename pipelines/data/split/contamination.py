"""Decontamination by n-gram overlap of training documents with evaluation data (Brown et al. 2020, appendix C).

Leaked questions are cut from training documents, and text that training shares with held-out documents from the latter.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.data import documents
from pipelines.data.config import DecontaminateConfig
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from pipelines.data.split.overlaps import Index, Item, Overlap
from pipelines.runtime.errors import UserError
from pipelines.text.words import normalise

_MIN_QUESTION_WORDS = 6  # a shorter question cannot be distinguished from a common phrase
_FIELDS = ("question", "prompt", "instruction", "text")
SEPARATOR = "\n\n"


def items(folder: Path) -> list[Item]:
    """Return the evaluation items in a folder's JSONL files; the list is empty if they have no rows yet.

    Raises:
        UserError: no row has one of the known text fields.
    """
    found, rows = [], 0
    for path in sorted(folder.rglob("*.jsonl")):
        for number, row in enumerate(artifacts.each_row(path), 1):
            rows += 1
            text = next((row[name] for name in _FIELDS if isinstance(row.get(name), str)), None)
            if text:
                found.append(Item(str(row.get("id", number)), str(path), text))
    if rows and not found:
        raise UserError(f"{folder} has no .jsonl file with a {', '.join(_FIELDS[:-1])} or {_FIELDS[-1]} in its rows.")
    return found


def decontaminate(
    shards: Sequence[Path], ids: Mapping[str, Set[str]], config: DecontaminateConfig, runner: Executor
) -> tuple[list[artifacts.Row], dict[str, str]]:
    """Return the overlaps of training with evaluation and held-out text, and the texts changed by cuts, by id.

    `ids` are the documents of each split. Changed texts are those of training documents that contain an evaluation
    item, and of held-out documents that share `held_out_words` consecutive words with a training document.
    """
    rows: list[artifacts.Row] = []
    changed: dict[str, str] = {}
    evaluation = Index(items(config.against), config.words, _MIN_QUESTION_WORDS)
    for document, overlaps in _shared(shards, evaluation, ids["train"], runner):
        for overlap in _longest(overlaps):
            leak = leaks(overlap, config.share)
            rows.append(_row(evaluation, overlap, document, config.action if leak else "none"))
            if leak and config.action == "cut":
                changed[document.id] = without(document.text, evaluation, config.share)
    outside = ids["validation"] | ids["test"]
    held_out = [each for shard in shards for each in documents.read(shard) if each.id in outside]
    half = config.held_out_words // 2  # with this stride, every span of held_out_words contains an indexed n-gram
    index = Index([Item(each.id, each.source, each.text) for each in held_out], half, half, stride=half)
    repeated: dict[int, list[Overlap]] = defaultdict(list)
    for document, overlaps in _shared(shards, index, ids["train"], runner):
        for overlap in overlaps:
            if overlap.words >= config.held_out_words:
                rows.append(_row(index, overlap, document, config.action))
                repeated[overlap.item].append(overlap)
    if config.action == "cut":
        changed |= {held_out[item].id: uncovered(held_out[item].text, spans, half) for item, spans in repeated.items()}
    return rows, changed


def _shared(
    shards: Sequence[Path], index: Index, ids: Set[str], runner: Executor
) -> list[tuple[Document, list[Overlap]]]:
    search = partial(check, index=index, ids=frozenset(ids))
    return [found for each in runner.over(search, shards, "searching leaks", few=4) for found in each]


def check(shard: Path, index: Index, ids: Set[str]) -> list[tuple[Document, list[Overlap]]]:
    """Return the documents of a shard with those ids that share spans with the items, and the spans."""
    chosen = (document for document in documents.read(shard) if document.id in ids)
    return [(document, overlaps) for document in chosen if (overlaps := index.overlaps(document.text))]


def _longest(overlaps: Iterable[Overlap]) -> list[Overlap]:
    """Return the longest overlap of each item, in the order of the items."""
    longest: dict[int, Overlap] = {}
    for overlap in overlaps:
        if overlap.item not in longest or overlap.words > longest[overlap.item].words:
            longest[overlap.item] = overlap
    return [longest[item] for item in sorted(longest)]


def uncovered(text: str, overlaps: Iterable[Overlap], most: int) -> str:
    """Return a text without the paragraphs of which an overlap covers all words or at least `most`.

    Since any two neighbours that are kept share fewer than `most` words each with an overlap, no `2 * most` consecutive
    words of an overlap are kept. A paragraph whose first words merely continue the one before by chance is kept.
    """
    spans = [(overlap.at, overlap.at + overlap.words) for overlap in overlaps]
    kept, start = [], 0
    for part in text.split(SEPARATOR):
        size = len(normalise(part).split())
        end = start + size
        covered = max((min(end, last) - max(start, first) for first, last in spans), default=0)
        if not size or covered < min(size, most):
            kept.append(part)
        start = end
    return SEPARATOR.join(kept)


def without(text: str, index: Index, share: float) -> str:
    """Return a text without the paragraphs that leak an item."""
    kept = (part for part in text.split(SEPARATOR) if not any(leaks(each, share) for each in index.overlaps(part)))
    return SEPARATOR.join(kept)


def leaks(overlap: Overlap, share: float) -> bool:
    """Return whether an overlap covers at least `share` of the item or of the document."""
    return max(overlap.item_share, overlap.document_share) >= share


def _row(index: Index, overlap: Overlap, document: Document, action: str) -> dict[str, Any]:
    """Return an overlap as a row of contamination.jsonl."""
    item = index.items[overlap.item]
    return {
        "item": item.id,
        "item_source": item.source,
        "document": document.id,
        "source": document.source,
        "span": index.span(overlap),
        "item_share": round(overlap.item_share, 4),
        "document_share": round(overlap.document_share, 4),
        "action": action,
    }
