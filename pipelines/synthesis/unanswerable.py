"""Unanswerable questions, so that a model learns to refuse what it does not know.

Sources: hand-written out-of-domain questions; entity swaps in kept questions, with a name that is not in the corpus, or
with another name of the corpus, where a reader must find no answer; questions that a teacher wrote as unanswerable.
"""

import heapq
import random
import re
from collections import defaultdict
from collections.abc import Sequence

from pipelines.artifacts import Row
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.planner import Passage
from pipelines.synthesis.validate import Validator
from pipelines.text.names import CAPITALISED, count_names

_CAPITALS = re.compile(rf"{CAPITALISED}(?:\s{CAPITALISED})*")
_WORD = re.compile(r"[^\W_]+")
_COMMON_WINDOWS, _COMMON_SHARE = 100, 0.1  # windows, and their share, above which a word counts as common
_CLOSEST = 2  # windows that the reader searches for an answer to each question


def generate(
    validator: Validator | None,
    *,
    answered: Sequence[str],
    passages: Sequence[Passage],
    written: Sequence[Candidate],
    out_of_domain: Sequence[str],
    other_domains: Sequence[str],
    most: int,
    seed: int,
) -> tuple[list[Row], int]:
    """Return questions that the corpus cannot answer, and how many were dropped because it can.

    `answered` questions get a name from the `out_of_domain` questions (kind `out_of_domain_entity`) or another name of
    the corpus (`swapped_entity`), at most `most` of each; questions of `other_domains` get a name of the corpus
    (`in_domain_entity`). `written` questions are a teacher's (`near_miss`). The validator's reader checks all kinds but
    the first against the closest windows of `passages`; without a reader there is only the first kind, and twice as
    many.
    """
    rng = random.Random(seed)
    foreign_names = sorted(count_names(out_of_domain))
    shuffled = rng.sample(list(answered), len(answered))[: 2 * most]
    if validator is None:
        return _swapped(shuffled, foreign_names, "out_of_domain_entity", rng), 0
    local_names = sorted(count_names([each.text for passage in passages for each in passage.window.sentences]))
    unchecked = _swapped(shuffled[::2], local_names, "swapped_entity", rng)
    others = rng.sample(list(other_domains), min(len(other_domains), 2 * most))
    unchecked += _swapped(others, local_names, "in_domain_entity", rng)
    unchecked += [{"question": each.question, "kind": "near_miss", "from": each.window} for each in written]
    kept = _unanswered(validator, unchecked, [passage.window.text for passage in passages])
    swapped = _swapped(shuffled[1::2], foreign_names, "out_of_domain_entity", rng)
    return kept + swapped, len(unchecked) - len(kept)


def swap_entity(question: str, pool: Sequence[str], rng: random.Random) -> str | None:
    """Replace the longest name in `question` by one of `pool` with as many words, or return None if there is none."""
    question_names = sorted(count_names([question]), key=lambda name: (-len(name), name))
    if not question_names:
        return None
    size = len(question_names[0].split())
    others = [name for name in pool if len(name.split()) == size and name not in question]
    return question.replace(question_names[0], rng.choice(others)) if others else None


def swap_made_up_entity(question: str, names: Sequence[str], rng: random.Random) -> str | None:
    """Replace one name in `question` by an invented one, combined from words of `names`; return None without a name."""
    question_names = [match for match in _CAPITALS.finditer(question) if match.start() > 0]
    words = sorted({word for name in names for word in name.split() if word[0].isupper()})
    if not question_names or not words:
        return None
    name = rng.choice(question_names)
    made_up = " ".join(rng.choice(words) for _ in name.group().split()[:2])
    return question[: name.start()] + made_up + question[name.end() :]


class Retriever:
    """Retrieves windows by inverse document frequency of the words that they share with a question."""

    def __init__(self, windows: Sequence[str]) -> None:
        """Index `windows`."""
        self.windows = windows
        self.windows_of: dict[str, list[int]] = defaultdict(list)
        for index, window in enumerate(windows):
            for word in _words(window):
                self.windows_of[word].append(index)

    def find(self, question: str, most: int) -> list[str]:
        """Return up to `most` windows, best first; a shared word scores 1 / (number of windows that contain it).

        Words of many windows, such as "the", hardly score but make the search slow in a large corpus. They count only
        if the question has no other.
        """
        shared = sorted(_words(question) & self.windows_of.keys())
        common = max(_COMMON_WINDOWS, _COMMON_SHARE * len(self.windows))
        scores: dict[int, float] = defaultdict(float)
        for word in [word for word in shared if len(self.windows_of[word]) <= common] or shared:
            for index in self.windows_of[word]:
                scores[index] += 1 / len(self.windows_of[word])
        best = heapq.nsmallest(most, scores, key=lambda index: (-scores[index], index))
        return [self.windows[index] for index in best]


def _swapped(questions: Sequence[str], pool: Sequence[str], kind: str, rng: random.Random) -> list[Row]:
    """Return rows of the questions in which a name can be swapped for one of `pool`."""
    swapped = ((swap_entity(question, pool, rng), question) for question in questions)
    return [{"question": changed, "kind": kind, "from": before} for changed, before in swapped if changed is not None]


def _unanswered(validator: Validator, rows: Sequence[Row], texts: Sequence[str]) -> list[Row]:
    """Keep the rows whose question the reader cannot answer from any of the windows closest to it."""
    retriever = Retriever(sorted(set(texts)))
    pairs = [(index, window) for index, row in enumerate(rows) for window in retriever.find(row["question"], _CLOSEST)]
    questions = [rows[index]["question"] for index, _ in pairs]
    languages = ["zh" if question.endswith("？") else "en" for question in questions]
    abstentions = validator.abstains([window for _, window in pairs], questions, languages)
    answered = {index for (index, _), abstained in zip(pairs, abstentions, strict=True) if not abstained}
    return [row for index, row in enumerate(rows) if index not in answered]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}
