"""Choosing training rows among what the teacher wrote: every reject keeps its reason, and reasons are counted."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from pipelines.artifacts import Row
from pipelines.synthesis.candidate import SHORT
from pipelines.synthesis.filters import Novelty, agreement
from pipelines.text.similarity import Vectors

_ALIKE = 0.8  # token F1 of two answers that say the same
_REPEATED = 0.99  # ROUGE-L from which another wording is the same wording
_AGAIN = ("wording", "quote_then_answer")


def choose(
    candidates: Iterable[Row],
    evaluation: Sequence[str],
    means_same: Callable[[Sequence[Row]], Iterator[bool]],
    max_rouge_l: float,
    leak_rouge_l: float,
) -> tuple[list[Row], list[Row]]:
    """Split candidates into kept and rejected, the latter with a `reason`.

    In this order: what synthesis rejected already, closeness to an evaluation question (`leak`), to a question kept
    before that has the same answer (`not_novel`, as in self-instruct, Wang et al. 2023, section 2.2), and the same
    meaning as one kept before (`same_meaning`, told by `means_same` of all that is left). Other wordings of a kept
    question may be close. Unlike answers make unlike questions: "When was X built?" is close to "When was Y built?".
    """
    rejected: list[Row] = []
    fresh: list[Row] = []
    leaks, known = Novelty(evaluation), Novelty()
    for row in candidates:
        asked = [question for question, _ in row["turns"]] or [row["question"]]
        reason = row["reason"]
        if reason is None and max(map(leaks.closest, asked)) > leak_rouge_l:
            reason = "leak"
        limit = _REPEATED if _again(row) else max_rouge_l
        if reason is None and any(
            score > limit and _same_answer(fresh[index], row) for index, score in known.near(row["question"])
        ):
            reason = "not_novel"
        if reason is None:
            known.add(row["question"])
            fresh.append(row)
        else:
            rejected.append({**row, "reason": reason})
    kept: list[Row] = []
    for row, same in zip(fresh, means_same(fresh), strict=True):
        if same and not _again(row):
            rejected.append({**row, "reason": "same_meaning"})
        else:
            kept.append(row)
    return kept, rejected


def _same_answer(one: Row, other: Row) -> bool:
    """Tell whether two rows are answered alike; long answers are never compared."""
    long = one["makes"] not in SHORT or other["makes"] not in SHORT
    return long or agreement(one["answer"], other["answer"]) >= _ALIKE


def _again(row: Row) -> bool:
    """Tell whether the row says another one anew."""
    return row["makes"] in _AGAIN


def same_meaning(rows: Sequence[Row], vectors: Vectors, max_cosine: float) -> Iterator[bool]:
    """Tell of each row whether one before it has the same answer and a question of nearly the same meaning.

    `vectors` (rows, width) are unit vectors of the questions.
    """
    for at, row in enumerate(rows):
        close: list[int] = np.flatnonzero(vectors[:at] @ vectors[at] > max_cosine).tolist()
        yield any(_same_answer(rows[before], row) for before in close)


def apart(rows: Iterable[Row], others: Sequence[str], max_rouge_l: float) -> tuple[list[Row], list[Row]]:
    """Split questions without an answer into those unlike `others` and unlike each other, and the rest (`too_close`).

    A question that resembles an answered one must not be taught as unknown.
    """
    kept: list[Row] = []
    rejected: list[Row] = []
    known = Novelty(others)
    for row in rows:
        if known.closest(row["question"]) > max_rouge_l:
            rejected.append({**row, "reason": "too_close"})
        else:
            known.add(row["question"])
            kept.append(row)
    return kept, rejected


def without_leaks(rows: Iterable[Row], evaluation: Sequence[str], leak_rouge_l: float) -> tuple[list[Row], list[Row]]:
    """Split rows into those unlike every question of `evaluation`, and the rest (`leak`)."""
    leaks = Novelty(evaluation)
    kept: list[Row] = []
    rejected: list[Row] = []
    for row in rows:
        asked = [message["content"] for message in row["messages"] if message["role"] == "user"]
        closest = max(asked, key=leaks.closest)
        if leaks.closest(closest) > leak_rouge_l:
            rejected.append({**row, "question": closest, "reason": "leak"})
        else:
            kept.append(row)
    return kept, rejected


def hold_back(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (training rows, validation rows): a seeded choice, in the order given."""
    chosen = set(np.random.default_rng(seed).permutation(len(rows))[: int(share * len(rows))].tolist())
    return [row for at, row in enumerate(rows) if at not in chosen], [
        row for at, row in enumerate(rows) if at in chosen
    ]
