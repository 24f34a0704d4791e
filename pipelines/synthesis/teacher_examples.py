"""Lessons that school a small model as writer of questions and reader of passages, from hand-written seeds.

A seed is a passage, an answer that stands in it, and its question; or a question that the passage does not answer,
with `answer` null: such near misses teach a reader to say so.
"""

import random
from collections.abc import Sequence

from pipelines.artifacts import Row
from pipelines.llm.prompts import Recipe
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.text.sentences import sentences

_OTHER = 4  # one lesson in so many has another passage, that says nothing of the question


def training_examples(seeds: Sequence[Row], writing: Recipe, reading: Recipe, seed: int) -> list[list[Message]]:
    """Return the chats: of an answered seed a writer's and a reader's, of an unanswered one a reader's.

    Some of the reader's come again with another passage.

    Raises:
        UserError: a seed is incomplete, or its answer does not stand in its passage.
    """
    rng = random.Random(seed)
    passages = list(dict.fromkeys(str(row.get("passage")) for row in seeds))
    chats: list[list[Message]] = []
    for number, row in enumerate(seeds, 1):
        passage, answer, question = _checked(row, number)
        silence = reading.words("en").abstain
        chats.append(_lesson(reading, passage, "", question, "", answer or silence))
        if answer is None:
            continue
        sentence = next((text for text in _around(passage) if answer in text), passage)
        chats.append(_lesson(writing, passage, sentence, "", answer, question))
        if number % _OTHER == 0 and len(passages) > 1:
            other = rng.choice([each for each in passages if each != passage])
            chats.append(_lesson(reading, other, "", question, "", silence))
    return chats


def _checked(row: Row, number: int) -> tuple[str, str | None, str]:
    missing = {"passage", "answer", "question"} - row.keys()
    if missing:
        raise UserError(f"The seeds' row {number} has no {sorted(missing)[0]!r}.")
    if row["answer"] is not None and row["answer"] not in row["passage"]:
        raise UserError(f"The seeds' row {number} has an answer that is not in its passage.")
    return row["passage"], row["answer"], row["question"]


def _around(passage: str) -> list[str]:
    return [passage[start:end] for start, end in sentences(passage)]


def _lesson(recipe: Recipe, window: str, sentence: str, question: str, answer: str, said: str) -> list[Message]:
    filled = {"window": window, "sentence": sentence, "question": question, "answer": answer}
    return [*recipe.call(filled, "en", instructed=False).messages, {"role": "assistant", "content": said}]
