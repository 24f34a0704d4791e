"""Curate: select synthesised candidates and turn them into training rows with variants, refusals and rehearsal.

Reads artifacts/synthesize/, artifacts/split/, artifacts/base/ and the evaluation questions of `data/questions/`, which
must not leak into training. Writes train.jsonl, validation.jsonl, preference_prompts.jsonl (chat format),
rejects.jsonl, questions/ (held back from training, in the form of data/questions/) and validation_questions.json (what
`sft` asks at its validations, only with `sft.validation_questions`) to artifacts/curate/; curate.html (filter yields,
coverage, examples of rejects) and curate.md (the dataset card) to artifacts/reports/. A row of train.jsonl belongs to
one variant (used in the epochs congruent to it modulo `curate.num_variants`) or, with null, to all.
preference_prompts.jsonl has one further variant, which is not used in fine-tuning, and the user's conversations; the
task `pairs` samples answers to it.
Standalone: python -m tasks.curate
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation import calibration, report, schema
from pipelines.curation.card import card
from pipelines.curation.config import CurateConfig
from pipelines.curation.coverage import Coverage, coverage
from pipelines.curation.rows import tagged, variants
from pipelines.curation.schema import Rejection, RowKind, TrainingRow
from pipelines.curation.select import choose, hold_back, same_meaning, without_leaks
from pipelines.curation.sources import keyword_queries, rehearsal_prompts, training_rows, user_conversations
from pipelines.curation.synonyms import synonym_replacer
from pipelines.curation.user_data import declines
from pipelines.evaluation.in_training import sample
from pipelines.evaluation.in_training.sample import ValidationQuestions
from pipelines.evaluation.questions import ANSWERABLE
from pipelines.models import loading
from pipelines.runtime.errors import UserError
from pipelines.runtime.html import render
from pipelines.synthesis.candidate import Candidate
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.prompt_injection import injected_sentences
from pipelines.synthesis.reasons import Reason
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
    synthesis: SynthesizeConfig,
    seed: int,
) -> dict[str, float]:
    """Select candidates, add refusals, rehearsal and keyword queries, write all variants; return counts and coverage.

    Raises:
        UserError: no candidate is kept, and there is no user conversation.
    """
    measured = {path.stem: artifacts.read_rows(path) for path in sorted(questions.glob("*.jsonl"))}
    evaluation = [row["question"] for rows in measured.values() for row in rows]
    candidates = [Candidate.from_row(row) for row in artifacts.read_rows(synthesized / "candidates.jsonl")]
    tok, embedded = loading.tokenizer(base), embeddings(base)

    def means_same(rest: Sequence[Candidate]) -> Iterator[bool]:
        vectors = meanings([each.question for each in rest], tok, embedded)
        return same_meaning(rest, vectors, config.max_cosine)

    kept, dropped = choose(candidates, evaluation, means_same, config.max_rouge_l, config.leak_rouge_l)
    rejected = [Rejection(each.as_row(), each.reason or "") for each in dropped]
    share = calibration.held_back_share(kept, measured.get(ANSWERABLE, []), config)
    unanswerable = artifacts.read_rows(synthesized / "unanswerable.jsonl")
    kept, refused, held_back = calibration.hold_back(kept, dropped, unanswerable, evaluation, share, seed)
    evaluation += [row["question"] for rows in held_back.values() for row in rows]
    user, invalid = user_conversations(measured, config)
    if not kept and not user:
        schema.write(out / "rejects.jsonl", [*rejected, *invalid])
        raise UserError(_nothing_left([*rejected, *invalid], config.user_data, out))
    rehearsed, leaked = rehearsal_prompts(synthesized, measured, config)
    rows, close, missing = training_rows(kept, user, refused, rehearsed, evaluation, config)
    train, validation = hold_back(rows, config.validation_share, seed)
    user_train, user_validation = hold_back(user, config.validation_share, seed)
    replace_words = synonym_replacer(tok, embedded, config)
    augmented = variants([*train, *user_train], config, replace_words, random.Random(seed))
    questions_, near = without_leaks(augmented, evaluation, config.leak_rouge_l)
    queries, similar = keyword_queries(split, refused, evaluation, config, replace_words, seed)
    rejected += [*invalid, *leaked, *close, *near, *similar]
    documents, rng = artifacts.read_table(split / "train.parquet"), random.Random(seed)
    rejected += [Rejection(row, Reason.CARRIES_ORDER) for row in injected_sentences(documents)]
    ids = [document["id"] for document in documents]
    every = [tagged(row, config.source_tags, ids, rng) for row in (*questions_, *queries)]
    validation = [tagged(row, config.source_tags, ids, rng) for row in (*validation, *user_validation)]
    schema.write(out / "train.jsonl", trained := [row for row in every if row.variant != config.num_variants])
    schema.write(out / "preference_prompts.jsonl", _preference_prompts(every, user_train, config))
    schema.write(out / "validation.jsonl", validation)
    schema.write(out / "rejects.jsonl", rejected)
    calibration.write(out / "questions", held_back)
    covered = coverage(documents, [each for each in candidates if each.reason is None], synthesis)  # duplicates too
    facts = report.facts(documents, candidates, kept, rejected, [*rows, *user], covered, config.report_examples)
    (reports / "curate.html").write_text(render(report.TEMPLATE, facts), encoding="utf-8")
    kinds = Counter(row.kind.value for row in (*rows, *user))
    (reports / "curate.md").write_text(_card(trained, validation, rejected, documents, kinds, config), encoding="utf-8")
    others = {"refusals_missing": float(missing), "held_back": float(sum(map(len, held_back.values())))}
    return {**_counts([*rows, *user, *queries], rejected, covered), **others}


def _nothing_left(rejected: list[Rejection], user_data: Path, out: Path) -> str:
    """Return the message for a run without a row to train on."""
    if not rejected:
        return f"There is nothing to train on: synthesize generated no question, and {user_data} holds no conversation."
    ((reason, count),) = Counter(str(each.reason) for each in rejected).most_common(1)
    return (
        f"None of {len(rejected)} questions is usable ({count} of them for {reason!r}), and {user_data} holds no "
        f"usable conversation; see {out}/rejects.jsonl."
    )


def _preference_prompts(
    every: Sequence[TrainingRow], user: Sequence[TrainingRow], config: CurateConfig
) -> list[TrainingRow]:
    """Return the variant that is not used in fine-tuning, and the user's conversations as answers or refusals."""
    held_back = [row for row in every if row.variant == config.num_variants]
    kinds = (RowKind.REFUSAL if declines(row, config.refusal) else RowKind.ANSWER for row in user)
    return held_back + [replace(row, kind=kind) for row, kind in zip(user, kinds, strict=True)]


