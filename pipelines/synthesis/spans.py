"""Answer spans: the parts of a sentence that questions are generated for.

Rules, not a model: names, numbers, dates, and clauses of cause, purpose, time and condition. Every span is verbatim in
its sentence, so every answer has its evidence.
"""

import re

from pipelines.text.names import CAPITALISED, NAME_LINK, begins_sentence
from pipelines.text.quantities import UNIT_FORMS

_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_LINK = (
    "a|after|against|afterwards|ago|all|always|an|and|as|at|because|before|but|by|does|each|every|for|from|had|has|have|he|her|his|if|in|is|it|its|of|on|onwards|or|perhaps|she|"
    "so|than|that|the|their|then|there|they|this|though|to|towards|under|until|was|we|were|when|where|which|while|who|with|you"
)
_WORD = rf"(?!(?:{_LINK})\b)(?!{CAPITALISED})[^\W\d_]+"
_SCALE = "hundred|thousand|million|billion|dozen"
_FORMS = "|".join(sorted(UNIT_FORMS, key=len, reverse=True))
_MEASURE = rf"(?:%|°C|[ap]\.?m\b|(?:per\scent|percent|o['’]clock|bar|{_FORMS})\b)"
_PLURAL = rf"(?:[^\W\d_]*(?:people|men|children|feet|teeth|sheep|fish|deer|cattle)\b|{_WORD}(?<=[^s]s)\b)"
_RATE = rf"(?:\s(?:per|an?)\s{_WORD})"
_UNIT = rf"(?:(?:\s?{_MEASURE}|\s(?:{_WORD}\s)?{_PLURAL})(?:{_RATE}|\sof\s{_WORD})?)?"
_DIGITS = r"\d(?:[\d,.:]*\d)?"
_YEAR = rf"(?:1[5-9]|20)\d\d\b(?![.,:]\d|\s?{_MEASURE})"  # takes no unit: "In 2019 sales rose"
_REFERENCE = (
    "Act|Annex|Appendix|Article|Building|Chapter|Clause|Figure|Form|Item|Level|Lot|Number|Page|Paragraph|Part|Plot|Room|Rule|"
    "Schedule|Section|Stage|Step|Table|Unit|Version|Ward|Zone"
)  # before a number that takes no unit: "Section 11 applies"
_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|"
    "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|dozen|half"
)
_NAME = rf"{CAPITALISED}(?:{NAME_LINK}{CAPITALISED})*"
_OPENING = re.compile(
    r"^(?:The|A|An|In|On|At|It|He|She|They|We|I|This|That|These|Those|But|And|When|If|After|Before|For|From|With|By|No|There|Its|His|Her|"
    r"Their|Our|As|To|So|Not|All|Some|Each|Every|Any|Only|One|Until|Since|While|What|Who|Why|How|Where|Once|Then|Here|Two|Three)\b\s*"
)

KINDS: dict[str, re.Pattern[str]] = {
    "date": re.compile(
        rf"\b(?:(?:\d{{1,2}}\s)?(?:{_MONTH})(?:\s\d{{1,2}})?(?:,?\s\d{{4}})?|(?:1[0-9]|20)\d\d)\b|\d{{4}}年(?:\d+月(?:\d+日)?)?"
    ),
    "number": re.compile(
        rf"[£$€¥₹]\s?{_DIGITS}(?:\s(?:{_SCALE})\b)?{_RATE}?|\b(?:{_REFERENCE})\s({_DIGITS})|\b{_YEAR}"
        rf"|\b{_DIGITS}(?:\s(?:{_SCALE})\b)?{_UNIT}|\b(?:{_WORDS})(?:[-\s](?:{_WORDS}))*\b{_UNIT}"
        r"|\d[\d,.]*[一-鿿]{1,2}",
    ),
    "name": re.compile(rf"{_NAME}|[「《“][^」》”,.?!，。？！…]{{2,20}}[」》”]"),
    "cause": re.compile(
        r"\b(?:because|owing to|due to|on account of|caused by|results? from|the result of)\s((?!of\b)[^,;.:]{8,80})"
        r"|因为([^，。；]{3,30})"
    ),
    "purpose": re.compile(
        r"\b(?:so that|in order to|to (?:keep|stop|prevent|avoid|allow|let|make|save|protect|show|hold))\s[^,;.]{6,70}"
    ),
    "condition": re.compile(r"\b(?:before|after|until|unless|whenever|only when|only if|if)\s[^,;.]{8,60}"),
    "definition": re.compile(
        r"\b(?:called|known as|termed|named|defined as|means|is meant|consists? (?:of|in)|must(?: not)?|may not)\s"
        r"((?:the|a|an)?\s?[a-z][^,;.:]{6,70})"
        r"|^(?!(?:It|He|She|They|This|That|There|These|Those|What|Here)\b)[^,;:]{4,50}\s(?:is|are)\s(an?\s[^,;.:]{8,70})"
        r"|是([^，。；]{2,30})"
    ),
}
_ATOMS = ("date", "number", "name")
_ORDER = ("name", "date", "number", "cause", "purpose", "condition", "definition")


def propose(sentence: str, most: int, max_words: int) -> list[tuple[str, str]]:
    """Return up to `most` pairs (span, kind) of at most `max_words` words: kinds alternate, none contains another."""
    found: dict[str, list[str]] = {kind: _matches(sentence, kind, max_words) for kind in _ORDER}
    atoms = {span for kind in _ATOMS for span in found[kind]}
    for kind in _ATOMS:  # inside "4 May 1742", "May" is no name and "1742" no number
        found[kind] = [span for span in found[kind] if not any(span in other and span != other for other in atoms)]
    chosen: list[tuple[str, str]] = []
    while len(chosen) < most and any(found.values()):
        for kind in _ORDER:
            while found[kind]:
                span = found[kind].pop(0)
                if not any(span in taken or taken in span for taken, _ in chosen):
                    chosen.append((span, kind))
                    break
    return chosen[:most]


def _matches(sentence: str, kind: str, max_words: int) -> list[str]:
    spans = []
    for match in KINDS[kind].finditer(sentence):
        span = next((group for group in match.groups() if group), match.group())
        if kind == "name":
            span = _OPENING.sub("", span) if begins_sentence(sentence, match.start()) else span
        span = span.strip(" ,;:.-'\"")
        if len(span) > 1 and len(span.split()) <= max_words:
            spans.append(span)
    return spans
