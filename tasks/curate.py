"""Curate: which of the teacher's questions are worth training on, and what else a model is shown.

Reads artifacts/synthesize/, artifacts/split/, artifacts/base/ and the evaluation questions of `data/questions/`, none
of which may leak into training. Writes train.jsonl, validation.jsonl, preference_prompts.jsonl (chat format) and
rejects.jsonl to artifacts/curate/; curate.html (filter yields, coverage, examples of rejects) and curate.md (the
dataset card) to artifacts/reports/. A row of train.jsonl belongs to one variant (shown in the epochs congruent to it
modulo `curate.num_variants`) or, with null, to all. preference_prompts.jsonl holds one further variant, which
fine-tuning never sees, and the user's conversations: preferences are sampled on it.
Alone: python -m tasks.curate
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.curation import report
from pipelines.curation.card import card
from pipelines.curation.config import CurateConfig
from pipelines.curation.coverage import Coverage, coverage
from pipelines.curation.keyword_queries import statements
from pipelines.curation.leaks import Measured, apart_from, unstated
from pipelines.curation.rows import answer_row, keyword_query_rows, refusal_row, rehearsal_row, tagged, variants
from pipelines.curation.select import apart, choose, hold_back, same_meaning, without_leaks
from pipelines.curation.synonyms import SynonymReplacer, synonym_replacer
from pipelines.curation.user_data import declines, user_questions, user_rows
from pipelines.models import loading
from pipelines.runtime.errors import UserError
from pipelines.runtime.html import render
from pipelines.runtime.progress import say
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.text.names import count_names
from pipelines.text.similarity import embeddings, meanings
from tasks import task


def curate(
    synthesized: Path,
    split: Path,
    base: Path,
    questions: Path,
    out: Path,
    reports: Path,
    config: CurateConfig,
    work: SynthesizeConfig,
    seed: int,
) -> dict[str, float]:
    """Keep what survives every filter, word it anew for each variant, and add cues; return the yield of each.

    Raises:
        UserError: no question survives, and there is no conversation of one's own.
    """
    asked = {path.stem: artifacts.read_rows(path) for path in sorted(questions.glob("*.jsonl"))}
    evaluation = [row["question"] for rows in asked.values() for row in rows]
    candidates = artifacts.read_rows(synthesized / "candidates.jsonl")

    tok, embedded = loading.tokenizer(base), embeddings(base)

    def means_same(rows: Sequence[Row]) -> Iterator[bool]:
        vectors = meanings([row["question"] for row in rows], tok, embedded)
        return same_meaning(rows, vectors, config.max_cosine)

    kept, rejected = choose(candidates, evaluation, means_same, config.max_rouge_l, config.leak_rouge_l)
    own, left_out = _own(asked, config)
    if not kept and not own:
        artifacts.write_rows(out / "rejects.jsonl", [*rejected, *left_out])
        raise UserError(_nothing([*rejected, *left_out], config.user_data, out))
    refused = artifacts.read_rows(synthesized / "unanswerable.jsonl")
    rehearsed, leaked = _rehearsed(synthesized, asked, config)
    rows, close, missing = _rows(kept, own, refused, rehearsed, evaluation, config)
    train, validation = hold_back(rows, config.validation_share, seed)
    user_train, user_validation = hold_back(own, config.validation_share, seed)
    swap = synonym_replacer(tok, embedded, config.synonym_rate)
    worded, near = without_leaks(
        variants([*train, *user_train], config.num_variants + 1, swap, random.Random(seed)),
        evaluation,
        config.leak_rouge_l,
    )
    cued, alike = _cues(split, refused, evaluation, config, swap, seed)
    rejected += [*left_out, *leaked, *close, *near, *alike]
    documents = artifacts.read_table(split / "train.parquet")
    ids, rng = [document["id"] for document in documents], random.Random(seed)
    every = [tagged(row, config.source_tags, ids, rng) for row in (*worded, *cued)]
    validation = [tagged(row, config.source_tags, ids, rng) for row in (*validation, *user_validation)]
    trained, fresh = _by_showing(every, config.num_variants)
    fresh += [{**row, "kind": "refusal" if declines(row, config.refusal) else "answer"} for row in user_train]
    artifacts.write_rows(out / "train.jsonl", trained)
    artifacts.write_rows(out / "preference_prompts.jsonl", fresh)
    artifacts.write_rows(out / "validation.jsonl", validation)
    artifacts.write_rows(out / "rejects.jsonl", rejected)
    good = [row for row in candidates if row["reason"] is None]  # a repeated question covers its sentence, too
    covered = coverage(documents, good, work.kinds, work.max_span_words)
    facts = report.facts(documents, candidates, kept, rejected, [*rows, *own], covered, config.report_examples)
    (reports / "curate.html").write_text(render(report.TEMPLATE, facts), encoding="utf-8")
    described = _card(trained, validation, rejected, documents, Counter(row["kind"] for row in (*rows, *own)), config)
    (reports / "curate.md").write_text(described, encoding="utf-8")
    return {**_counts([*rows, *own, *cued], rejected, covered), "refusals_missing": float(missing)}


def _own(asked: Mapping[str, list[Row]], config: CurateConfig) -> tuple[list[Row], list[Row]]:
    """Return the conversations of one's own, and what is left out of them."""
    general, evaluation = asked.get("general", []), [row["question"] for rows in asked.values() for row in rows]
    brought, unfit = user_rows(config.user_data)
    distinct, leaked = without_leaks(brought, evaluation, config.leak_rouge_l)
    own, stated = unstated(distinct, Measured(general, general, config.leak_coverage))
    return own, [*unfit, *leaked, *stated]


