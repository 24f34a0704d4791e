"""Asking the teachers: a question for every sentence, then what other recipes make of windows and of kept questions."""

from collections.abc import Sequence
from dataclasses import replace

from pipelines.artifacts import Row
from pipelines.llm.prompts import Recipe
from pipelines.synthesis import expand
from pipelines.synthesis.candidate import Asked, Candidate
from pipelines.synthesis.planner import Passage, plan, rounds
from pipelines.synthesis.validate import Validator


def about_spans(
    writer: Asked,
    examiner: Validator,
    recipe: Recipe,
    found: Sequence[Passage],
    *,
    kinds: Sequence[str],
    spans: int,
    max_words: int,
    budget: int,
    attempts: int,
    temperature: float,
) -> list[Candidate]:
    """Have questions written for spans of every sentence, and examined; see `planner.rounds`.

    The first attempt at a span is greedy, later ones are sampled at `temperature`.
    """

    def ask(due: list[Candidate], attempt: int) -> list[Candidate]:
        calls = [
            recipe.call(
                {"window": each.window, "sentence": each.sentence, "answer": each.answer},
                each.language,
                writer.instructed,
                temperature if attempt else None,
                attempt,
            )
            for each in due
        ]
        replies = writer.ask(calls, "writing questions")
        written = [
            _written(each, recipe.parse(reply), reply.certainty) for each, reply in zip(due, replies, strict=True)
        ]
        return examiner.examine(written, recipe.makes)

    return list(rounds(plan(found, recipe, kinds, spans, max_words, budget), budget, attempts, ask))


def by_recipe(
    writer: Asked,
    examiner: Validator,
    recipe: Recipe,
    share: float,
    found: Sequence[Passage],
    kept: Sequence[Candidate],
    seeds: Sequence[Row],
    *,
    temperature: float,
    max_similarity: float,
    seed: int,
) -> list[Candidate]:
    """Ask another recipe about a share of what it is about, and have the result examined."""
    if recipe.about == "question":
        made = expand.questions(writer, recipe, kept, share, seed)
    elif recipe.about == "tasks":
        made = expand.tasks(writer, recipe, seeds, share, temperature, max_similarity, seed)
    else:
        made = expand.windows(writer, recipe, found, share, seed)
    return made if recipe.makes in ("quote_then_answer", "unanswerable") else examiner.examine(made, recipe.makes)


def _written(each: Candidate, fields: dict[str, str] | str, certainty: float | None) -> Candidate:
    if isinstance(fields, str):
        return each.rejected(fields)
    return replace(each, question=fields["question"], writer_probability=certainty)
