"""Detection of names: capitalised words of a corpus that do not merely begin a sentence."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_LETTERS = list(map(chr, range(0x2000)))  # Latin, Greek, Cyrillic, Armenian, Georgian
UPPER = "".join(filter(str.isupper, _LETTERS))
"""Upper-case letters for a character class; `re` has none of any script."""
_LOWER = "".join(filter(str.islower, _LETTERS))
CAPITALISED = rf"(?<!\w)[{UPPER}][\w'’-]+"
"""A capitalised word, also with a possessive, or an acronym: GitHub, O'Brien, Saint-Juéry, Ebrin's, NASA."""
NAME_LINK = r"\s(?:of\s(?:the\s)?|the\s|de\s|van\s|von\s)?"
"""What joins the words of a name."""
_REST = r"(?:\w|['’-](?!s\b)(?=\w))"
_PROPER = rf"(?<!\w)[{UPPER}](?={_REST}{{0,40}}[{_LOWER}]){_REST}+"  # no acronym, since headings may be in capitals
_BEGINNING = r"(?<!^)(?<!^\W)(?<!^\W\W)(?<![.?!]\s)(?<![.?!]\s\W)(?<![.?!]\W\s)"
_NAME = re.compile(rf"{_BEGINNING}{_PROPER}(?:{NAME_LINK}{_PROPER})*")
_SMALL = re.compile(rf"(?<!\w)[{_LOWER}]+(?!\w)")


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
        first = " " not in span and begins_sentence(sentence, sentence.find(span))
        return span.casefold() not in self.common and (not first or self.mentions[span] > 0)


def begins_sentence(sentence: str, at: int) -> bool:
    """Return whether no letter precedes position `at`."""
    return not any(map(str.isalpha, sentence[:at]))


def count_names(texts: Sequence[str]) -> Counter[str]:
    """Count the capitalised names that do not begin a sentence."""
    return Counter(match.group() for text in texts for match in _NAME.finditer(text))
