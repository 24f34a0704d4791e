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

    Answered questions get a name from the questions `far` from the corpus (`stranger`, at most `most`) or another name
    of the corpus (`swapped`, at most `most`); questions of other domains, `foreign`, get a name of the corpus too:
    somebody it knows, asked about what it does not tell. Questions that a teacher wrote as unanswerable, `written`, are
    `near_miss`. All with a name of the corpus, `found`, are held against it by the examiner, or left out without one.
    """
    rng = random.Random(seed)
    strangers = sorted(unanswerable.names(far))
    shuffled = list(asked)
    rng.shuffle(shuffled)
    local = sorted(unanswerable.names([each.text for passage in found for each in passage.window.sentences]))
    rows: list[Row] = []
    doubtful: list[Row] = []
    for number, answered in enumerate(shuffled[: 2 * most]):
        pool, kind, into = (strangers, "stranger", rows) if number % 2 else (local, "swapped", doubtful)
        question = unanswerable.swap(answered, pool, rng)
        if question is not None:
            into.append({"question": question, "kind": kind, "from": answered})
    doubtful = doubtful[:most]
    for asked_elsewhere in rng.sample(list(foreign), min(len(foreign), 2 * most)):
        question = unanswerable.swap(asked_elsewhere, local, rng)
        if question is not None:
            doubtful.append({"question": question, "kind": "foreign", "from": asked_elsewhere})
    doubtful += [{"question": each.question, "kind": "near_miss", "from": each.window} for each in written]
    kept = _unanswered(examiner, doubtful, [passage.window.text for passage in found]) if examiner else []
    return kept + rows[:most], len(doubtful) - len(kept)


def _unanswered(examiner: Examiner, rows: Sequence[Row], texts: Sequence[str]) -> list[Row]:
    """Keep the rows whose question the reader cannot answer from any of the windows closest to it."""
    retriever = unanswerable.Retriever(sorted(set(texts)))
    pairs = [(index, window) for index, row in enumerate(rows) for window in retriever.find(row["question"], _CLOSEST)]
    questions = [rows[index]["question"] for index, _ in pairs]
    languages = ["zh" if question.endswith("？") else "en" for question in questions]
    silent = examiner.abstains([window for _, window in pairs], questions, languages)
    answered = {index for (index, _), quiet in zip(pairs, silent, strict=True) if not quiet}
    return [row for index, row in enumerate(rows) if index not in answered]
