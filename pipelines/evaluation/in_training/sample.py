"""A sample of the validation questions, asked at the validations of `sft`, with the settings that judge the answers.

`curate` draws the sample and writes it to artifacts/curate/validation_questions.json, only if
`sft.validation_questions` is above 0. The questions themselves are no dependency of `sft`: it is stale exactly if it
asks questions and the sample has changed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines import artifacts
from pipelines.evaluation import questions, scoring
from pipelines.evaluation.questions import ANSWERABLE, UNANSWERABLE, VALIDATION, Question
from pipelines.runtime.errors import UserError

FILE = "validation_questions.json"
LOSS = "validation_loss"
ACCURACY, HALLUCINATION_RATE, SCORE = "validation/accuracy", "validation/hallucination_rate", "validation/score"
"""What a validation measures."""


@dataclass(frozen=True)
class ValidationQuestions:
    """The questions, and how answers to them are decoded and judged."""

    questions: tuple[Question, ...]
    refusal: str
    """`curate.refusal`."""
    max_new_tokens: int
    """`evaluate.max_new_tokens`."""
    max_extra_words: int
    """`evaluate.max_extra_words`."""

    def metrics(self, answers: Sequence[str]) -> dict[str, float]:
        """Judge one answer per question, by the rules of the evaluation.

        The accuracy is the share of the answerable questions answered correctly, the hallucination rate the share of
        all questions answered wrongly, and the score the correct minus the wrong answers, over all questions.
        """
        pairs = zip(answers, self.questions, strict=True)
        verdicts = Counter(scoring.verdict(text, each, self.refusal, self.max_extra_words) for text, each in pairs)
        answerable = sum(each.set == ANSWERABLE for each in self.questions)
        correct, wrong, asked = verdicts["correct"], verdicts["wrong"], len(self.questions)
        return {
            ACCURACY: correct / answerable,
            HALLUCINATION_RATE: wrong / asked,
            SCORE: (correct - wrong) / asked,
        }


def draw(own: Path, most: int, seed: int) -> list[Question]:
    """Return a random sample of at most `most` validation questions of the folder `own`, at least one answerable.

    Answerable and unanswerable ones are drawn in their proportion. Test questions are never drawn.

    Raises:
        UserError: as `questions.load`.
    """
    asked = questions.of_split(VALIDATION, own)
    answerable, unanswerable = ([each for each in asked if each.set == name] for name in (ANSWERABLE, UNANSWERABLE))
    count = -(-most * len(answerable) // (len(answerable) + len(unanswerable)))
    return questions.sample(answerable, count, seed) + questions.sample(unanswerable, most - count, seed)


def write(folder: Path, most: int, sampled: ValidationQuestions) -> None:
    """Write the sample of at most `most` questions to `folder`."""
    artifacts.write_json(folder / FILE, {"most": most, **asdict(sampled)})


def read(folder: Path, most: int) -> ValidationQuestions:
    """Read the sample of at most `most` questions from `folder`.

    Raises:
        UserError: `curate` has not written one, or one of another size.
    """
    stored: dict[str, Any] = artifacts.read_json(folder / FILE) if (folder / FILE).exists() else {}
    if (size := stored.pop("most", 0)) != most:
        raise UserError(
            f"{folder} was written with sft.validation_questions = {size}, and it is {most}; run `gradus run curate`."
        )
    return ValidationQuestions(**stored | {"questions": tuple(map(Question.of, stored["questions"]))})
