"""Question generation: questions about every sentence, then the other prompt templates on windows and questions."""

from collections.abc import Sequence
from dataclasses import replace

from pipelines.artifacts import Row
from pipelines.llm.prompts import Recipe
from pipelines.synthesis import expand
from pipelines.synthesis.candidate import Candidate, Teacher
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.planner import Passage, plan, rounds
from pipelines.synthesis.validate import Validator


def about_spans(
    writer: Teacher, validator: Validator, recipe: Recipe, passages: Sequence[Passage], config: SynthesizeConfig
) -> list[Candidate]:
    """Write and validate questions about spans of every sentence, in the order of `planner.rounds`.

    The first attempt at a span is greedy, later ones are sampled at `config.temperature`.
    """
    budget = int(config.recipes[recipe.name] * config.max_questions)

    def ask(spans: list[Candidate], attempt: int) -> list[Candidate]:
        calls = [
            recipe.call(
                {"window": each.window, "sentence": each.sentence, "answer": each.answer},
                each.language,
                writer.instructed,
                config.temperature if attempt else None,
                attempt,
            )
            for each in spans
        ]
        replies = writer.ask(calls, "writing questions")
        written = [
            _written(each, recipe.parse(reply), reply.certainty) for each, reply in zip(spans, replies, strict=True)
        ]
        return validator.validate(written, recipe.makes)

    return list(rounds(plan(passages, recipe, config, budget), budget, config.attempts, ask))


def by_recipe(
    writer: Teacher,
    validator: Validator,
    recipe: Recipe,
    passages: Sequence[Passage],
    kept: Sequence[Candidate],
    seeds: Sequence[Row],
    config: SynthesizeConfig,
    seed: int,
) -> list[Candidate]:
    """Apply another prompt template to a share of the windows, kept questions or seed tasks; validate the result."""
    share = config.recipes[recipe.name]
    if recipe.about == "question":
        candidates = expand.questions(writer, recipe, kept, share, seed)
    elif recipe.about == "tasks":
        candidates = expand.tasks(writer, recipe, seeds, config, seed)
    else:
        candidates = expand.windows(writer, recipe, passages, share, seed)
    if recipe.makes in ("quote_then_answer", "unanswerable"):
        return candidates
    return validator.validate(candidates, recipe.makes)


def _written(span: Candidate, fields: dict[str, str] | str, probability: float | None) -> Candidate:
    if isinstance(fields, str):
        return span.rejected(fields)
    return replace(span, question=fields["question"], writer_probability=probability)
