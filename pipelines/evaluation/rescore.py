"""Evaluate a registered version on the current evaluation set, if its scores are from another one.

This is not a task, because the graph does not depend on the registry. Reads the version's weights and
evaluate.questions; writes the metrics to a tag of the version, and every answer to an MLflow run.
Run alone: python -m pipelines.evaluation.rescore VERSION FINGERPRINT
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import artifacts, config
from pipelines.evaluation import questions
from pipelines.evaluation.asking import ask
from pipelines.evaluation.comparison import values
from pipelines.evaluation.metrics import units
from pipelines.evaluation.verdicts.judge import calibrated
from pipelines.models import devices, loading
from pipelines.models.release import registry
from pipelines.runtime import liveness, tracking
from pipelines.runtime.progress import say


def rescore(number: int, fingerprint: str, settings: config.Config) -> dict[str, float]:
    """Evaluate a version; store its test metrics under the eval `fingerprint`, and return them.

    It is loaded as it is served, so `base.quantization` does not apply: an adapter that was trained on quantised
    weights was merged into those, and quantising the sum would round the adapter away.

    Raises:
        UserError: the version does not exist, or the questions are incomplete.
    """
    version, asked = registry.get(number), questions.load(settings.evaluate.questions, settings.evaluate.limit)
    devices.prepare(settings.compute)
    judge = calibrated(settings)
    say(f"version {number} has no scores on the current evaluation set; evaluating it")
    with tracking.started("rescore", {"version": str(number), "eval_fingerprint": fingerprint}) as run:
        stored = registry.files(version)
        model = loading.load(registry.weights(stored), settings.compute)
        tokenizer = loading.tokenizer(stored / registry.TOKENIZER)
        rows = ask(model, tokenizer, asked, settings.evaluate, settings.curate.refusal, judge and judge[0])
        figures = values(units([row for row in rows if row["split"] == questions.SPLITS[-1]]))
        run.metrics(figures)
        with TemporaryDirectory() as folder:
            artifacts.write_rows(Path(folder) / registry.ANSWERS_FILE, rows)
            run.artifact(Path(folder) / registry.ANSWERS_FILE)
        registry.describe(version, registry.evaluation(fingerprint, figures, run.id))
    return figures


if __name__ == "__main__":
    liveness.follow_the_flow()
    rescore(int(sys.argv[1]), sys.argv[2], config.load())