def _card(
    trained: list[TrainingRow],
    validation: list[TrainingRow],
    rejected: list[Rejection],
    documents: list[Row],
    kinds: Counter[str],
    config: CurateConfig,
) -> str:
    splits = {"train": ("train.jsonl", trained), "validation": ("validation.jsonl", validation)}
    return card(
        "curate",
        {name: (path, [row.as_row() for row in rows]) for name, (path, rows) in splits.items()},
        [each.as_row() for each in rejected],
        documents,
        form="trl",
        license_=config.license,
        kept=kinds,
        parameters={"curate": config.model_dump(mode="json")},
    )


def _counts(rows: list[TrainingRow], rejected: list[Rejection], covered: Coverage) -> dict[str, float]:
    kinds = Counter(f"kept_{row.kind}" for row in rows)
    reasons = Counter(f"rejected_{each.reason}" for each in rejected)
    counts = {key: float(value) for key, value in sorted((kinds + reasons).items())}
    return counts | {"coverage": covered.share, "sentences_asked": float(len(covered.covered))}


def validation_questions(settings: Config) -> ValidationQuestions:
    """Return the sample of validation questions that `sft` asks."""
    drawn = sample.draw(settings.evaluate.questions, settings.sft.validation_questions, settings.compute.seed)
    limits = settings.evaluate.max_new_tokens, settings.evaluate.max_extra_words
    return ValidationQuestions(tuple(drawn), settings.curate.refusal, *limits)


if __name__ == "__main__":
    with task("curate") as t:
        settings = t.config
        inputs = t.input("synthesize"), t.input("split"), t.input("base"), settings.evaluate.questions
        t.finish(curate(*inputs, t.out, t.report().parent, settings.curate, settings.synthesize, settings.compute.seed))
        if settings.sft.validation_questions:
            sample.write(t.out, settings.sft.validation_questions, validation_questions(settings))
