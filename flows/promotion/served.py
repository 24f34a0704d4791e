"""Check that a model answers where it is served as it did where it was evaluated. Reads and writes nothing."""

from typing import Any

from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import scoring
from pipelines.evaluation.questions import Question
from pipelines.runtime.progress import Meter


def agreement(model: Any, rows: list[Row], settings: Config, count: int) -> float:
    """Return the share of verdicts that `model` (a `ChatModel`) repeats on up to `count` validation questions.

    `rows` are those of answers.jsonl; questions with choices are left out, because nothing is decoded for them.
    Verdicts of a judge, which changes only `wrong`, are compared before the change.
    """
    asked = [row for row in rows if row["split"] == "validation" and not row["choices"]]
    step = max(1, len(asked) // count)
    sample = asked[::step][:count]
    repeated, meter = 0, Meter("questions to the served model", len(sample))
    for row in sample:
        answer = model.answer([{"role": "user", "content": row["question"]}])
        verdict = scoring.verdict(answer, Question.of(row), settings.curate.refusal, settings.evaluate.max_extra_words)
        repeated += verdict == ("wrong" if row.get("judged") else row["verdict"])
        meter.step()
    meter.close()
    return repeated / len(sample)