def _rehearsed(synthesized: Path, asked: Mapping[str, list[Row]], config: CurateConfig) -> tuple[list[Row], list[Row]]:
    """Return the rehearsed prompts with their answers that give nothing away of what is measured, and the rest."""
    general, every = asked.get("general", []), [row for rows in asked.values() for row in rows]
    silent, given_away = apart_from(_prompts(synthesized), Measured(every, general, config.leak_coverage))
    rehearsed, leaked = apart(silent, [row["question"] for row in every], config.leak_rouge_l)
    return rehearsed, [*given_away, *leaked]


def _nothing(rejected: list[Row], own: Path, out: Path) -> str:
    """Return why there is nothing to train on."""
    if not rejected:
        return f"There is nothing to train on: synthesize wrote no question, and {own} holds no conversation."
    ((reason, count),) = Counter(row["reason"] for row in rejected).most_common(1)
    return (
        f"None of {len(rejected)} questions is usable, {count} of them for {reason!r}, and {own} holds no usable "
        f"conversation; see {out}/rejects.jsonl."
    )


def _rows(
    kept: list[Row],
    own: list[Row],
    refused: list[Row],
    rehearsed: list[Row],
    evaluation: list[str],
    config: CurateConfig,
) -> tuple[list[Row], list[Row], int]:
    """Return the rows of kept questions, refusals and rehearsal, the refusals left out, and how many are missing.

    Refusals are balanced against all answered questions. One's own that end with the refusal are refusals already.
    """
    answered = [*evaluation, *(row["question"] for row in kept), *user_questions(own)]
    unanswered, close = apart(refused, answered, config.leak_rouge_l)
    declined = sum(declines(row, config.refusal) for row in own)
    answers = len(kept) + len(own) - declined
    wanted = max(0, int(config.refusal_share * answers) - declined)
    missing = max(0, wanted - len(unanswered))
    if missing:
        say(
            f"curate: {answers} answered questions want {wanted} refusals, and there are {len(unanswered)}; raise "
            "synthesize.unanswerable_share, or add questions to synthesize.out_of_domain."
        )
    rows = [answer_row(row, config.max_clause_words) for row in kept]
    rows += [refusal_row(row, config.refusal) for row in unanswered[:wanted]]
    rows += [rehearsal_row(row) for row in rehearsed]
    return rows, close, missing


def _cues(
    split: Path, refused: list[Row], evaluation: list[str], config: CurateConfig, swap: SynonymReplacer, seed: int
) -> tuple[list[Row], list[Row]]:
    """Return the rows of cues, and those too close to an evaluation question."""
    rng = random.Random(seed)
    found = statements(artifacts.read_table(split / "train.parquet"), config.max_answer_words, config.max_clause_words)
    strangers = sorted(count_names([row["question"] for row in refused if row["kind"] == "out_of_domain"]))
    rows = keyword_query_rows(
        found,
        strangers,
        config.refusal,
        num_variants=config.num_variants + 1,
        plain=config.plain_keyword_queries,
        unknown_share=config.unanswerable_query_share,
        most_words=config.max_clause_words,
        swap=swap,
        rng=rng,
    )
    return without_leaks(rows, evaluation, config.leak_rouge_l)


def _by_showing(rows: Sequence[Row], num_variants: int) -> tuple[list[Row], list[Row]]:
    """Return the rows that tuning sees, and those of the variant after."""
    return (
        [row for row in rows if row["variant"] != num_variants],
        [row for row in rows if row["variant"] == num_variants],
    )


def _card(
    trained: list[Row],
    validation: list[Row],
    rejected: list[Row],
    documents: list[Row],
    kept: Counter[str],
    config: CurateConfig,
) -> str:
    """Return the dataset card of what was written."""
    return card(
        "curate",
        {"train": ("train.jsonl", trained), "validation": ("validation.jsonl", validation)},
        rejected,
        documents,
        form="trl",
        license_=config.license,
        kept=kept,
        parameters={"curate": config.model_dump(mode="json")},
    )


def _prompts(synthesized: Path) -> list[Row]:
    rows = artifacts.read_rows(synthesized / "rehearsal.jsonl")
    return [{**row, "question": row["prompt"]} for row in rows]


def _counts(rows: list[Row], rejected: list[Row], covered: Coverage) -> dict[str, float]:
    kinds = Counter(f"kept_{row['kind']}" for row in rows)
    reasons = Counter(f"rejected_{row['reason']}" for row in rejected)
    counts = {key: float(value) for key, value in sorted((kinds + reasons).items())}
    return counts | {"coverage": covered.share, "sentences_asked": float(len(covered.covered))}


if __name__ == "__main__":
    with task("curate") as t:
        settings = t.config
        inputs = t.input("synthesize"), t.input("split"), t.input("base"), settings.evaluate.questions
        t.finish(curate(*inputs, t.out, t.report().parent, settings.curate, settings.synthesize, settings.compute.seed))
