"""Put a registered version to today's exam, when it sat another.

No task: the graph knows nothing of the registry. Reads the version's weights and evaluate.questions; writes the figures
to a tag of the version, and every answer to an MLflow run. Alone: python -m pipelines.evaluation.rescore VERSION EXAM
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import config
from pipelines.evaluation import questions
from pipelines.evaluation.asking import ask
from pipelines.evaluation.comparison import values
from pipelines.evaluation.metrics import units
from pipelines.models import devices, loading, registry
from pipelines.runtime import liveness, tracking
from pipelines.runtime.progress import say


def rescore(number: int, exam: str, settings: config.Config) -> dict[str, float]:
    """Ask a version the questions; keep, by the exam's hash `exam`, and return the figures of the split `test`.

    Raises:
        UserError: there is no such version, or the questions are incomplete.
    """
    version, asked = registry.get(number), questions.load(settings.evaluate.questions)
    devices.prepare(settings.compute)
    say(f"version {number} has not been asked these questions in this way; asking them")
    with tracking.started("rescore", {"version": str(number), "exam": exam}) as run:
        with TemporaryDirectory() as folder:
            registry.fetch(version, Path(folder))
            model, tokenizer = loading.load(Path(folder), settings.compute), loading.tokenizer(Path(folder))
        rows = ask(model, tokenizer, asked, settings.evaluate, settings.curate.refusal)
        figures = values(units([row for row in rows if row["split"] == questions.SPLITS[-1]]))
        run.metrics(figures)
        run.record("answers.json", rows)
        registry.keep_scores(version, exam, figures)
    return figures


if __name__ == "__main__":
    liveness.follow_the_flow()
    rescore(int(sys.argv[1]), sys.argv[2], config.load())
