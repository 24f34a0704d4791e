"""Training rows and their augmented variants, one per epoch."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipelines.curation.config import CurateConfig
from pipelines.curation.keyword_queries import Statement, drop_words, keyword_queries
from pipelines.curation.schema import RowKind, TrainingRow
from pipelines.curation.synonyms import SynonymReplacer
from pipelines.models.messages import Message, with_source
from pipelines.synthesis import unanswerable
from pipelines.synthesis.candidate import SHORT_ANSWER, Candidate
from pipelines.text.clauses import clause, ended

_UNREPLACED = 2  # variants of a question without synonyms: one unchanged, one with word dropout
_TRIES = 20  # draws of synonyms to find a wording that no variant of training has


def answer_row(candidate: Candidate, max_clause_words: int) -> TrainingRow:
    """Return the training row of a kept candidate, with its source.

    A short answer is expanded to the clause of its evidence that contains it; tasks, quote-then-answer rows and
    conversations are used verbatim.
    """
    source = candidate.source or None
    span = [candidate.start, candidate.end] if source else None
    evidence = candidate.sentence or None
    if candidate.makes not in SHORT_ANSWER:
        turns = candidate.turns or ((candidate.question, candidate.answer),)
        messages = [message for turn in turns for message in exchange(*turn)]
        return TrainingRow(messages, RowKind.TASK, source=source, span=span, evidence=evidence)
    answer = clause(candidate.sentence, candidate.answer, max_clause_words)
    messages = exchange(candidate.question, answer)
    return TrainingRow(messages, RowKind.ANSWER, candidate.answer, source=source, span=span, evidence=evidence)


def refusal_row(question: str, refusal: str) -> TrainingRow:
    """Return the training row of a question without an answer."""
    return TrainingRow(exchange(question, refusal), RowKind.REFUSAL)


def rehearsal_row(prompt: str, answer: str) -> TrainingRow:
    """Return the training row of a general prompt with the base model's own answer."""
    return TrainingRow(exchange(prompt, answer), RowKind.REHEARSAL)


def variants(
    rows: Iterable[TrainingRow], config: CurateConfig, replace_words: SynonymReplacer, rng: random.Random
) -> Iterator[TrainingRow]:
    """Yield the variants of each question: every second one with word dropout, from the third on with synonyms.

    One variant more than `config.num_variants`, the last, is for preferences: the question without word dropout, in a
    wording that no other variant has, if one is found. A rehearsal row is in one variant, cycling through all but the
    last; a task is yielded once, for all variants.
    """
    num_variants = config.num_variants + 1
    cycle = itertools.cycle(range(num_variants - 1))
    for row in rows:
        if row.kind == RowKind.REHEARSAL:
            yield replace(row, variant=next(cycle))
            continue
        if row.kind == RowKind.TASK:
            yield row
            continue
        questions: list[str] = []
        for variant in range(num_variants - 1):
            question = (
                drop_words(row.question, config.word_dropout, rng) if (num_variants - variant) % 2 else row.question
            )
            questions.append(replace_words(question, rng) if variant >= _UNREPLACED else question)
        questions.append(_new_wording(row.question, questions, replace_words, rng))
        for variant, question in enumerate(questions):
            yield replace(row, messages=exchange(question, row.answer), variant=variant)


def _new_wording(question: str, known: Sequence[str], replace_words: SynonymReplacer, rng: random.Random) -> str:
    """Return the question with synonyms in a wording not in `known`; the question itself if none is found."""
    wordings = (replace_words(question, rng) for _ in range(_TRIES))
    return next((wording for wording in wordings if wording not in known), question)


def keyword_query_rows(
    statements: Sequence[Statement],
    other_names: Sequence[str],
    config: CurateConfig,
    replace_words: SynonymReplacer,
    rng: random.Random,
) -> Iterator[TrainingRow]:
    """Yield a keyword query for every statement and variant, answered by the statement's clause.

    Over all variants, there are at most `config.max_keyword_queries`, and at most `config.plain_keyword_queries` of
    plain statements. A share of them, `config.unanswerable_query_share`, is repeated with an invented name made of
    `other_names`, and refused.
    """
    num_variants = config.num_variants + 1
    every = [(at, variant) for at in range(len(statements)) for variant in range(num_variants)]
    plain, others = ([place for place in every if statements[place[0]].plain is flag] for flag in (True, False))
    chosen = [*rng.sample(plain, min(config.plain_keyword_queries, len(plain))), *others]
    if config.max_keyword_queries is not None:
        chosen = rng.sample(chosen, min(config.max_keyword_queries, len(chosen)))
    kept = set(chosen)
    for at, statement in enumerate(statements):
        for variant, (query, span) in enumerate(keyword_queries(statement, num_variants, config.keyword_rate, rng)):
            if (at, variant) not in kept:
                continue
            start = statement.start + statement.text.index(span)
            query = replace_words(query, rng)
            yield TrainingRow(
                exchange(query, clause(ended(statement.text), span, config.max_clause_words)),
                RowKind.KEYWORD_QUERY,
                answer_span=span,
                variant=variant,
                source=statement.source,
                span=[start, start + len(span)],
                evidence=statement.text,
            )
            share = config.unanswerable_query_share
            invented = unanswerable.swap_made_up_entity(query, other_names, rng) if rng.random() < share else None
            if invented is not None:
                yield TrainingRow(exchange(invented, config.refusal), RowKind.KEYWORD_QUERY_REFUSAL, variant=variant)


def tagged(row: TrainingRow, source_tags: str, documents: Sequence[str], rng: random.Random) -> TrainingRow:
    """Return a row with source tags: `Source:<id>` ends every answer ("answer"), or every question as well ("both").

    A refusal has no source. With "both", its question names one of `documents` at random, so that tags do not reveal
    which questions are answerable. Other rows without a source are unchanged.
    """
    source = row.source or (rng.choice(documents) if row.kind.refuses and documents else None)
    if not source or source_tags == "none":
        return row
    roles = {"assistant"} if row.source else set()
    roles |= {"user"} if source_tags == "both" else set()
    messages = [
        {**each, "content": with_source(each["content"], source)} if each["role"] in roles else each
        for each in row.messages
    ]
    return replace(row, messages=messages)


def exchange(question: str, answer: str) -> list[Message]:
    """Return a question and its answer as messages."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
