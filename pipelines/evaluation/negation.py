"""Negation scope: which words of an answer are negated, questioned, or retracted by the next sentence.

Scopes come from word lists (as in NegEx, Chapman et al. 2001), so that a verdict can be traced. A negation extends
forward to a turn ("but", "it was") and, as part of a predicate ("X was not"), back to its subject. A comma does not end
a scope: "It was not, as many think, Drace" denies Drace. "X, not Y" denies only Y.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from pipelines.text.normalize import MARKS


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


NEGATORS = _set("not no never nor neither none nobody nothing nowhere hardly scarcely")
_DENIALS = _set(
    "wrong wrongly incorrect incorrectly false falsely untrue mistaken mistakenly myth unlikely doubtful doubt denied "
    "denies ruled excluded disproved"
)
_HARMLESS = {
    "not": _set("only just merely simply surprisingly sure certain know until till unlike"),
    "no": _set("doubt less fewer later earlier sooner other"),
    "nothing": frozenset(["but"]),
    "none": frozenset(["other"]),
}
_EXCEPT = _set("unlike except excluding")
_EXCEPT_PAIRS = frozenset(
    f"{first} {second}"
    for second, firsts in {
        "but": "all any anybody anyone anything everybody everyone",
        "from": "apart far",
        "of": "instead",
        "than": "other rather",
        "to": "opposed contrary",
    }.items()
    for first in firsts.split()
)
_EXCEPT_REACH = 6  # words that "unlike" excludes, including itself
_TURNS = _set("but however whereas yet maybe perhaps possibly probably until till 但 而")
_SUBORDINATE = _set("who which where when while because since although though after before as")
_SUBJECTS = _set("i it he she they we this that there")
_VERBS = _set("is was are were be been being has had have did does do will would can could may might must")
_NEAR = 3  # maximum words between a verb and its negation
_YES = _set("yes correct right indeed exactly 是 对 對")
_REJECTED = _set("not true right correct so case it him her me one")
_CHINESE = frozenset("不没沒非未无無")
_CHINESE_HARMLESS = _set(
    "不久 非常 不仅 不僅 不但 不只 不过 不過 未来 未來 不少 不断 不斷 非洲 不错 不錯 不同 不远 不遠"
)
_CHINESE_MARKS = MARKS | {"但", "而"}
_ENDS = frozenset(".!?;。\n")
_TITLES = _set("mr mrs ms dr st prof rev capt col gen lt sgt jr sr no")


def excused(question: Sequence[str], variants: Iterable[Sequence[str]]) -> frozenset[str]:
    """Return the words that negate nothing, and before which a negation is ignored, given the tokens of a question.

    "The bird that cannot fly" answers "Which bird cannot fly?", and "mistaken for the chapel" may be accepted. A
    Chinese negation is excused with the character after it: 谁不能进入 excuses 不能, but not 不是. In 能不能 (whether)
    nothing is negated.
    """
    near = {word for at, each in enumerate(question) if each in NEGATORS for word in question[at + 1 : at + 3]}
    around = zip(["", *question], question, question[1:], strict=False)
    near |= {token + after for before, token, after in around if token in _CHINESE and before != after}
    return frozenset(near | (_DENIALS & {word for words in (question, *variants) for word in words}))


def denied(marked: Sequence[str], excused: Collection[str]) -> list[bool]:
    """Return for each word among the `marked` tokens whether it is denied; `excused` words negate nothing.

    The words of a question are denied unless the next sentence says yes.
    """
    sentences = _sentences(marked)
    result: list[bool] = []
    for sentence, after in pairwise([*sentences, []]):
        confirmed = sentence[-1] == "?" and after[:1] and after[0] in _YES
        if (sentence[-1] == "?" and not confirmed) or _retracts_previous(after):
            states = [True] * len(sentence)
        else:
            states = _Scan(sentence, excused).states()
        result += [state for token, state in zip(sentence, states, strict=True) if token not in MARKS]
    return result


def _sentences(marked: Sequence[str]) -> list[list[str]]:
    sentences: list[list[str]] = [[]]
    for before, token in zip(["", *marked], marked, strict=False):
        sentences[-1].append(token)
        short = before in _TITLES or (len(before) == 1 and before.isalpha() and before.isascii())
        if token in _ENDS and not (token == "." and short):
            sentences.append([])
    return [sentence for sentence in sentences if any(token not in MARKS for token in sentence)]


def _retracts_previous(sentence: Sequence[str]) -> bool:
    """Return whether a sentence denies the previous one: "No.", "That is wrong.", "It was not."."""
    words = [token for token in sentence if token not in MARKS]
    if words[:1] and (words[0] in {"no", "nope", "不", "错", "錯"} or words[0] in _DENIALS):
        return len(words) == 1 or sentence[1] in MARKS or words[1] in _SUBJECTS
    if "not" in words[:2] and (words[-1] == "not" or words[1] in _REJECTED):
        return True
    if len(words) < 3 or words[0] not in {*_SUBJECTS, "which"} or words[1] not in _VERBS:
        return False
    denial = any(word in _DENIALS for word in words[2:6])
    if "not" not in words[2:5]:
        return denial
    set_off = list(sentence[sentence.index("not") + 1 :][:2])
    return denial or words[-1] in _REJECTED or (set_off[1:] == [","] and set_off[0] in _REJECTED)


class _Scan:
    """One pass over a sentence that marks the words in the scope of a negation."""

    def __init__(self, sentence: Sequence[str], excused: Collection[str]) -> None:
        self.sentence, self.excused = sentence, excused
        self.reached = [False] * len(sentence)
        self.negated = {"main": False, "inner": False}  # whether a negation is open in either clause
        self.begins = {"main": 0, "inner": 0}
        self.clause = "main"

    def states(self) -> list[bool]:
        """Return for each token whether it is denied."""
        for at, token in enumerate(self.sentence):
            self._enter(at, token)
            if self._excepts(at):
                self._reach(at, self._until_mark(at, at + _EXCEPT_REACH))
            elif token in _CHINESE and not self._excused_in_chinese(at):
                self._reach(self._since_mark(at), self._until_mark(at, len(self.sentence)))
            elif self._negates(at):
                self.negated[self.clause] = token != "no" or self._next(at) not in MARKS
                if self._in_predicate(at):
                    self._reach(self.begins[self.clause], at)
            self.reached[at] |= self.negated["main"] or self.negated[self.clause]
        return self.reached

    def _enter(self, at: int, token: str) -> None:
        """Track the current clause: a subordinate clause ends at the next comma, and a turn ends both."""
        if token in MARKS and self.clause == "inner" and at > self.begins["inner"] + 1:
            self.clause = "main"
        elif self._turns(at):
            self.negated = {"main": False, "inner": False}
            self.begins["main"], self.clause = at, "main"
        elif token in _SUBORDINATE and self.clause == "main":
            self.clause, self.begins["inner"], self.negated["inner"] = "inner", at, False

    def _turns(self, at: int) -> bool:
        token, before, after = self.sentence[at], self._before(at), self._next(at)
        if token in _TURNS:
            return f"{before} {token}" not in _EXCEPT_PAIRS
        if token in {"and", "so", "then"}:
            return after in _VERBS | _SUBJECTS
        return before == "," and token in _SUBJECTS and after in _VERBS

    def _excepts(self, at: int) -> bool:
        pair = f"{self.sentence[at]} {self._next(at)}"
        return self.sentence[at] in _EXCEPT or (pair in _EXCEPT_PAIRS and self._before(at) not in NEGATORS)

    def _negates(self, at: int) -> bool:
        token, after = self.sentence[at], self.sentence[at + 1 : at + 3]
        if token in _DENIALS:
            return token not in self.excused and self._before(at) not in {*NEGATORS, "without", "beyond"}
        if token not in NEGATORS or self._next(at) in _HARMLESS.get(token, ()):
            return False
        return not any(word in self.excused for word in after)

    def _in_predicate(self, at: int) -> bool:
        """Return whether a negation applies to the words before it ("X was not"), unlike in a contrast ("X, not Y")."""
        near = [word for word in self.sentence[max(0, at - _NEAR) : at] if word not in MARKS]
        last = all(word in MARKS for word in self.sentence[at + 1 :])
        contrast = self._before(at) in {",", "and", "or"}
        return last or (not contrast and (self.sentence[at] == "never" or any(word in _VERBS for word in near)))

    def _excused_in_chinese(self, at: int) -> bool:
        pair = self.sentence[at] + self._next(at)
        return pair in _CHINESE_HARMLESS or pair in self.excused

    def _next(self, at: int) -> str:
        return self.sentence[at + 1] if at + 1 < len(self.sentence) else ""

    def _before(self, at: int) -> str:
        return self.sentence[at - 1] if at else ""

    def _since_mark(self, at: int) -> int:
        return next((back + 1 for back in range(at - 1, -1, -1) if self.sentence[back] in _CHINESE_MARKS), 0)

    def _until_mark(self, at: int, limit: int) -> int:
        end = min(limit, len(self.sentence))
        return next((index for index in range(at, end) if self.sentence[index] in _CHINESE_MARKS), end)

    def _reach(self, begin: int, end: int) -> None:
        self.reached[begin:end] = [True] * (end - begin)
