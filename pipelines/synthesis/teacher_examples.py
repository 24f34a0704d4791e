"""Training examples from hand-written seeds that fine-tune a small model as writer of questions and as reader.

A seed is a passage, an answer span in it, and its question; or a question that the passage does not answer, with
`answer` null. Such near misses teach the reader to abstain.
"""

import random
from collections.abc import Sequence

from pipelines.artifacts import Row
from pipelines.llm.prompts import Recipe
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.text.sentences import sentences

_MISMATCH_EVERY = 4  # one question in so many is repeated with a passage that does not answer it


def training_examples(seeds: Sequence[Row], writing: Recipe, reading: Recipe, seed: int) -> list[list[Message]]:
    """Return a writer's and a reader's example of each answered seed, and a reader's of each unanswered one.

    Some of the reader's questions are repeated with another passage, and the reader abstains.

    Raises:
        UserError: a seed is incomplete, or its answer is not in its passage.
    """
    rng = random.Random(seed)
    passages = list(dict.fromkeys(str(row.get("passage")) for row in seeds))
    chats: list[list[Message]] = []
    for number, row in enumerate(seeds, 1):
        passage, answer, question = _validated(row, number)
        abstention = reading.words("en").abstain
        chats.append(_example(reading, passage, "", question, "", answer or abstention))
        if answer is None:
            continue
        sentence = next((text for text in _sentences(passage) if answer in text), passage)
        chats.append(_example(writing, passage, sentence, "", answer, question))
        if number % _MISMATCH_EVERY == 0 and len(passages) > 1:
            other = rng.choice([each for each in passages if each != passage])
            chats.append(_example(reading, other, "", question, "", abstention))
    return chats


def _validated(row: Row, number: int) -> tuple[str, str | None, str]:
    missing = {"passage", "answer", "question"} - row.keys()
    if missing:
        raise UserError(f"teacher.seeds: row {number} has no {sorted(missing)[0]!r}; add it.")
    if row["answer"] is not None and row["answer"] not in row["passage"]:
        raise UserError(
            f"teacher.seeds: row {number} has an answer that is not in its passage; copy a span of the passage."
        )
    return row["passage"], row["answer"], row["question"]


def _sentences(passage: str) -> list[str]:
    return [passage[start:end] for start, end in sentences(passage)]


def _example(recipe: Recipe, window: str, sentence: str, question: str, answer: str, response: str) -> list[Message]:
    filled = {"window": window, "sentence": sentence, "question": question, "answer": answer}
    return [*recipe.call(filled, "en", instructed=False).messages, {"role": "assistant", "content": response}]
