"""Synthesize: teachers generate questions, answers and tasks from windows of text, each with its source and span.

Reads artifacts/split/, artifacts/base/, artifacts/teacher/, the prompt templates, and the user's conversations, which
are balanced with unanswerable questions like generated ones. Writes to artifacts/synthesize/: candidates.jsonl (a row
with a `reason` is rejected), unanswerable.jsonl, and rehearsal.jsonl with its key. The task `curate` selects the
training rows. Standalone: python -m tasks.synthesize
"""

from collections import Counter
from collections.abc import Sequence
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
from pipelines.models import devices, loading, weights
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.synthesis import rehearsal, unanswerable
from pipelines.synthesis.candidate import Candidate, Teacher
from pipelines.synthesis.generate import about_spans, by_recipe
from pipelines.synthesis.planner import LANGUAGES, Passage, passages
from pipelines.synthesis.validate import Validator
from tasks import task

_MAX_OTHER_LANGUAGES = 0.1  # share of the text in other languages that is reported


def synthesize(
    split: Path, base: Path, finetuned: Path, out: Path, config: Config, cache: ResponseCache
) -> tuple[dict[str, float], dict[str, float]]:
    """Generate questions about every sentence within the budget, then other tasks, unanswerable questions, rehearsal.

    `finetuned` is the output of the task `teacher`. Returns metrics, and the numbers of calls by model.

    Raises:
        UserError: a prompt template is invalid, a teacher is missing or unable to apply a recipe, or no sentence states
            anything to ask about.
    """
    work = config.synthesize
    devices.prepare(config.compute)
    library = prompts.load_library(work.prompts, work.recipes if config.writes_questions else {})
    tok = loading.tokenizer(base)
    documents = artifacts.read_table(split / "train.parquet")
    if config.writes_questions:
        report_other_languages(documents)
    corpus = passages(documents, tok, work.window_tokens, work.overlap_tokens)
    teachers = load_teachers(config.teacher, finetuned, config.base, config.compute, work.batch_size, cache)
    _check_abilities(teachers, library)
    rehearsed = rehearsal_rows(base, tok, out, config)
    validator = _validator(teachers, library, config)
    candidates = (
        _candidates(teachers.writer, validator, library, corpus, config) if teachers.writer and validator else []
    )
    user = [row for row in user_rows(config.curate.user_data)[0] if not declines(row, config.curate.refusal)]
    if not candidates and not user:
        message = "No sentence of artifacts/split/train.parquet has an answer span of synthesize.kinds; add documents."
        raise UserError(message if config.writes_questions else nothing_written(config.curate.user_data))
    kept = [each for each in candidates if each.reason is None and each.answer]
    written = [each for each in candidates if each.reason is None and not each.answer]
    out_of_domain = [row["question"] for row in artifacts.read_rows(work.out_of_domain, ["question"])]
    seeds = [row["question"] for row in artifacts.read_rows(config.teacher.seeds) if row["answer"]]
    unanswered, dropped = unanswerable.generate(
        validator,
        answered=[each.question for each in kept] + user_questions(user),
        passages=corpus,
        written=written,
        out_of_domain=out_of_domain,
        other_domains=out_of_domain + seeds,
        most=int(work.unanswerable_share * (len(kept) + len(user)) / 2),
        seed=config.compute.seed,
    )
    refused = [{"question": question, "kind": "out_of_domain"} for question in out_of_domain] + unanswered
    artifacts.write_rows(out / "candidates.jsonl", (each.as_row() for each in candidates if each.answer or each.reason))
    artifacts.write_rows(out / "unanswerable.jsonl", refused)
    return {
        "candidates": float(len(candidates)),
        "survived": float(len(kept)),
        "unanswerable": float(len(refused)),
        "unanswerable_answered": float(dropped),
        "rehearsal": float(len(rehearsed)),
    }, teachers.counts()


