"""Language identification without downloaded models.

resiliparse is 50 times as fast as py3langid, and reliable when it is confident of a language without close relatives;
all other texts are classified by py3langid.
"""

import re

import py3langid
from resiliparse.parse.lang import detect_fast

_FOREIGN = re.compile(r"[!-~]*(?:://|@|www\.)[!-~]*|\d+")  # addresses and numbers carry no language signal
_CHINESE = frozenset({"wuu", "yue"})  # Wu and Cantonese, confused with each other in short texts
_HAN, _KANA = re.compile("[\u3400-\u9fff]"), re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_APART = frozenset({"en", "de", "fr"})
_SURE = 450  # resiliparse's distance: below 300 for pages in the language, above 500 in related languages
_ENOUGH = 1000  # characters


def identify(text: str) -> str:
    """Return the ISO 639-1 code of the text's language; `zxx` when it has none."""
    guess, distance = detect_fast(text)
    if guess in _APART and distance < _SURE:
        return str(guess)
    words = " ".join(_FOREIGN.sub(" ", text[: 2 * _ENOUGH]).split())[:_ENOUGH]
    if 2 * len(_HAN.findall(words)) > len(words):
        return "ja" if _KANA.search(words) else "zh"
    language: str = py3langid.classify(words)[0]
    return "zh" if language in _CHINESE else language
