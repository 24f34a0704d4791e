"""What the teacher is told, as writer of questions and as reader of passages."""

from pipelines.generation import Message

NOT_STATED = "Not stated."
"""What a reader says when the passage does not hold the answer."""

WRITER = (
    "Write one question about the passage whose only correct answer is the given one. It must be clear without the "
    "passage: name the person, place or thing it is about. Never mention the passage. Reply with the question alone."
)
READER = (
    "Answer the question from the passage alone, in its own words, as briefly as possible. "
    f"If it does not say, reply: {NOT_STATED}"
)


def writer(window: str, sentence: str, answer: str, instructed: bool) -> list[Message]:
    """Ask for the question that `answer`, found in `sentence` of `window`, answers.

    `instructed` adds the instructions, which a schooled teacher no longer needs and would only pay for.
    """
    body = f"{window}\n\nSentence: {sentence}\nAnswer: {answer}\nQuestion:"
    return [*_instructions(WRITER, instructed), {"role": "user", "content": body}]


def reader(window: str, question: str, instructed: bool) -> list[Message]:
    """Ask `question` of `window`."""
    return [
        *_instructions(READER, instructed),
        {"role": "user", "content": f"{window}\n\nQuestion: {question}\nAnswer:"},
    ]


def _instructions(text: str, instructed: bool) -> list[Message]:
    return [{"role": "system", "content": text}] if instructed else []
