"""Questions without an answer, some changed by rule, some written by a teacher.

Where a name is one that the corpus knows, the reader must find no answer in any window close to the question.
"""

import random
from collections.abc import Sequence

from pipelines.artifacts import Row
from pipelines.synthesis import unanswerable
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.examine import Examiner
from pipelines.synthesis.planner import Passage

_CLOSEST = 2  # windows that the reader looks into


def unknown(
    examiner: Examiner | None,
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
    strangers = sorted(unanswerable.names(far))
    shuffled = rng.sample(list(asked), len(asked))[: 2 * most]
    if examiner is None:
        return _swapped(shuffled, strangers, "stranger", rng), 0
    local = sorted(unanswerable.names([each.text for passage in found for each in passage.window.sentences]))
    doubtful = _swapped(shuffled[::2], local, "swapped", rng)
    doubtful += _swapped(rng.sample(list(foreign), min(len(foreign), 2 * most)), local, "foreign", rng)
    doubtful += [{"question": each.question, "kind": "near_miss", "from": each.window} for each in written]
    kept = _unanswered(examiner, doubtful, [passage.window.text for passage in found])
    return kept + _swapped(shuffled[1::2], strangers, "stranger", rng), len(doubtful) - len(kept)


def _swapped(questions: Sequence[str], pool: Sequence[str], kind: str, rng: random.Random) -> list[Row]:
    """Return those of the questions in which a name could be swapped for one of `pool`, as rows."""
    swapped = ((unanswerable.swap(question, pool, rng), question) for question in questions)
    return [{"question": changed, "kind": kind, "from": before} for changed, before in swapped if changed is not None]


def _unanswered(examiner: Examiner, rows: Sequence[Row], texts: Sequence[str]) -> list[Row]:
    """Keep the rows whose question the reader cannot answer from any of the windows closest to it."""
    retriever = unanswerable.Retriever(sorted(set(texts)))
    pairs = [(index, window) for index, row in enumerate(rows) for window in retriever.find(row["question"], _CLOSEST)]
    questions = [rows[index]["question"] for index, _ in pairs]
    languages = ["zh" if question.endswith("？") else "en" for question in questions]
    silent = examiner.abstains([window for _, window in pairs], questions, languages)
    answered = {index for (index, _), quiet in zip(pairs, silent, strict=True) if not quiet}
    return [row for index, row in enumerate(rows) if index not in answered]
