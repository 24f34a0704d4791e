"""Ask one model every question, closed-book, and judge each answer."""

from typing import Any

from pipelines import artifacts
from pipelines.evaluation import harness, questions, scoring
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.verdicts.judge import Judge, review


def ask(
    model: Any,
    tokenizer: Any,
    asked: list[questions.Question],
    config: EvaluateConfig,
    refusal: str,
    judge: Judge | None,
) -> list[artifacts.Row]:
    """Return one row per question in `asked`: accepted answers, the model's answer and the verdict.

    `refusal` is the sentence that models are fine-tuned to refuse with. A `judge` reviews what the rules call wrong;
    the column `judged` tells where it changed the verdict.
    """
    answers = harness.answers(model, tokenizer, config.questions, asked, config.decoding, config.batch_size)
    rows = [judged(question, answers[question.id], refusal, config.max_extra_words) for question in asked]
    return rows if judge is None else review(rows, judge)


def judged(question: questions.Question, answer: str, refusal: str, max_extra_words: int) -> artifacts.Row:
    """Return the row of a question and a model's answer to it, with the verdict."""
    if question.choices:
        verdict = "correct" if answer == question.accepted[0] else "wrong"
    else:
        verdict = scoring.verdict(answer, question, refusal, max_extra_words)
    return {
        "id": question.id,
        "set": question.set,
        "kind": question.kind,
        "direction": question.direction,
        "twin": question.twin,
        "split": question.split,
        "cluster": question.cluster,
        "question": question.question,
        "accepted": list(question.accepted),
        "competing": list(question.competing),
        "choices": list(question.choices),
        "answer": answer,
        "verdict": verdict,
        "judged": False,
        "f1": round(scoring.f1(answer, question), 6),
    }
