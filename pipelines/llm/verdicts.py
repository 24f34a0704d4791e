"""Parsing of a judge's verdict (a letter or a number) from its JSON, or else from assertions in its prose.

"Answer B is better", "Both are bad, but B" and "B, because A is invented" assert B. A letter that is only mentioned,
negated or conditional asserts nothing, nor does a number of the scale ("on a scale of 1 to 10, I give 9"). If two
verdicts are asserted, and neither is called final, there is no verdict: a missing verdict is better than a wrong one.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from pipelines.llm.calls import Reply
from pipelines.llm.prompts import Recipe

_NOUN = r"(?:answer|choice|option|letter|response|candidate|verdict|winner|judge?ment|decision|preference|conclusion)"
_X = r"(?<![A-Za-z0-9'])(?P<{}>(?-i:[ABC]))(?![A-Za-z0-9'])"
_DENIED = re.compile(
    r"n't\b|\b(?:not?|never|neither|nor|none|nobody|cannot|hardly|less|least|wors[et]|wrong|incorrect|false|bad|poor\w*|"
    r"invent\w*|reject\w*|los(?:es|ers?|ing)|fail\w*|weaker|inferior|doubt\w*|unlike\w*|anything|exclud\w*|eliminat\w*|"
    r"discard\w*|some|might|may|could|people|they|instead)\b|[不没非错差劣]",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|unless|although|though|while|except|would|could|might|at (?:least|most))\b|如果|虽然|若", re.I
)
_REASON = re.compile(r",? (?:because|since|given that|as it)\b.*|,? ?因为.*", re.IGNORECASE)
_FINAL = re.compile(r"\b(?:final|overall)\b|最终", re.IGNORECASE)
_LEADING = re.compile(
    r"(?:but|so|therefore|thus|hence|yes|okay|ok|sure|但是?|所以|因此)\b[, ]*|(?:但是?|所以|因此),? ?", re.I
)
_BARE = re.compile(rf"(?:the )?(?:{_NOUN} )?{_X.format('x')}(?: {_NOUN})?", re.IGNORECASE)
_HEADING = re.compile(
    rf"(?:(?:my|the|final|overall|best|better|correct|right|preferred|chosen|so|therefore|thus|hence|is)[ ,]*)*"
    rf"(?:{_NOUN}|result)?(?: is)?|which (?:{_NOUN} |one )?is (?:the )?(?:better|best)(?: {_NOUN}| one)?"
    rf"|最终|(?:最终)?(?:答案|选择|结论|字母)",
    re.IGNORECASE,
)
_ASSERTED = re.compile(
    rf"\b{_NOUN} (?:is|would be|goes to|must be) (?:the )?(?:{_NOUN} )?{_X.format('a')}$"
    rf"|\b(?:choose|chose|pick|select|prefer|favou?r|vote for|go with|going with|opt for|it is|it's) (?:the )?"
    rf"(?:{_NOUN} )?{_X.format('b')}(?: {_NOUN})?(?:$| (?:over|to|overall)\b)"
    rf"|{_X.format('c')} (?:is|seems|looks) (?:(?:clearly|much|far|slightly|still|the|a bit|obviously|definitely) )*"
    rf"(?:better|best|correct|right|true|preferable|superior|stronger|winner|preferred)(?: {_NOUN})?"
    rf"(?:$| (?:than|overall)\b)"
    rf"|{_X.format('d')} (?:clearly )?wins$"
    rf"|(?:选择?|答案[是为]|应选){_X.format('e')}$|{_X.format('f')}(?:更好|更优|更佳|较好|正确)$",
    re.IGNORECASE,
)

_MENTIONED = re.compile(_X.format("x"))
_CHOICE = 4  # words; from this length the text after a letter counts as the text of that choice

_SCALE = re.compile(
    r"\b1 ?(?:[a-z]+ )?(?:-|to|and|到|至|~) ?10\b|\b10[- ]point\b|/ ?10\b(?!\.?\d)"
    r"|\bout of (?:10|ten)\b|满分 ?(?:是|为)? ?10 ?分?",
    re.IGNORECASE,
)
_N = r"(?<![A-Za-z0-9_.,/%-])(?P<{}>\d+(?:\.\d+)?)(?![A-Za-z0-9_%]|[.,]\d| ?[-/] ?\d| ?%)"
_NUMBER = re.compile(_N.format("n"))
_SCORED = re.compile(
    r"(?:\b(?:score|rate|rated|rating|number|grade|mark|give|gave|deserves?|earns?|gets|verdict|choice)\b|[分评]数|评分|得分|打分?|给)"
    r"(?:[\s:=]|\b(?:is|of|it|as|this|that|the|answer|response|an?|at|be|score|rating|overall|final)\b|是|为|出)*"
    + _N.format("n")
    + r"(?= ?分|\W*$|[,:;]| (?:because|since|points?|marks?|overall|to (?:this|the))\b)",
    re.IGNORECASE,
)
_ALONE = re.compile(
    rf"\W*{_N.format('a')} ?(?:分|points?|marks?)?(?:\W*$|[,:;] |\n| because\b| since\b)"
    rf"|.*\b(?:(?:this|that|it)(?:'s| is| gets) an? |(?:so|therefore|hence),? (?:an? )?){_N.format('b')}\W*$",
    re.DOTALL | re.IGNORECASE,
)


def letter(recipe: Recipe, reply: Reply) -> str | None:
    """Return the judge's choice, A, B or C; None when its reply asserts none."""
    text = _plain(_verdict_text(recipe, reply))
    if len(text) == 1:
        return text.upper() if text.upper() in "ABC" else None
    return _agreed((each, sentence) for before, sentence in _sentences(text) for each in _chosen(before, sentence))


