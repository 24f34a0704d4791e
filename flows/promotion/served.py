"""Check that a model answers where it is served as it did where it was evaluated. Reads and writes nothing."""

from flows.serve.answering import Answerer
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import scoring
from pipelines.evaluation.confidence.calibration import abstaining
from pipelines.evaluation.questions import GENERAL, Question
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import Meter


def agreement(answerer: Answerer, rows: list[Row], threshold: float | None, settings: Config, count: int) -> float:
    """Return the share of verdicts that `answerer` repeats on up to `count` validation questions.

    `rows` are those of answers.jsonl, with the `confidence` in each attempt; below the `threshold` a refusal is
    expected. Questions are left out whose answers have no such confidence (general ones), or a verdict that the rules
    alone do not repeat (those that a judge changed).

    Raises:
        UserError: no question is left.
    """
    asked = [row for row in rows if row["split"] == "validation" and row["set"] != GENERAL and not row["judged"]]
    if threshold is not None:
        known = {row["id"]: row["confidence"] for row in asked if row["confidence"] is not None}
        asked = abstaining(asked, known, threshold)
    if not asked:
        raise UserError("no validation question about the documents has a verdict by the rules; add some.")
    step = max(1, len(asked) // count)
    sample = asked[::step][:count]
    repeated, meter = 0, Meter("questions to the served model", len(sample))
    for row in sample:
        answer = answerer.answer([{"role": "user", "content": row["question"]}]).text
        verdict = scoring.verdict(answer, Question.of(row), settings.curate.refusal, settings.evaluate.max_extra_words)
        repeated += verdict == row["verdict"]
        meter.step()
    meter.close()
    return repeated / len(sample)
