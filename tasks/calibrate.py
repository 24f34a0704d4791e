"""Calibrate: estimate how likely each answer of the candidate is correct, and certify when it should abstain.

Reads artifacts/select/, the candidate's directory and answers (artifacts/evaluate/<model>/ and
artifacts/test/candidate/<model>/), the questions held back in artifacts/curate/questions/, the documents of
artifacts/split/train.parquet, and artifacts/teacher/ if the reader is fine-tuned. Writes artifacts/calibrate/ with
confidence.json (estimator, threshold, and what its guarantee rests on), confidences.jsonl (every answer with its
signals and confidence), risk_coverage.jsonl (test questions) and the reader, and artifacts/plots/calibrate.csv. Run
alone: python -m tasks.calibrate
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.evaluation.asking import decode, judged
from pipelines.evaluation.confidence import calibration
from pipelines.evaluation.confidence import reader as readers
from pipelines.evaluation.confidence.certificate import Floats
from pipelines.evaluation.confidence.reader import Reader
from pipelines.evaluation.confidence.signal_names import SIGNALS
from pipelines.evaluation.confidence.signals import measure
from pipelines.evaluation.questions import GENERAL
from pipelines.evaluation.retrieval.index import Index
from pipelines.evaluation.retrieval.passages import passages
from pipelines.evaluation.retrieval.support import SENTENCES
from pipelines.evaluation.selection import read
from pipelines.evaluation.verdicts.invented import is_attempt
from pipelines.models import devices, loading
from pipelines.runtime.progress import say
from tasks import task

CALIBRATION = "calibration"
"""The split of questions that only this task asks."""


def calibrate(
    name: str,
    model: Path,
    answered: list[Row],
    held_back: Path,
    documents: Path,
    out: Path,
    settings: Config,
    finetuned: Path | None = None,
) -> dict[str, float]:
    """Calibrate the model `name` in the directory `model`; return AUROC, threshold and the number of answers.

    `answered` are its rows of answers.jsonl. It is calibrated on the validation questions and those of the folder
    `held_back`; the test questions report. A served model is asked general questions too, so it is counted how many
    correct answers to those of the validation split are withheld. `finetuned` is the directory of the fine-tuned
    reader, if there is one.
    """
    devices.prepare(settings.compute)
    loaded, tok = loading.load(model, settings.compute, settings.base), loading.tokenizer(model)
    index = Index(list(passages(artifacts.read_table(documents), SENTENCES)))
    found = questions.check(questions.read(held_back), held_back)
    known = {row["id"] for row in answered}  # evaluation asked them if there were no others
    asked = [replace(each, split=CALIBRATION) for each in found if each.id not in known]
    said = decode(loaded, tok, [each.question for each in asked], settings.evaluate)
    judge = settings.curate.refusal, settings.evaluate.max_extra_words
    rows = [*answered, *(judged(each, answer, *judge) for each, answer in zip(asked, said, strict=True))]
    attempts = [row for row in rows if is_attempt(row)]
    calibrated, test = ([row for row in attempts if (row["split"] == "test") == is_test] for is_test in (False, True))
    attempts, split = [*calibrated, *test], len(calibrated)
    general = [row for row in rows if row["set"] == GENERAL and row["split"] != "test" and row["verdict"] == "correct"]
    shown = [*attempts, *general]
    texts = [row["question"] for row in shown], [row["answer"] for row in shown]
    reader = None if finetuned is None else _reader(finetuned, out, settings)
    measured = measure(loaded, tok, index, reader, *texts, settings.evaluate.batch_size)
    values = measured[: len(attempts)]
    counts = Counter(row["split"] == "test" for row in rows if row["set"] != GENERAL)
    limits = settings.calibrate, settings.compare.min_clusters
    confidence = calibration.calibrate(calibrated, values[:split], *limits, asked=counts[False])
    estimates = confidence.estimates(values)
    auroc = {
        "calibration": calibration.auroc(calibrated, values[:split]),  # the confidence was fitted on these
        "test": calibration.auroc(test, values[split:], estimates[split:]),
    }
    curve = calibration.risk_coverage(test, estimates[split:], counts[True])
    withheld = {"correct": len(general), "withheld": confidence.withheld(measured[len(attempts) :])}
    result = {"candidate": name, **confidence.as_row(), "auroc": auroc, "general": withheld}
    artifacts.write_json(out / calibration.CONFIDENCE, result)
    artifacts.write_rows(out / calibration.CONFIDENCES, map(_stored, attempts, values, estimates))
    artifacts.write_rows(out / calibration.RISK_COVERAGE, curve)
    artifacts.write_csv(artifacts.PLOTS / "calibrate.csv", curve)
    say(confidence.sentence)
    return _metrics(confidence, auroc) | ({"general_withheld": withheld["withheld"] / len(general)} if general else {})


def _reader(finetuned: Path, out: Path, settings: Config) -> Reader:
    """Store the fine-tuned reader beside the calibration in `out`, and load it."""
    return Reader.load(readers.store(finetuned, settings.synthesize.prompts, out / readers.FOLDER), settings.compute)


def _stored(row: Row, values: Floats, estimate: float) -> Row:
    """Return a row of confidences.jsonl."""
    signals = dict(zip(SIGNALS, (round(float(value), 6) for value in values), strict=True))
    kept = {key: row[key] for key in ("id", "set", "split", "question", "answer", "accepted", "verdict")}
    return {**kept, "confidence": round(float(estimate), 6), **signals}


def _metrics(confidence: calibration.Confidence, auroc: dict[str, dict[str, float]]) -> dict[str, float]:
    certificate = confidence.certificate
    figures = {f"{split}.auroc.{name}": value for split, found in auroc.items() for name, value in found.items()}
    threshold = {} if confidence.threshold is None else {"threshold": confidence.threshold}
    certified = float(certificate.threshold is not None)
    return {**figures, **threshold, "certified": certified, "calibration_answers": float(certificate.questions)}


if __name__ == "__main__":
    with task("calibrate") as t:
        candidate = read(t.input("select")).candidate
        folders = t.input(f"evaluate/{candidate}"), t.input("test/candidate") / candidate
        answered = [row for folder in folders for row in artifacts.read_rows(folder / "answers.jsonl")]
        held_back, documents = t.input("curate") / questions.HELD_BACK.name, t.input("split") / "train.parquet"
        model = t.input(t.config.evaluate.models[candidate])
        finetuned = t.input("teacher") if t.config.teacher.reads else None
        t.finish(calibrate(candidate, model, answered, held_back, documents, t.out, t.config, finetuned))
        for file in (calibration.CONFIDENCE, calibration.CONFIDENCES, calibration.RISK_COVERAGE):
            t.run.artifact(t.out / file)
