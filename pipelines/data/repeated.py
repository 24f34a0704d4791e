"""Boilerplate by Llama 3's rule (arXiv 2407.21783, 3.1.1): a line of many documents is nobody's."""

from collections import Counter
from collections.abc import Sequence

from pipelines.data.repair import Edit


def repeated_lines(texts: Sequence[str], most: int) -> set[str]:
    """Return the lines, in normal form, that are found in more than `most` of the texts.

    There the rule runs after deduplication, here before it. So a text that consists of repeated lines by more
    than half is a copy rather than a page with boilerplate, and is not counted: copying a document
    must not make boilerplate of it.
    """
    sizes = [{_key(line): len(line) for line in text.split("\n") if _counts(line)} for text in texts]
    suspects = _frequent(sizes, most)
    originals = [
        lines for lines in sizes if 2 * sum(lines[key] for key in lines.keys() & suspects) <= sum(lines.values())
    ]
    return _frequent(originals, most)


def without(text: str, repeated: set[str]) -> tuple[str, list[Edit]]:
    """Remove the lines that are `repeated`."""
    lines = text.split("\n")
    removed = [line for line in lines if _counts(line) and _key(line) in repeated]
    if not removed:
        return text, []
    kept = "\n".join(line for line in lines if not (_counts(line) and _key(line) in repeated))
    while "\n\n\n" in kept:
        kept = kept.replace("\n\n\n", "\n\n")
    return kept.strip(), [Edit("repeated_line", len(removed), removed[0])]


def _frequent(documents: Sequence[dict[str, int]], most: int) -> set[str]:
    counts = Counter(key for lines in documents for key in lines)
    return {key for key, count in counts.items() if count > most}


def _counts(line: str) -> bool:
    """Lines without a letter (rules, braces of code, rows of numbers) are left alone."""
    return any(character.isalpha() for character in line)


def _key(line: str) -> str:
    return " ".join(line.casefold().split())
