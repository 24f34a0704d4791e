"""Choosing training rows among what the teacher wrote: every reject keeps its reason, and reasons are counted."""

from collections.abc import Iterable, Sequence

import numpy as np

from pipelines.artifacts import Row
from pipelines.synthesis.filters import Novelty, fault


def choose(
    candidates: Iterable[Row], evaluation: Sequence[str], max_words: int, max_rouge_l: float, leak_rouge_l: float
) -> tuple[list[Row], list[Row]]:
    """Split candidate questions into kept and rejected, the latter with a `reason`.

    In this order: faults that can be seen, the reader's disagreement, closeness to an evaluation question (`leak`),
    closeness to a question kept before (`not_novel`, as in self-instruct, Wang et al. 2023, section 2.2).
    """
    kept: list[Row] = []
    rejected: list[Row] = []
    leaks, known = Novelty(evaluation), Novelty()
    for row in candidates:
        reason = fault(row["question"], row["answer"], row["sentence"], max_words)
        if reason is None and not row["round_trip"]:
            reason = "reader_disagrees"
        if reason is None and leaks.closest(row["question"]) > leak_rouge_l:
            reason = "leak"
        if reason is None and known.closest(row["question"]) > max_rouge_l:
            reason = "not_novel"
        if reason is None:
            known.add(row["question"])
            kept.append(row)
        else:
            rejected.append({**row, "reason": reason})
    return kept, rejected


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


def answer_row(row: Row) -> Row:
    """Return the training row of a kept question, with the tag and span of its source."""
    return _row("answer", row["question"], row["answer"], row["source"], [row["start"], row["end"]], row["sentence"])


def refusal_row(row: Row, refusal: str) -> Row:
    """Return the training row of a question that has no answer."""
    return _row("refusal", row["question"], refusal)


def rehearsal_row(row: Row) -> Row:
    """Return the training row of a general prompt and the base model's own answer."""
    return _row("rehearsal", row["prompt"], row["answer"])


def hold_back(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (training rows, validation rows): a seeded choice, in the order given."""
    chosen = set(np.random.default_rng(seed).permutation(len(rows))[: int(share * len(rows))].tolist())
    return [row for at, row in enumerate(rows) if at not in chosen], [
        row for at, row in enumerate(rows) if at in chosen
    ]


def _row(
    kind: str,
    question: str,
    answer: str,
    source: str | None = None,
    span: list[int] | None = None,
    evidence: str | None = None,
) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "kind": kind, "source": source, "span": span, "evidence": evidence}