def report_other_languages(documents: Sequence[Row]) -> None:
    """Report a considerable share of text in languages without span rules, filters and prompt templates."""
    sizes = Counter[str]()
    for document in documents:
        sizes[document["language"] or "unknown"] += len(document["text"])
    others = Counter({language: size for language, size in sizes.items() if language not in LANGUAGES})
    if others.total() > _MAX_OTHER_LANGUAGES * sizes.total():
        names = ", ".join(language for language, _ in others.most_common(3))
        say(
            f"synthesize: {others.total() / sizes.total():.0%} of the text is neither English nor Chinese ({names}); "
            "questions about it are written in English, and most fail the filters."
        )


def _candidates(
    writer: Teacher, validator: Validator, library: PromptLibrary, corpus: list[Passage], config: Config
) -> list[Candidate]:
    """Apply every prompt template: those about spans first, since others build on the questions that were kept."""
    work = config.synthesize
    candidates: list[Candidate] = []
    for recipe in library.recipes.values():
        if recipe.about == "span":
            candidates += about_spans(writer, validator, recipe, corpus, work)
    kept = [each for each in candidates if each.reason is None]
    tasks = artifacts.read_rows(work.tasks, ["question", "answer"])
    for recipe in library.recipes.values():
        if recipe.about != "span":
            candidates += by_recipe(writer, validator, recipe, corpus, kept, tasks, work, config.compute.seed)
    return candidates


def _validator(teachers: Teachers, library: PromptLibrary, config: Config) -> Validator | None:
    """Return the validator of questions, or None without a reader."""
    if teachers.reader is None:
        return None
    return Validator(teachers.reader, teachers.judge, library.reader, library.judge, config.synthesize)


def _check_abilities(teachers: Teachers, library: PromptLibrary) -> None:
    """Reject recipes and roles that a fine-tuned teacher was not trained for."""
    others = [
        each.name for each in library.recipes.values() if each.about != "span" and each.makes != "quote_then_answer"
    ]
    if others and teachers.writer is not None and not teachers.writer.instructed:
        raise UserError(
            f"synthesize.recipes has {others[0]!r}, but the writer is a fine-tuned teacher, which only asks about "
            "spans; remove the recipe, or name another model in teacher.roles."
        )
    if teachers.judge is not None and not teachers.judge.instructed:
        raise UserError("teacher.roles.judge is a fine-tuned teacher, which cannot judge; name another model, or null.")


def rehearsal_rows(base: Path, tok: PreTrainedTokenizerBase, out: Path, config: Config) -> list[Row]:
    """Return prompts and answers for rehearsal: the stored answers if their key matches, else the base model's."""
    work, seed = config.synthesize, config.compute.seed
    general = [row["prompt"] for row in artifacts.read_rows(work.rehearsal / rehearsal.PROMPTS)]
    settings = {"prompts": general, "invented": work.rehearsal_generated, "tokens": work.rehearsal_tokens, "seed": seed}
    quantized = [] if config.base.quantization == "none" else [config.base.quantization]
    key = weights.stored_hash(base, tok.chat_template, settings, *quantized)
    rows = rehearsal.stored_answers(work.rehearsal, key)
    if rows is None:
        model = loading.load(base, config.compute, config.base)
        general += rehearsal.invent(model, tok, general, work.rehearsal_generated, work.batch_size, seed)
        rows = rehearsal.rehearse(model, tok, general, work.rehearsal_tokens, work.batch_size, seed)
    artifacts.write_rows(out / rehearsal.ANSWERS, rows)
    artifacts.write_json(out / rehearsal.KEY, {"key": key})
    return rows


if __name__ == "__main__":
    with task("synthesize") as t:
        metrics, call_counts = synthesize(
            t.input("split"), t.input("base"), t.input("teacher"), t.out, t.config, ResponseCache(PATH)
        )
        t.run.metrics(call_counts)  # not part of the record: a repeated run takes the replies from the cache
        t.finish(metrics)
