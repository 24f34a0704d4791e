"""Calibration questions: synthesised questions that no training row has, about facts that keyword queries still teach.

They calibrate the confidence of the fine-tuned model (pipelines/evaluation/confidence/). Facts are held back rather
than questions: two wordings of a question are so alike that a model trained on one answers the other as if trained on
both, which would overstate its accuracy on the wordings of users.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.evaluation.questions import ANSWERABLE, Question
from pipelines.synthesis.candidate import SHORT_ANSWER, Candidate
from pipelines.synthesis.reasons import Reason

CALIBRATION = "calibration"
"""The split of these questions."""
FILE = "calibration.jsonl"
UNANSWERABLE = "unanswerable"
_REWORDED = (Reason.NOT_NOVEL, Reason.SAME_MEANING)


def hold_back(
    kept: Sequence[Candidate], rejected: Sequence[Candidate], unanswerable: Sequence[Row], share: float, seed: int
) -> tuple[list[Candidate], list[Row], list[Question]]:
    """Return the candidates and the unanswerable questions to train on, and the questions held back.

    The questions of a `share` of the facts, drawn at random, are held back, and the same share of the unanswerable
    ones. A fact is a sentence of a document; its questions comprise those `rejected` as rewordings of a kept one. Only
    questions with a short answer are held back.
    """
    rng = np.random.default_rng(seed)
    facts = sorted({_fact(each) for each in kept if each.makes in SHORT_ANSWER})
    chosen = {facts[at] for at in rng.permutation(len(facts))[: int(share * len(facts))].tolist()}
    reworded = [each for each in rejected if each.reason in _REWORDED and each.makes in SHORT_ANSWER]
    answerable = [each for each in (*kept, *reworded) if _fact(each) in chosen]
    refused = set(rng.permutation(len(unanswerable))[: int(share * len(unanswerable))].tolist())
    questions = [
        *(_question(each.question, ANSWERABLE, each.kind, each.answer, each.source) for each in answerable),
        *(_question(unanswerable[at]["question"], UNANSWERABLE, unanswerable[at]["kind"]) for at in sorted(refused)),
    ]
    distinct = list({each.question: each for each in questions}.values())
    numbered = [replace(each, id=f"{CALIBRATION}-{number:04}") for number, each in enumerate(distinct)]
    trained = [each for each in kept if _fact(each) not in chosen]
    return trained, [row for at, row in enumerate(unanswerable) if at not in refused], numbered


def _question(question: str, name: str, kind: str, answer: str = "", source: str = "") -> Question:
    return Question(
        id="",
        set=name,
        kind=kind,
        split=CALIBRATION,
        question=question,
        accepted=(answer,) if answer else (),
        competing=(),
        sources=(source,) if source else (),
    )


def write(out: Path, asked: Sequence[Question]) -> None:
    """Write calibration.jsonl."""
    artifacts.write_rows(out / FILE, map(asdict, asked))


def read(folder: Path) -> list[Question]:
    """Read calibration.jsonl of artifacts/curate/."""
    rows = artifacts.read_rows(folder / FILE)
    return [replace(Question.of(row), sources=tuple(row["sources"])) for row in rows]


def _fact(candidate: Candidate) -> tuple[str, str]:
    return candidate.source, candidate.sentence
