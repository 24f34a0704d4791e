"""Training rows: what each says, and how it is worded for each variant."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

from pipelines.artifacts import Row
from pipelines.curation.keyword_queries import Statement, drop_words, keyword_queries
from pipelines.curation.synonyms import SynonymReplacer
from pipelines.models.messages import with_source
from pipelines.synthesis import unanswerable
from pipelines.synthesis.candidate import SHORT
from pipelines.text.clauses import clause, ended

_AS_WRITTEN = 2  # num_variants of a question, one whole and one thinned, before words are swapped
_TRIES = 20  # draws of other words until a question differs from what tuning has shown
_REFUSALS = ("refusal", "keyword_query_refusal")


def answer_row(row: Row, most_words: int) -> Row:
    """Return the training row of a kept candidate, tagged with its source.

    A short answer becomes the clause of its evidence that holds it; a task, a recital and a conversation are learnt as
    they were written.
    """
    span = [row["start"], row["end"]] if row["source"] else None
    if row["makes"] not in SHORT:
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


def user_row(row: Row) -> Row:
    """Return the training row of a conversation that the user brought."""
    made = _row("task", row["messages"][0]["content"], row["messages"][-1]["content"], None, row.get("source"))
    return {**made, "messages": row["messages"]}


def refusal_row(row: Row, refusal: str) -> Row:
    """Return the training row of a question that has no answer."""
    return _row("refusal", row["question"], refusal)


def rehearsal_row(row: Row) -> Row:
    """Return the training row of a general prompt and the base model's own answer."""
    return _row("rehearsal", row["prompt"], row["answer"])


def variants(rows: Iterable[Row], num_variants: int, swap: SynonymReplacer, rng: random.Random) -> Iterator[Row]:
    """Yield each row once for every variant: as it is, and at every second one with words left out.

    From the third variant on `swap` also puts other words for some. The last one is a whole question for preferences,
    in words that no variant before it has, where there are such. Rehearsal comes once, spread over all num_variants but
    the last; tasks come as they are, for all num_variants.
    """
    turns = itertools.cycle(range(num_variants - 1))
    for row in rows:
        if row["kind"] == "rehearsal":
            yield {**row, "variant": next(turns)}
            continue
        if row["kind"] == "task":
            yield row
            continue
        question, answer = row["messages"]
        wordings: list[str] = []
        for variant in range(num_variants - 1):
            worded = drop_words(question["content"], rng) if (num_variants - variant) % 2 else question["content"]
            wordings.append(swap(worded, rng) if variant >= _AS_WRITTEN else worded)
        wordings.append(_new_wording(question["content"], wordings, swap, rng))
        for variant, worded in enumerate(wordings):
            yield {**row, "messages": [{**question, "content": worded}, answer], "variant": variant}


def _new_wording(question: str, known: Sequence[str], swap: SynonymReplacer, rng: random.Random) -> str:
    """Return a whole question with other words for some, unlike all that are `known`; as it is if none turns up."""
    tried = (swap(question, rng) for _ in range(_TRIES))
    return next((worded for worded in tried if worded not in known), question)


def keyword_query_rows(
    found: Sequence[Statement],
    strangers: Sequence[str],
    refusal: str,
    *,
    num_variants: int,
    plain: int,
    unknown_share: float,
    most_words: int,
    swap: SynonymReplacer,
    rng: random.Random,
) -> Iterator[Row]:
    """Yield a cue for every statement and variant, answered by its clause; for plain statements `plain` of them in all.

    `swap` puts other words for some of its words. A share of the cues, `unknown_share`, comes a second time, with a
    name made up from `strangers`, and is refused.
    """
    places = [(at, variant) for at, each in enumerate(found) if each.plain for variant in range(num_variants)]
    chosen = set(rng.sample(places, min(plain, len(places))))
    for at, statement in enumerate(found):
        for variant, (cue, span) in enumerate(keyword_queries(statement, num_variants, rng)):
            if statement.plain and (at, variant) not in chosen:
                continue
            start = statement.start + statement.text.index(span)
            place = [start, start + len(span)]
            answer = clause(ended(statement.text), span, most_words)
            cue = swap(cue, rng)
            row = _row("keyword_query", cue, answer, span, statement.source, place, statement.text)
            yield {**row, "variant": variant}
            unknown = unanswerable.swap_made_up_entity(cue, strangers, rng) if rng.random() < unknown_share else None
            if unknown is not None:
                yield {**_row("keyword_query_refusal", unknown, refusal), "variant": variant}


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


def _row(
    kind: str,
    question: str,
    answer: str,
    short: str | None = None,
    source: str | None = None,
    span: list[int] | None = None,
    evidence: str | None = None,
) -> Row:
    """`short` is the span that `answer` must hold to be right; `variant`, the one that the row is for (null: all)."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    place = {"source": source, "span": span, "evidence": evidence}
    return {"messages": messages, "kind": kind, "answer_span": short, "variant": None, **place}
