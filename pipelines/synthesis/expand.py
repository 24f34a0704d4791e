"""Candidates generated from windows, pairs of windows, kept questions and seed tasks, not yet validated."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pipelines.artifacts import Row
from pipelines.llm.calls import Reply
from pipelines.llm.prompts import Recipe
from pipelines.synthesis.candidate import Candidate, Teacher, locate
from pipelines.synthesis.config import SynthesizeConfig
from pipelines.synthesis.filters import Novelty
from pipelines.synthesis.planner import Passage
from pipelines.synthesis.reasons import Reason

_EXAMPLES = 8  # few-shot tasks in a prompt: 6 hand-written, 2 generated (Wang et al. 2023, section 2.2)
_HAND_WRITTEN = 6
_TASKS_PER_ROUND = 64  # tasks generated between two updates of the pool
_PARAGRAPH = "\n\n"


def windows(writer: Teacher, recipe: Recipe, passages: Sequence[Passage], share: float, seed: int) -> list[Candidate]:
    """Apply `recipe` to a share of the windows, or of the pairs of neighbouring windows of a document."""
    chosen = _sample_share(_units(passages, recipe.about == "windows"), share, recipe, seed)
    calls = [
        recipe.call(
            {"window": passage.window.text, "other": other.window.text if other else ""},
            passage.language,
            writer.instructed,
        )
        for passage, other in chosen
    ]
    replies = writer.ask(calls, recipe.name)
    return [
        _parse_windows(recipe, passage, other, reply) for (passage, other), reply in zip(chosen, replies, strict=True)
    ]


def questions(writer: Teacher, recipe: Recipe, kept: Sequence[Candidate], share: float, seed: int) -> list[Candidate]:
    """Apply `recipe` to a share of the kept questions."""
    chosen = _sample_share(kept, share, recipe, seed)
    if recipe.makes == "quote_then_answer":
        return [_quote_then_answer(recipe, each) for each in chosen]
    calls = [recipe.call(_prompt_fields(each), each.language, writer.instructed) for each in chosen]
    replies = writer.ask(calls, recipe.name)
    return [each for old, reply in zip(chosen, replies, strict=True) for each in _parse_rewrites(recipe, old, reply)]


def tasks(
    writer: Teacher,
    recipe: Recipe,
    seeds: Sequence[Row],
    config: SynthesizeConfig,
    seed: int,
) -> list[Candidate]:
    """Self-instruct: extend a pool of tasks by the novel ones among those generated.

    The number of calls is the recipe's share times the number of seeds.

    A task joins the pool if its ROUGE-L to every task in it is at most `config.max_similarity` (Self-Instruct, Wang et
    al. 2023, arXiv:2212.10560, section 2.3); the others are rejected as `not_novel`.
    """
    rng = random.Random(f"{seed} {recipe.name}")
    hand_written = [f"Task: {row['question']}\nSolution: {row['answer']}" for row in seeds]
    known, grown, candidates = Novelty([row["question"] for row in seeds]), list[str](), list[Candidate]()
    left = int(config.recipes[recipe.name] * len(seeds))
    while left:
        count, left = min(_TASKS_PER_ROUND, left), max(0, left - _TASKS_PER_ROUND)
        pools = [_examples(hand_written, grown, rng) for _ in range(count)]
        calls = [
            recipe.call({"examples": examples}, "en", writer.instructed, config.temperature, sample=number)
            for number, examples in enumerate(pools, len(candidates))
        ]
        for reply in writer.ask(calls, recipe.name):
            each = _parse_task(recipe, reply)
            if each.reason is None and known.closest(each.question) > config.max_similarity:
                each = each.rejected(Reason.NOT_NOVEL)
            if each.reason is None:
                known.add(each.question)
                grown.append(f"Task: {each.question}\nSolution: {each.answer}")
            candidates.append(each)
    return candidates


def _examples(hand_written: list[str], grown: list[str], rng: random.Random) -> str:
    generated = rng.sample(grown, min(len(grown), _EXAMPLES - _HAND_WRITTEN))
    return _PARAGRAPH.join(rng.sample(hand_written, min(len(hand_written), _EXAMPLES - len(generated))) + generated)


def _units(passages: Sequence[Passage], pairs: bool) -> list[tuple[Passage, Passage | None]]:
    if not pairs:
        return [(passage, None) for passage in passages]
    following = pairwise(passages)
    return [(one, other) for one, other in following if one.source == other.source]


def _sample_share(units: Sequence[Any], share: float, recipe: Recipe, seed: int) -> list[Any]:
    """Choose a share of the units, in their order."""
    rng = random.Random(f"{seed} {recipe.name}")
    chosen = sorted(rng.sample(range(len(units)), round(share * len(units))))
    return [units[index] for index in chosen]


def _prompt_fields(each: Candidate) -> dict[str, str]:
    return {"window": each.window, "sentence": each.sentence, "question": each.question, "answer": each.answer}


def _quote_then_answer(recipe: Recipe, each: Candidate) -> Candidate:
    question, answer = recipe.written(_prompt_fields(each), each.language)
    return replace(_with_recipe(recipe, each), question=question, answer=answer)


def _with_recipe(recipe: Recipe, each: Candidate) -> Candidate:
    return replace(each, recipe=recipe.name, version=recipe.version, makes=recipe.makes)


def _parse_windows(recipe: Recipe, passage: Passage, other: Passage | None, reply: Reply) -> Candidate:
    """Parse a reply about one window, or two."""
    window = passage.window
    text = window.text + (_PARAGRAPH + other.window.text if other else "")
    empty = Candidate(
        recipe=recipe.name,
        version=recipe.version,
        makes=recipe.makes,
        language=passage.language,
        source=passage.source,
        start=window.start,
        end=other.window.end if other else window.end,
        kind="",
        window=text,
        sentence="",
    )
    return _fill(recipe, empty, reply)


def _parse_rewrites(recipe: Recipe, old: Candidate, reply: Reply) -> list[Candidate]:
    """Parse a reply about a kept question: paraphrases, or a harder question."""
    old = replace(_with_recipe(recipe, old), read=None, consistency=None)
    if recipe.makes != "wording":
        return [_fill(recipe, old, reply)]
    fields = recipe.parse(reply)
    if isinstance(fields, str):
        return [old.rejected(fields)]
    return [replace(old, question=question) for question in dict.fromkeys(fields["questions"])]


def _parse_task(recipe: Recipe, reply: Reply) -> Candidate:
    empty = Candidate(
        recipe=recipe.name,
        version=recipe.version,
        makes=recipe.makes,
        language="en",
        source="",
        start=0,
        end=0,
        kind="",
        window="",
        sentence="",
    )
    return _fill(recipe, empty, reply)


def _fill(recipe: Recipe, empty: Candidate, reply: Reply) -> Candidate:
    """Fill in the fields of a reply; reject it if its evidence is not in the window."""
    fields = recipe.parse(reply)
    if isinstance(fields, str):
        return empty.rejected(fields)
    if recipe.makes == "chat":
        turns = tuple((turn["question"], turn["answer"]) for turn in fields["turns"])
        return replace(empty, question=turns[0][0], answer=turns[0][1], turns=turns)
    if recipe.makes == "instruction":
        passage = empty.window.split("\n", 1)[-1]
        return replace(empty, question=fields["question"], answer=passage)
    filled = replace(empty, question=fields["question"], answer=fields.get("answer", ""))
    return filled if "evidence" not in fields else _with_evidence(filled, fields["evidence"])


def _with_evidence(each: Candidate, evidence: str | list[str]) -> Candidate:
    """Set the evidence as it is written in the window; reject the candidate if a quote is missing."""
    quotes = [evidence] if isinstance(evidence, str) else evidence
    places = [locate(quote, each.window) for quote in quotes]
    evidence_texts = [each.window[start:end] for start, end in filter(None, places)]
    if len(evidence_texts) < len(quotes):
        return each.rejected(Reason.EVIDENCE_MISSING)
    return replace(each, sentence=" ".join(evidence_texts))
