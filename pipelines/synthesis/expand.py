"""What recipes make of windows, pairs of windows, kept questions and seed tasks: candidates, not yet examined."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pipelines.artifacts import Row
from pipelines.llm.calls import Reply
from pipelines.llm.prompts import Recipe
from pipelines.synthesis.candidate import Asked, Candidate, place
from pipelines.synthesis.filters import Novelty
from pipelines.synthesis.planner import Passage

_SHOWN = 8  # tasks of the pool that a teacher is shown: 6 by hand, 2 of its own (Wang et al. 2023, section 2.2)
_BY_HAND = 6
_ROUND = 64  # tasks asked for between two looks at the pool
_APART = "\n\n"


def windows(writer: Asked, recipe: Recipe, found: Sequence[Passage], share: float, seed: int) -> list[Candidate]:
    """Ask `recipe` about a share of the windows, or of the pairs of neighbouring windows of a document."""
    chosen = _some(_units(found, recipe.about == "windows"), share, recipe, seed)
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
        each
        for (passage, other), reply in zip(chosen, replies, strict=True)
        for each in _about(recipe, passage, other, reply)
    ]


def questions(writer: Asked, recipe: Recipe, kept: Sequence[Candidate], share: float, seed: int) -> list[Candidate]:
    """Ask `recipe` for something new about a share of the kept questions."""
    chosen = _some(kept, share, recipe, seed)
    if recipe.makes == "quote_then_answer":
        return [_recital(recipe, each) for each in chosen]
    calls = [recipe.call(_filled(each), each.language, writer.instructed) for each in chosen]
    replies = writer.ask(calls, recipe.name)
    return [each for old, reply in zip(chosen, replies, strict=True) for each in _anew(recipe, old, reply)]


def tasks(
    writer: Asked,
    recipe: Recipe,
    seeds: Sequence[Row],
    share: float,
    temperature: float,
    max_similarity: float,
    seed: int,
) -> list[Candidate]:
    """Grow a pool of tasks by what is new in it: as many calls as `share` times the seeds.

    A new task joins the pool when its ROUGE-L to every task in it is at most `max_similarity` (Self-Instruct, Wang et
    al. 2023, arXiv:2212.10560, section 2.3); the others are rejected as `not_novel`.
    """
    rng = random.Random(f"{seed} {recipe.name}")
    by_hand = [f"Task: {row['question']}\nSolution: {row['answer']}" for row in seeds]
    known, grown, made = Novelty([row["question"] for row in seeds]), list[str](), list[Candidate]()
    left = int(share * len(seeds))
    while left:
        count, left = min(_ROUND, left), max(0, left - _ROUND)
        pools = [_shown(by_hand, grown, rng) for _ in range(count)]
        calls = [
            recipe.call({"examples": shown}, "en", writer.instructed, temperature, sample=number)
            for number, shown in enumerate(pools, len(made))
        ]
        for reply in writer.ask(calls, recipe.name):
            each = _task(recipe, reply)
            if each.reason is None and known.closest(each.question) > max_similarity:
                each = each.rejected("not_novel")
            if each.reason is None:
                known.add(each.question)
                grown.append(f"Task: {each.question}\nSolution: {each.answer}")
            made.append(each)
    return made


def _shown(by_hand: list[str], grown: list[str], rng: random.Random) -> str:
    own = rng.sample(grown, min(len(grown), _SHOWN - _BY_HAND))
    return _APART.join(rng.sample(by_hand, min(len(by_hand), _SHOWN - len(own))) + own)


def _units(found: Sequence[Passage], pairs: bool) -> list[tuple[Passage, Passage | None]]:
    if not pairs:
        return [(passage, None) for passage in found]
    following = pairwise(found)
    return [(one, other) for one, other in following if one.source == other.source]


def _some(units: Sequence[Any], share: float, recipe: Recipe, seed: int) -> list[Any]:
    """Choose a share of the units, in their order."""
    rng = random.Random(f"{seed} {recipe.name}")
    chosen = sorted(rng.sample(range(len(units)), round(share * len(units))))
    return [units[index] for index in chosen]


def _filled(each: Candidate) -> dict[str, str]:
    return {"window": each.window, "sentence": each.sentence, "question": each.question, "answer": each.answer}


def _recital(recipe: Recipe, each: Candidate) -> Candidate:
    question, answer = recipe.written(_filled(each), each.language)
    return replace(_under(recipe, each), question=question, answer=answer)


def _under(recipe: Recipe, each: Candidate) -> Candidate:
    return replace(each, recipe=recipe.name, version=recipe.version, makes=recipe.makes)


def _about(recipe: Recipe, passage: Passage, other: Passage | None, reply: Reply) -> list[Candidate]:
    """Make candidates of an answer about one window, or two."""
    window = passage.window
    text = window.text + (_APART + other.window.text if other else "")
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
    return [_read(recipe, empty, reply)]


def _anew(recipe: Recipe, old: Candidate, reply: Reply) -> list[Candidate]:
    """Make candidates of an answer about a kept question: other wordings of it, or a harder one."""
    old = replace(_under(recipe, old), read=None, consistency=None)
    if recipe.makes != "wording":
        return [_read(recipe, old, reply)]
    fields = recipe.parse(reply)
    if isinstance(fields, str):
        return [old.rejected(fields)]
    return [replace(old, question=question) for question in dict.fromkeys(fields["questions"])]


def _task(recipe: Recipe, reply: Reply) -> Candidate:
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
    return _read(recipe, empty, reply)


def _read(recipe: Recipe, empty: Candidate, reply: Reply) -> Candidate:
    """Fill in the fields of an answer; evidence that does not stand in the window is a reason to reject it."""
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
    return filled if "evidence" not in fields else _evident(filled, fields["evidence"])


def _evident(each: Candidate, evidence: str | list[str]) -> Candidate:
    """Put the evidence in, as it stands in the window."""
    quotes = [evidence] if isinstance(evidence, str) else evidence
    places = [place(quote, each.window) for quote in quotes]
    found = [each.window[start:end] for start, end in filter(None, places)]
    if len(found) < len(quotes):
        return each.rejected("evidence_missing")
    return replace(each, sentence=" ".join(found))
