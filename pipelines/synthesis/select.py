"""Choosing training rows among what the teacher wrote: every reject keeps its reason, and reasons are counted."""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from pipelines.artifacts import Row
from pipelines.messages import with_source
from pipelines.synthesis import unanswerable
from pipelines.synthesis.clauses import clause, ended
from pipelines.synthesis.cues import Statement, cues, thin
from pipelines.synthesis.filters import Novelty, agreement
from pipelines.synthesis.semantic import Vectors
from pipelines.synthesis.swaps import Swap

_ALIKE = 0.8  # token F1 of two answers that say the same
_REPEATED = 0.99  # ROUGE-L from which another wording is the same wording
_AS_WRITTEN = 2  # showings of a question, one whole and one thinned, before words are swapped
_SHORT = ("question", "wording")
_AGAIN = ("wording", "recital")
_REFUSALS = ("refusal", "cue_refusal")


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
    long = one["makes"] not in _SHORT or other["makes"] not in _SHORT
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


def answer_row(row: Row, most_words: int) -> Row:
    """Return the training row of a kept candidate, tagged with its source.

    A short answer becomes the clause of its evidence that holds it; a task, a recital and a conversation are learnt as
    they were written.
    """
    span = [row["start"], row["end"]] if row["source"] else None
    if row["makes"] not in _SHORT:
        made = _row("task", row["question"], row["answer"], None, row["source"] or None, span, row["sentence"] or None)
        return {**made, "messages": _turns(row["turns"])} if row["turns"] else made
    answer = clause(row["sentence"], row["answer"], most_words)
    return _row("answer", row["question"], answer, row["answer"], row["source"], span, row["sentence"])


def _turns(turns: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Return a conversation as messages."""
    return [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


def own_row(row: Row) -> Row:
    """Return the training row of a conversation that the user brought."""
    made = _row("task", row["messages"][0]["content"], row["messages"][-1]["content"], None, row.get("source"))
    return {**made, "messages": row["messages"]}


def refusal_row(row: Row, refusal: str) -> Row:
    """Return the training row of a question that has no answer."""
    return _row("refusal", row["question"], refusal)


def rehearsal_row(row: Row) -> Row:
    """Return the training row of a general prompt and the base model's own answer."""
    return _row("rehearsal", row["prompt"], row["answer"])


def shown(rows: Iterable[Row], showings: int, swap: Swap, rng: random.Random) -> Iterator[Row]:
    """Yield each row once for every showing: as it is, and at every second one, with the last of them, words left out.

    From the third showing to the last but one `swap` also puts other words for some. Rehearsal comes once, spread over
    all showings but the last; tasks come as they are, for all showings.
    """
    turns = itertools.cycle(range(showings - 1))
    for row in rows:
        if row["kind"] == "rehearsal":
            yield {**row, "showing": next(turns)}
            continue
        if row["kind"] == "task":
            yield row
            continue
        question, answer = row["messages"]
        for showing in range(showings):
            worded = thin(question["content"], rng) if (showings - showing) % 2 else question["content"]
            worded = swap(worded, rng) if _AS_WRITTEN <= showing < showings - 1 else worded
            yield {**row, "messages": [{**question, "content": worded}, answer], "showing": showing}


def cue_rows(
    found: Sequence[Statement],
    strangers: Sequence[str],
    refusal: str,
    *,
    showings: int,
    plain: int,
    unknown_share: float,
    most_words: int,
    swap: Swap,
    rng: random.Random,
) -> Iterator[Row]:
    """Yield a cue for every statement and showing, answered by its clause; for plain statements `plain` of them in all.

    `swap` puts other words for some of its words. A share of the cues, `unknown_share`, comes a second time, with a
    name made up from `strangers`, and is refused.
    """
    places = [(at, showing) for at, each in enumerate(found) if each.plain for showing in range(showings)]
    chosen = set(rng.sample(places, min(plain, len(places))))
    for at, statement in enumerate(found):
        for showing, (cue, span) in enumerate(cues(statement, showings, rng)):
            if statement.plain and (at, showing) not in chosen:
                continue
            start = statement.start + statement.text.index(span)
            place = [start, start + len(span)]
            answer = clause(ended(statement.text), span, most_words)
            cue = swap(cue, rng)
            row = _row("cue", cue, answer, span, statement.source, place, statement.text)
            yield {**row, "showing": showing}
            unknown = unanswerable.swap_made_up(cue, strangers, rng) if rng.random() < unknown_share else None
            if unknown is not None:
                yield {**_row("cue_refusal", unknown, refusal), "showing": showing}


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
    short: str | None = None,
    source: str | None = None,
    span: list[int] | None = None,
    evidence: str | None = None,
) -> Row:
    """`short` is the span that `answer` must hold to be right; `showing`, the one that the row is for (null: all)."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    place = {"source": source, "span": span, "evidence": evidence}
    return {"messages": messages, "kind": kind, "short": short, "showing": None, **place}


def tagged(row: Row, where: str, documents: Sequence[str], rng: random.Random) -> Row:
    """Return a row with its source told: `Source:<id>` ends every answer ("answer"), or every question too ("both").

    A refusal names no source. Its question, where questions do, names one of `documents` at random, so that no tag
    tells which question can be answered. Other rows without a source stay as they are.
    """
    source = row["source"] or (rng.choice(documents) if row["kind"] in _REFUSALS and documents else None)
    if not source or where == "none":
        return row
    roles = {"assistant"} if row["source"] else set()
    roles |= {"user"} if where == "both" else set()
    messages = [
        {**each, "content": with_source(each["content"], source)} if each["role"] in roles else each
        for each in row["messages"]
    ]
    return {**row, "messages": messages}
