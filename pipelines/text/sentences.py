"""Rule-based sentence segmentation, for scripts with and without spaces between sentences."""

import re

CLOSING_MARKS = "\"'”“’‘»«›‹)]』」）"
"""Quotation marks and brackets after the final punctuation of a sentence; directly after it, any quote is closing."""
_CLOSING = re.escape(CLOSING_MARKS)
_OPENING = r"\"'“”„‘’‚«»‹›(\[¿¡"
GERMAN_MONTH = "(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)"
_END = re.compile(
    rf"[.!?…।؟](?!(?<=\d\.)(?<!\d\d\d\.)\s{GERMAN_MONTH}\b)"  # am 3. Oktober 2020
    rf"(?:\[\d+\]|[{_CLOSING}])*(?:\s[»›](?=\s))?(?P<gap>\s+)(?=[{_OPENING}]*\s?(?P<next>[^\W_]|[£$€¥₹]))"
    rf"|[。！？]+[”’」』）》]*(?P<wide_gap>\s*)(?=\S)"
)
_ABBREVIATION = re.compile(
    r"\b(?:Mrs?|Ms|Mmes?|Mlles?|Drs?|Ste?|Prof|Capt|Col|Maj|Gen|Lt|Sgt|Rev|Hon|Gov|Sen|Sr|Jr|Mt|vs|etc|viz|et al|"
    r"[Cc]f|[Cc]a|[Aa]pprox|[Vv]gl|[Bb]zw|e\.g|i\.e|"
    r"(?<!°)[A-Z]|(?<!\d\s)(?<!\b[ap]\.)[^\W\d_A-Z])\.$"  # an initial, but not a unit (5 m.), nor a.m. and p.m.
)
_BEFORE_NUMBER = re.compile(
    r"\b(?:Nos?|nos|Nr|[Vv]ols?|[Ff]igs?|[Cc]hap|[Ss]ec|[Pp]aras?|pp|Arts?|Ch|Eqs?|Tab|Abs|Bd|"
    r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.$"
)
_LONGEST_ABBREVIATION = 10  # characters; a window, so that a line of many initials is segmented in linear time
_NUMBER_AND_HEAD = re.compile(
    r"[\W_]*(?:\d{1,3}(?:\.\d{1,3})*|[ivxIVX]{1,5})\.(?:\s[^\W\d_][\w'’-]*(?:\s[\w'’-]+)?\.)?"
)


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each sentence, with its closing quotation marks, brackets and footnote marks.

    A line break also ends a sentence. An abbreviation does not, nor the day of a German date, nor does the number of a
    list item or a clause, alone or with a run-in head of one or two words: `1. Term. The tenancy begins on 1 June.` is
    one sentence.
    """
    spans: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]+", text):
        start = line.start()
        for mark in _END.finditer(text, line.start(), line.end()):
            following = mark["next"]
            if following and (following.islower() or _continues(text, start, mark.start() + 1, following)):
                continue
            spans.append((start, mark.start("gap" if following else "wide_gap")))
            start = mark.end()
        spans.append((start, line.end()))
    return [(start, end) for start, end in spans if text[start:end].strip()]


def _continues(text: str, start: int, end: int, following: str) -> bool:
    """Return whether the sentence from `start` goes on after the full stop before `end`, with `following`."""
    first = max(start, end - _LONGEST_ABBREVIATION)
    return (
        _ABBREVIATION.search(text, first, end) is not None
        or (following.isdigit() and _BEFORE_NUMBER.search(text, first, end) is not None)
        or _NUMBER_AND_HEAD.fullmatch(text, start, end) is not None
    )
