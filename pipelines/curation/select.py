"""Selection of training rows among synthesised candidates: novelty, leaks into the evaluation, validation split."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from pipelines.artifacts import Row
from pipelines.curation.schema import Rejection, TrainingRow
from pipelines.synthesis.candidate import SHORT_ANSWER, Candidate
from pipelines.synthesis.filters import Novelty, agreement
from pipelines.synthesis.reasons import Reason
from pipelines.text.similarity import Vectors

_SAME_ANSWER = 0.8  # minimum token F1 of two equal answers
_SAME_WORDING = 0.99  # maximum ROUGE-L of a paraphrase to kept questions with the same answer
_PARAPHRASES = ("wording", "quote_then_answer")


def choose(
    candidates: Iterable[Candidate],
    evaluation: Sequence[str],
    means_same: Callable[[Sequence[Candidate]], Iterator[bool]],
    max_rouge_l: float,
    leak_rouge_l: float,
) -> tuple[list[Candidate], list[Candidate]]:
    """Split candidates into kept and rejected ones; the latter have a `reason`.

    The filters, in order: rejected by synthesis; similar to an evaluation question (`leak`); similar to a kept question
    with the same answer (`not_novel`, as in self-instruct, Wang et al. 2023, section 2.2); same meaning as a kept one
    (`same_meaning`, decided by `means_same` for all that remain). Paraphrases of a kept question may be similar to it.
    Questions with different answers count as different: "When was X built?" is close to "When was Y built?".
    """
    rejected: list[Candidate] = []
    novel: list[Candidate] = []
    leaks, known = Novelty(evaluation), Novelty()
    for each in candidates:
        questions = [question for question, _ in each.turns] or [each.question]
        reason = each.reason
        if reason is None and max(map(leaks.closest, questions)) > leak_rouge_l:
            reason = Reason.LEAK
        limit = _SAME_WORDING if _is_paraphrase(each) else max_rouge_l
        if reason is None and any(
            score > limit and _same_answer(novel[index], each) for index, score in known.near(each.question)
        ):
            reason = Reason.NOT_NOVEL
        if reason is None:
            known.add(each.question)
            novel.append(each)
        else:
            rejected.append(each.rejected(reason))
    kept: list[Candidate] = []
    for each, same in zip(novel, means_same(novel), strict=True):
        if same and not _is_paraphrase(each):
            rejected.append(each.rejected(Reason.SAME_MEANING))
        else:
            kept.append(each)
    return kept, rejected


def _same_answer(one: Candidate, other: Candidate) -> bool:
    """Return whether two candidates have the same answer; long answers are not compared and count as the same."""
    long = one.makes not in SHORT_ANSWER or other.makes not in SHORT_ANSWER
    return long or agreement(one.answer, other.answer) >= _SAME_ANSWER


def _is_paraphrase(candidate: Candidate) -> bool:
    return candidate.makes in _PARAPHRASES


def same_meaning(candidates: Sequence[Candidate], vectors: Vectors, max_cosine: float) -> Iterator[bool]:
    """Yield for each candidate whether an earlier one has the same answer and a question of nearly the same meaning.

    `vectors` (candidates, width) are unit vectors of the questions.
    """
    for at, each in enumerate(candidates):
        close: list[int] = np.flatnonzero(vectors[:at] @ vectors[at] > max_cosine).tolist()
        yield any(_same_answer(candidates[before], each) for before in close)


def distinct_questions(
    rows: Iterable[Row], others: Sequence[str], max_rouge_l: float
) -> tuple[list[Row], list[Rejection]]:
    """Split rows with a `question` into distinct ones and rejections (`too_close`).

    A row is distinct if its ROUGE-L to `others` and to kept rows is at most `max_rouge_l`. A question similar to an
    answered one must not be trained as unanswerable.
    """
    kept: list[Row] = []
    rejected: list[Rejection] = []
    known = Novelty(others)
    for row in rows:
        if known.closest(row["question"]) > max_rouge_l:
            rejected.append(Rejection(row, Reason.TOO_CLOSE))
        else:
            known.add(row["question"])
            kept.append(row)
    return kept, rejected


def without_leaks(
    rows: Iterable[TrainingRow], evaluation: Sequence[str], leak_rouge_l: float
) -> tuple[list[TrainingRow], list[Rejection]]:
    """Split rows into those with no user turn similar to an evaluation question, and rejections (`leak`)."""
    leaks = Novelty(evaluation)
    kept: list[TrainingRow] = []
    rejected: list[Rejection] = []
    for row in rows:
        questions = [message["content"] for message in row.messages if message["role"] == "user"]
        score, closest = max((leaks.closest(question), question) for question in questions)
        if score > leak_rouge_l:
            rejected.append(Rejection({**row.as_row(), "question": closest}, Reason.LEAK))
        else:
            kept.append(row)
    return kept, rejected


def hold_back(rows: Sequence[TrainingRow], share: float, seed: int) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Split rows at random, seeded, into training and validation rows, in their order."""
    chosen = set(np.random.default_rng(seed).permutation(len(rows))[: int(share * len(rows))].tolist())
    return [row for at, row in enumerate(rows) if at not in chosen], [
        row for at, row in enumerate(rows) if at in chosen
    ]
