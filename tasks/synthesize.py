"""Synthesize: teachers turn sliding windows of text into questions, answers and tasks, each with its source and span.

Reads artifacts/split/, artifacts/base/, artifacts/teacher/, the prompt files and one's own conversations, which want
unanswerable questions beside them as much as written ones do; writes artifacts/synthesize/:
candidates.jsonl (a row with a `reason` is rejected), unanswerable.jsonl, and rehearsal.jsonl with its key. What is
worth training on among the rest is the task `curate`'s to say. Alone: python -m tasks.synthesize
"""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation.user_data import declines, nothing_written, user_questions, user_rows
from pipelines.llm import prompts
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.prompts import PromptLibrary
from pipelines.llm.teachers import Teachers, load_teachers
from pipelines.models import devices, loading
from pipelines.runtime.errors import UserError
from pipelines.synthesis import rehearsal, unanswerable
from pipelines.synthesis.candidate import Asked, Candidate
from pipelines.synthesis.generate import about_spans, by_recipe
from pipelines.synthesis.planner import Passage, passages
from pipelines.synthesis.validate import Validator
from tasks import task


def synthesize(
    split: Path, base: Path, schooled: Path, out: Path, config: Config, store: ResponseCache
) -> tuple[dict[str, float], dict[str, float]]:
    """Ask about every sentence within the budget; then what other recipes ask, what nobody can answer, and rehearsal.

    Raises:
        UserError: a prompt file is wrong, a teacher is not there or not up to a recipe, or there is nothing to ask.
    """
    work = config.synthesize
    devices.prepare(config.compute)
    book = prompts.load_library(work.prompts, work.recipes if config.writes_questions else {})
    tok = loading.tokenizer(base)
    found = passages(artifacts.read_table(split / "train.parquet"), tok, work.window_tokens, work.overlap_tokens)
    teachers = load_teachers(config.teacher, schooled, config.base, config.compute, work.batch_size, store)
    _up_to(teachers, book)
    rehearsed = rehearsal_rows(base, tok, out, config)
    examiner = _examiner(teachers, book, config)
    asked = _asked(teachers.writer, examiner, book, found, config) if teachers.writer and examiner else []
    own = [row for row in user_rows(config.curate.user_data)[0] if not declines(row, config.curate.refusal)]
    if not asked and not own:
        sentence = "No sentence of artifacts/split/train.parquet has a name, number or clause to ask about."
        raise UserError(sentence if config.writes_questions else nothing_written(config.curate.user_data))
    kept = [each for each in asked if each.reason is None and each.answer]
    missed = [each for each in asked if each.reason is None and not each.answer]
    far = [row["question"] for row in artifacts.read_rows(work.out_of_domain, ["question"])]
    foreign = far + [row["question"] for row in artifacts.read_rows(config.teacher.seeds) if row["answer"]]
    most = int(work.unanswerable_share * (len(kept) + len(own)) / 2)
    answered = [each.question for each in kept] + user_questions(own)
    unanswered, dropped = unanswerable.generate(
        examiner, answered, found, missed, far, foreign, most, config.compute.seed
    )
    refused = [{"question": question, "kind": "out_of_domain"} for question in far] + unanswered
    artifacts.write_rows(out / "candidates.jsonl", (each.as_row() for each in asked if each.answer or each.reason))
    artifacts.write_rows(out / "unanswerable.jsonl", refused)
    return {
        "candidates": float(len(asked)),
        "survived": float(len(kept)),
        "unanswerable": float(len(refused)),
        "unanswerable_answered": float(dropped),
        "rehearsal": float(len(rehearsed)),
    }, teachers.counts()


def _asked(
    writer: Asked, examiner: Validator, book: PromptLibrary, found: list[Passage], config: Config
) -> list[Candidate]:
    """Have every recipe asked: those of spans first, since others build on the questions that were kept."""
    work = config.synthesize
    asked: list[Candidate] = []
    for recipe in book.recipes.values():
        if recipe.about == "span":
            asked += about_spans(
                writer,
                examiner,
                recipe,
                found,
                kinds=work.kinds,
                spans=work.spans_per_sentence,
                max_words=work.max_span_words,
                budget=int(work.recipes[recipe.name] * work.max_questions),
                attempts=work.attempts,
                temperature=work.temperature,
            )
    kept = [each for each in asked if each.reason is None]
    tasks = artifacts.read_rows(work.tasks, ["question", "answer"])
    for recipe in book.recipes.values():
        if recipe.about != "span":
            asked += by_recipe(
                writer,
                examiner,
                recipe,
                work.recipes[recipe.name],
                found,
                kept,
                tasks,
                temperature=work.temperature,
                max_similarity=work.max_similarity,
                seed=config.compute.seed,
            )
    return asked


def _examiner(teachers: Teachers, book: PromptLibrary, config: Config) -> Validator | None:
    """Return who checks questions; None where nobody reads."""
    if teachers.reader is None:
        return None
    return Validator(
        reader=teachers.reader,
        judge=teachers.judge,
        reading=book.reader,
        judging=book.judge,
        max_words=config.synthesize.max_answer_words,
        min_written=config.synthesize.min_writer_probability,
        min_ungrounded=config.synthesize.min_ungrounded_probability,
        min_read=config.synthesize.min_reader_probability,
        min_f1=config.synthesize.min_reader_f1,
        samples=config.synthesize.consistency_samples,
        min_consistency=config.synthesize.min_consistency,
        temperature=config.synthesize.temperature,
    )


def _up_to(teachers: Teachers, book: PromptLibrary) -> None:
    """Refuse recipes that a schooled teacher was never taught."""
    beyond = [each.name for each in book.recipes.values() if each.about != "span" and each.makes != "quote_then_answer"]
    if beyond and teachers.writer is not None and not teachers.writer.instructed:
        raise UserError(
            f"synthesize.recipes has {beyond[0]!r}, but the writer is a schooled teacher, who only asks about spans; "
            "take the recipe out, or name another model in teacher.roles."
        )
    if teachers.judge is not None and not teachers.judge.instructed:
        raise UserError("teacher.roles.judge is a schooled teacher, who cannot judge; name another model, or null.")


def rehearsal_rows(base: Path, tok: PreTrainedTokenizerBase, out: Path, config: Config) -> list[Row]:
    """Return prompts and answers for rehearsal: those that lie with the prompts, or else the model is asked."""
    work, seed = config.synthesize, config.compute.seed
    asked = [row["prompt"] for row in artifacts.read_rows(work.rehearsal / rehearsal.PROMPTS)]
    settings = {"prompts": asked, "invented": work.rehearsal_generated, "tokens": work.rehearsal_tokens, "seed": seed}
    key = loading.stored_hash(base, tok.chat_template, settings)
    rows = rehearsal.kept(work.rehearsal, key)
    if rows is None:
        model = loading.load(base, config.compute)
        asked += rehearsal.invent(model, tok, asked, work.rehearsal_generated, work.batch_size, seed)
        rows = rehearsal.rehearse(model, tok, asked, work.rehearsal_tokens, work.batch_size, seed)
    artifacts.write_rows(out / rehearsal.ANSWERS, rows)
    artifacts.write_json(out / rehearsal.KEY, {"key": key})
    return rows


if __name__ == "__main__":
    with task("synthesize") as t:
        made, called = synthesize(
            t.input("split"), t.input("base"), t.input("teacher"), t.out, t.config, ResponseCache(PATH)
        )
        t.run.metrics(called)  # not of the record: a repetition takes from the store what this run paid for
        t.finish(made)
