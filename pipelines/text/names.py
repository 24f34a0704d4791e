"""Detection of names: capitalised words of a corpus that do not merely begin a sentence."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"(?<![.?!]\s)(?<!^)\b[A-Z][a-z]+(?:\s(?:of\s(?:the\s)?)?[A-Z][a-z]+)*")
_SMALL = re.compile(r"\b[a-z]+\b")


@dataclass(frozen=True)
class Names:
    """Counts of names within sentences, and the words that also occur in lower case."""

    mentions: Counter[str]
    common: frozenset[str]

    @classmethod
    def of(cls, sentences: Sequence[str]) -> "Names":
        """Collect the names and lower-case words of sentences."""
        small = frozenset(word for text in sentences for word in _SMALL.findall(text))
        return cls(count_names(sentences), small)

    def has(self, span: str, sentence: str) -> bool:
        """Return whether the capitalised `span` of `sentence` is a name."""
        first = sentence.startswith(span) and " " not in span
        return span.casefold() not in self.common and (not first or self.mentions[span] > 0)


def count_names(texts: Sequence[str]) -> Counter[str]:
    """Count the capitalised names that do not begin a sentence."""
    return Counter(match.group() for text in texts for match in _NAME.finditer(text))
