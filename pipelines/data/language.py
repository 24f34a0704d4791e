"""Which language a text is written in (py3langid, no model to download)."""

import re

import py3langid

_FOREIGN = re.compile(r"\S*(?:://|@|www\.)\S*|\d+")  # addresses and numbers are of no language
_CHINESE = frozenset({"wuu", "yue"})  # Shanghainese and Cantonese, taken for each other in short texts


def identify(text: str) -> str:
    """Return the ISO 639-1 code of the text's language; `zxx` is what has none."""
    language: str = py3langid.classify(" ".join(_FOREIGN.sub(" ", text).split()))[0]
    return "zh" if language in _CHINESE else language
