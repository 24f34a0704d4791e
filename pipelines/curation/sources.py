"""The training rows of each source: synthesised candidates, refusals, rehearsal, conversations and keyword queries.

None leaks an evaluation question.
"""

import random
from collections.abc import Mapping
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation.config import CurateConfig
from pipelines.curation.keyword_queries import statements
from pipelines.curation.leaks import Measured, without_measured, without_stated_answers
from pipelines.curation.rows import answer_row, keyword_query_rows, refusal_row, rehearsal_row
from pipelines.curation.schema import Rejection, TrainingRow
from pipelines.curation.select import distinct_questions, without_leaks
from pipelines.curation.synonyms import SynonymReplacer
from pipelines.curation.user_data import declines, user_questions, user_rows
from pipelines.runtime.progress import say
from pipelines.synthesis.candidate import Candidate
from pipelines.text.names import count_names


def user_conversations(
    measured: Mapping[str, list[Row]], config: CurateConfig
) -> tuple[list[TrainingRow], list[Rejection]]:
    """Return the user's conversations without leaks, and the rejections."""
    general, evaluation = measured.get("general", []), [row["question"] for rows in measured.values() for row in rows]
    read, invalid = user_rows(config.user_data)
    distinct, leaked = without_leaks(read, evaluation, config.leak_rouge_l)
    rows, stated = without_stated_answers(distinct, Measured(general, general, config.leak_coverage))
    return rows, [*invalid, *leaked, *stated]


def rehearsal_prompts(
    synthesized: Path, measured: Mapping[str, list[Row]], config: CurateConfig
) -> tuple[list[Row], list[Rejection]]:
    """Return the rehearsal rows without leaks of the evaluation, and the rejections."""
    general, every = measured.get("general", []), [row for rows in measured.values() for row in rows]
    prompts = [{**row, "question": row["prompt"]} for row in artifacts.read_rows(synthesized / "rehearsal.jsonl")]
    clean, leaked = without_measured(prompts, Measured(every, general, config.leak_coverage))
    kept, close = distinct_questions(clean, [row["question"] for row in every], config.leak_rouge_l)
    return kept, [*leaked, *close]


def training_rows(
    kept: list[Candidate],
    user: list[TrainingRow],
    refused: list[Row],
    rehearsed: list[Row],
    evaluation: list[str],
    config: CurateConfig,
) -> tuple[list[TrainingRow], list[Rejection], int]:
    """Return the rows of kept candidates, refusals and rehearsal; rejected refusals; the number of missing refusals.

    Refusals are balanced against all answered questions. User conversations that end with the refusal count as
    refusals.
    """
    answered = [*evaluation, *(each.question for each in kept), *user_questions(user)]
    unanswerable, close = distinct_questions(refused, answered, config.leak_rouge_l)
    declined = sum(declines(row, config.refusal) for row in user)
    answers = len(kept) + len(user) - declined
    wanted = max(0, int(config.refusal_share * answers) - declined)
    missing = max(0, wanted - len(unanswerable))
    if missing:
        say(
            f"curate: {wanted} refusals are needed for {answers} answered questions, but there are only "
            f"{len(unanswerable)}; raise synthesize.unanswerable_share, or add questions to synthesize.out_of_domain."
        )
    rows = [answer_row(each, config.max_clause_words) for each in kept]
    rows += [refusal_row(row["question"], config.refusal) for row in unanswerable[:wanted]]
    rows += [rehearsal_row(row["prompt"], row["answer"]) for row in rehearsed]
    return rows, close, missing


def keyword_queries(
    split: Path,
    refused: list[Row],
    evaluation: list[str],
    config: CurateConfig,
    replace_words: SynonymReplacer,
    seed: int,
) -> tuple[list[TrainingRow], list[Rejection]]:
    """Return the keyword queries, and the rejections that are too close to an evaluation question."""
    found = statements(artifacts.read_table(split / "train.parquet"), config.max_answer_words, config.max_clause_words)
    names = sorted(count_names([row["question"] for row in refused if row["kind"] == "out_of_domain"]))
    rows = keyword_query_rows(found, names, config, replace_words, random.Random(seed))
    return without_leaks(rows, evaluation, config.leak_rouge_l)