def number(recipe: Recipe, reply: Reply, lowest: float, highest: float) -> float | None:
    """Return the judge's score; None when its reply asserts none, or one outside of the scale."""
    text = _SCALE.sub(" ", _plain(_verdict_text(recipe, reply)))
    asserted = [(each, sentence) for _, sentence in _sentences(text) for each in _scores(sentence)]
    if not asserted and _ALONE.match(text) and not _CONDITION.search(text):
        asserted = [(each["n"], "") for each in _NUMBER.finditer(text)]
    score = _agreed(asserted)
    return float(score) if score is not None and lowest <= float(score) <= highest else None


def _verdict_text(recipe: Recipe, reply: Reply) -> str:
    """Return the choice in a reply's JSON, or the whole reply without JSON; "" when several choices conflict."""
    text = reply.text or ""
    choices = {str(fields["choice"]) for fields in recipe.answers(text) if fields} if recipe.fields else set()
    return text if not choices else choices.pop() if len(choices) == 1 else ""


def _plain(text: str) -> str:
    """Return text without markup, quotes and brackets, after NFKC, with dashes replaced by colons."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    text = re.sub(r"\\(?:boxed|text|mathbf)|<[^<>]*>|[*_`\"\u201c\u201d()\[\]{}#$]|(?<!\w)'|'(?!\w)", "", text)
    return re.sub(r"\s*:\s*|\s+[\u2014\u2013-]\s+|\s*\u2014\s*", ": ", text).strip()


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    """Yield every sentence or line, each with the preceding one: (preceding, sentence)."""
    before = ""
    for sentence in re.split(r"(?<=[;!?\n。])|(?<=\.)(?!\d)", text):
        if sentence.strip():
            yield before, sentence.strip()
            before = sentence.strip()


def _agreed(asserted: Iterable[tuple[str, str]]) -> str | None:
    """Return the verdict on which all sentences agree, or at least those that call it final."""
    pairs = list(asserted)
    for group in ({each for each, sentence in pairs if _FINAL.search(sentence)}, {each for each, _ in pairs}):
        if len(group) == 1:
            return group.pop()
    return None


def _chosen(before: str, sentence: str) -> Iterator[str]:
    """Yield the letters that a sentence asserts."""
    if sentence.endswith("?") or _CONDITION.search(sentence):
        return
    core = _REASON.sub("", sentence).strip(" .;!。,")
    if not before or before[-1] in ".!;。" or _HEADING.fullmatch(before.rstrip("?: ")):
        yield from _alone(core)
    for part in re.split(r"[:,] ?", core):
        part = _LEADING.sub("", part.strip())
        if not _DENIED.search(part):
            yield from (each for match in _ASSERTED.finditer(part) for each in match.groups() if each)


def _alone(core: str) -> Iterator[str]:
    """Yield stand-alone letters: a whole sentence, a label, after a heading, or after "but" or "so"."""
    head, colon, tail = (part.strip() for part in core.partition(":"))
    if colon and _HEADING.fullmatch(head):
        core = tail
    elif colon:
        label = _BARE.fullmatch(head)
        if label and not _MENTIONED.search(tail) and not (_DENIED.search(tail) and len(tail.split()) < _CHOICE):
            yield label["x"]
        return
    first, *rest = (part.strip() for part in core.split(","))
    bare, others = _BARE.fullmatch(_LEADING.sub("", first)), ", ".join(rest)
    if bare and bool(_MENTIONED.search(others)) == bool(_DENIED.search(others)):
        yield bare["x"]
    for part in rest:
        bare = _BARE.fullmatch(_LEADING.sub("", part))
        if bare and _LEADING.match(part):
            yield bare["x"]


def _scores(sentence: str) -> Iterator[str]:
    """Yield the numbers that a sentence asserts as scores, if it has no other number."""
    numbers = {match["n"] for match in _NUMBER.finditer(sentence)}
    for match in _SCORED.finditer(sentence):
        doubted = _DENIED.search(sentence[: match.start("n")]) or _CONDITION.search(sentence)
        if not doubted and len(numbers) == 1:
            yield match["n"]
