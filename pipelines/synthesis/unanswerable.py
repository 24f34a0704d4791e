"""Questions without an answer, so that a model learns what it does not know.

Three sources: hand-written ones far from any corpus; kept questions in which a name is swapped for one that the corpus
does not know; and kept questions asked of another name of the corpus, which need a reader's word that nothing is said.
"""

import random
import re
from collections import defaultdict
from collections.abc import Sequence

from pipelines.artifacts import Row
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.planner import Passage
from pipelines.synthesis.validate import Validator
from pipelines.text.names import count_names

_CAPITALS = re.compile(r"\b[A-Z][\w'’-]+(?:\s[A-Z][\w'’-]+)*")
_WORD = re.compile(r"[^\W_]+")
_CLOSEST = 2  # windows that the reader looks into


def generate(
    examiner: Validator | None,
    asked: Sequence[str],
    found: Sequence[Passage],
    written: Sequence[Candidate],
    far: Sequence[str],
    foreign: Sequence[str],
    most: int,
    seed: int,
) -> tuple[list[Row], int]:
    """Return questions that the corpus cannot answer, and how many were dropped because it can.

    Answered questions, `asked`, get a name from the questions `far` from the corpus (`stranger`) or another name of the
    corpus (`swapped`), at most `most` of each; questions of other domains, `foreign`, get a name of the corpus too:
    somebody it knows, asked about what it does not tell. Questions that a teacher wrote as unanswerable, `written`, are
    `near_miss`. All but strangers are held against the corpus, `found`, by the examiner; without one there are none of
    them, and twice as many strangers.
    """
    rng = random.Random(seed)
    strangers = sorted(count_names(far))
    shuffled = rng.sample(list(asked), len(asked))[: 2 * most]
    if examiner is None:
        return _swapped(shuffled, strangers, "out_of_domain_entity", rng), 0
    local = sorted(count_names([each.text for passage in found for each in passage.window.sentences]))
    doubtful = _swapped(shuffled[::2], local, "swapped_entity", rng)
    doubtful += _swapped(rng.sample(list(foreign), min(len(foreign), 2 * most)), local, "in_domain_entity", rng)
    doubtful += [{"question": each.question, "kind": "near_miss", "from": each.window} for each in written]
    kept = _unanswered(examiner, doubtful, [passage.window.text for passage in found])
    return kept + _swapped(shuffled[1::2], strangers, "out_of_domain_entity", rng), len(doubtful) - len(kept)


def swap_entity(question: str, pool: Sequence[str], rng: random.Random) -> str | None:
    """Replace the longest name in `question` by one of `pool` of as many words, or return None if there is none."""
    own = sorted(count_names([question]), key=lambda name: (-len(name), name))
    if not own:
        return None
    size = len(own[0].split())
    others = [name for name in pool if len(name.split()) == size and name not in question]
    return question.replace(own[0], rng.choice(others)) if others else None


def swap_made_up_entity(question: str, strangers: Sequence[str], rng: random.Random) -> str | None:
    """Replace one name in `question` by one put together from words of `strangers`, or return None if there is none."""
    own = [found for found in _CAPITALS.finditer(question) if found.start() > 0]
    words = sorted({word for name in strangers for word in name.split() if word[0].isupper()})
    if not own or not words:
        return None
    name = rng.choice(own)
    made_up = " ".join(rng.choice(words) for _ in name.group().split()[:2])
    return question[: name.start()] + made_up + question[name.end() :]


class Retriever:
    """Finds the windows that share the rarest words with a question."""

    def __init__(self, windows: Sequence[str]) -> None:
        """Index `windows`."""
        self.windows = windows
        self.places: dict[str, list[int]] = defaultdict(list)
        for index, window in enumerate(windows):
            for word in _words(window):
                self.places[word].append(index)

    def find(self, question: str, most: int) -> list[str]:
        """Return up to `most` windows, the best first; each shared word counts 1 / (windows it is in)."""
        scores: dict[int, float] = defaultdict(float)
        for word in sorted(_words(question) & self.places.keys()):
            for index in self.places[word]:
                scores[index] += 1 / len(self.places[word])
        best = sorted(scores, key=lambda index: (-scores[index], index))[:most]
        return [self.windows[index] for index in best]


def _swapped(questions: Sequence[str], pool: Sequence[str], kind: str, rng: random.Random) -> list[Row]:
    """Return those of the questions in which a name could be swapped for one of `pool`, as rows."""
    swapped = ((swap_entity(question, pool, rng), question) for question in questions)
    return [{"question": changed, "kind": kind, "from": before} for changed, before in swapped if changed is not None]


def _unanswered(examiner: Validator, rows: Sequence[Row], texts: Sequence[str]) -> list[Row]:
    """Keep the rows whose question the reader cannot answer from any of the windows closest to it."""
    retriever = Retriever(sorted(set(texts)))
    pairs = [(index, window) for index, row in enumerate(rows) for window in retriever.find(row["question"], _CLOSEST)]
    questions = [rows[index]["question"] for index, _ in pairs]
    languages = ["zh" if question.endswith("？") else "en" for question in questions]
    silent = examiner.abstains([window for _, window in pairs], questions, languages)
    answered = {index for (index, _), quiet in zip(pairs, silent, strict=True) if not quiet}
    return [row for index, row in enumerate(rows) if index not in answered]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}
