"""C4 line rules (Raffel et al. 2020, arXiv 1910.10683, 2.2): remove policy notices, JavaScript hints and fragments."""

import re
from collections.abc import Callable, Collection

from pipelines.data.clean.normalize import Edit
from pipelines.data.fences import without_empty_lines
from pipelines.text.words import word_count

_ENDS = tuple('.!?"”’。！？」』')
_MIN_WORDS = 5
_POLICY = re.compile(
    r"terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
    r"|隐私政策|使用条款|プライバシーポリシー|利用規約",
    re.IGNORECASE,
)


def _is_unpunctuated(line: str) -> bool:
    return not line.rstrip().endswith(_ENDS)


def _has_few_words(line: str) -> bool:
    return word_count(line) < _MIN_WORDS


_RULES: dict[str, Callable[[str], object]] = {
    "javascript": lambda line: "javascript" in line.lower(),
    "policy": _POLICY.search,
    "unpunctuated": _is_unpunctuated,
    "few_words": _has_few_words,
}


def is_sentence(line: str) -> bool:
    """Return whether a line ends a sentence and has at least five words."""
    return not _is_unpunctuated(line) and not _has_few_words(line)


def without_lines(text: str, rules: Collection[str]) -> tuple[str, list[Edit]]:
    """Remove the lines that match one of `rules`; empty lines are kept."""
    edits = []
    for name, matches in _RULES.items():
        if name in rules:
            lines = text.split("\n")
            removed = [line for line in lines if line.strip() and matches(line)]
            if removed:
                text = "\n".join(line for line in lines if not line.strip() or not matches(line))
                edits.append(Edit(f"{name}_line", len(removed), removed[0]))
    return without_empty_lines(text).strip() if edits else text, edits
