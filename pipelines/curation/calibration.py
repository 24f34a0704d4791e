"""Questions held back from training: synthesised ones about facts that keyword queries still teach.

They calibrate the confidence of the fine-tuned model (pipelines/evaluation/confidence/) while a user has too few
validation questions, and stand in for the evaluation questions of a split in which a user has none. Facts are held back
rather than questions: two wordings of a question are so alike that a model trained on one answers the other as if
trained on both, which would overstate its accuracy on the wordings of users.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation.config import CurateConfig
from pipelines.evaluation.questions import (
    ANSWERABLE,
    SPLITS,
    SYNTHESISED,
    UNANSWERABLE,
    VALIDATION,
    splits_without_questions,
)
from pipelines.runtime.errors import UserError
from pipelines.synthesis.candidate import SHORT_ANSWER, Candidate
from pipelines.synthesis.reasons import Reason

_REWORDED = (Reason.NOT_NOVEL, Reason.SAME_MEANING)

Rows = dict[str, list[Row]]
"""Rows of a folder of questions by set."""


def require_facts(kept: Iterable[Candidate]) -> None:
    """Check that the facts of the candidates suffice for questions in both splits, if there are any facts.

    Raises:
        UserError: none would be left to train on.
    """
    if 0 < (count := len(_facts(kept))) <= len(SPLITS):
        raise UserError(
            f"Only {count} facts of the documents have a usable question, and {len(SPLITS) + 1} are needed: one to "
            "train on, and one per split of the evaluation, which lacks questions; add documents, write evaluation "
            "questions (docs/data.md), or set curate.calibration_share to 0 and train without evaluating: "
            "`gradus run sft`."
        )


def held_back_share(kept: Sequence[Candidate], own: Sequence[Row], config: CurateConfig) -> float:
    """Return the share of the facts to hold back: none if the user's `own` answerable questions suffice.

    Raises:
        UserError: `own` lacks a split, and there are too few facts for it.
    """
    is_missing = bool(splits_without_questions({ANSWERABLE: own}))
    if is_missing and config.calibration_share:
        require_facts(kept)
    few = sum(row.get("split") == VALIDATION for row in own) < config.calibration_questions
    return config.calibration_share if is_missing or few else 0.0


def hold_back(
    kept: Sequence[Candidate],
    rejected: Sequence[Candidate],
    unanswerable: Sequence[Row],
    own: Iterable[str],
    share: float,
    seed: int,
) -> tuple[list[Candidate], list[Row], Rows]:
    """Return the candidates and the unanswerable questions to train on, and the questions held back.

    The questions of a `share` of the facts, drawn at random, are held back, and the same share of the unanswerable
    ones. A fact is a sentence of a document; its questions comprise those `rejected` as rewordings of a kept one. Only
    questions with a short answer are held back, and none in the words of the user's `own`. Facts alternate between
    validation and test; unless `share` is 0 or no fact would be left to train on, each split has at least one.
    """
    rng = np.random.default_rng(seed)
    facts = sorted(_facts(kept))
    least = len(SPLITS) if share > 0 and len(SPLITS) < len(facts) else 0
    chosen = [facts[at] for at in rng.permutation(len(facts))[: max(int(share * len(facts)), least)].tolist()]
    split = {fact: SPLITS[place % 2] for place, fact in enumerate(chosen)}
    reworded = [each for each in rejected if each.reason in _REWORDED and each.makes in SHORT_ANSWER]
    answerable = [_answerable(each, split[_fact(each)]) for each in (*kept, *reworded) if _fact(each) in split]
    declined = rng.permutation(len(unanswerable))[: int(share * len(unanswerable))].tolist()
    refused = [_unanswerable(unanswerable[at], SPLITS[place % 2]) for place, at in enumerate(declined)]
    trained = [each for each in kept if _fact(each) not in split]
    left = [row for at, row in enumerate(unanswerable) if at not in set(declined)]
    return trained, left, _distinct({ANSWERABLE: answerable, UNANSWERABLE: refused}, own)


def write(folder: Path, questions: Rows) -> None:
    """Write answerable.jsonl and unanswerable.jsonl to `folder`."""
    folder.mkdir(exist_ok=True)
    for name, rows in questions.items():
        artifacts.write_rows(folder / f"{name}.jsonl", rows)


def _facts(candidates: Iterable[Candidate]) -> set[tuple[str, str]]:
    """Return the facts with a question that has a short answer."""
    return {_fact(each) for each in candidates if each.makes in SHORT_ANSWER}


def _fact(candidate: Candidate) -> tuple[str, str]:
    return candidate.source, candidate.sentence


def _answerable(each: Candidate, split: str) -> Row:
    facts = {"answer": each.answer, "kind": each.kind, "split": split, "sources": [each.source]}
    return {"question": each.question, **facts}


def _unanswerable(row: Row, split: str) -> Row:
    return {"question": row["question"], "kind": row["kind"], "split": split}


def _distinct(questions: Rows, own: Iterable[str]) -> Rows:
    """Return the first of all questions in the same words, without those of the user's `own`, with ids."""
    known = {_words(each) for each in own}
    found: Rows = {name: [] for name in questions}
    for name, rows in questions.items():
        for row in rows:
            if (words := _words(row["question"])) not in known:
                known.add(words)
                found[name].append({"id": f"{SYNTHESISED}{sum(map(len, found.values())) + 1:04}", **row})
    return found


def _words(question: str) -> str:
    return " ".join(question.casefold().split())
