"""Test: ask the baseline, or the candidate and its parent, the test questions, closed-book.

`test baseline` reads artifacts/evaluate/<baseline>/, and `test candidate` artifacts/select/; both read the models'
directories, data/questions/, the training documents of artifacts/split/ and, with `evaluate.judge`, data/labels/.
Writes artifacts/test/<baseline or candidate>/ with <model>/answers.jsonl (every test question with its answer, its
verdict and its invented entities) and protocol.json (the questions, their hashes and the code), and
artifacts/plots/test@<baseline or candidate>.csv. The MLflow run of `test candidate` is tagged as an opening of the test
questions. The other models are not asked: nothing is decided by their answers.
Run alone: python -m tasks.test candidate
"""

import hashlib
import sys
from collections import Counter
from pathlib import Path

from pipelines import artifacts
from pipelines.config import Config
from pipelines.evaluation import questions
from pipelines.evaluation.asking import ask, verdict_counts
from pipelines.evaluation.comparison import values
from pipelines.evaluation.confidence.calibration import area_under_risk, risk_by_likelihood
from pipelines.evaluation.metrics import units
from pipelines.evaluation.question_sketch import opening
from pipelines.evaluation.questions import SETS, SPLITS, Question
from pipelines.evaluation.selection import Selection, read
from pipelines.evaluation.verdicts.invented import Corpus, with_invented
from pipelines.evaluation.verdicts.judge import Judge, calibrated
from pipelines.models import adapters, devices, loading
from pipelines.runtime import code_lock
from pipelines.runtime.progress import say
from tasks import task
from tasks.evaluate import LOGGED_COLUMNS

BASELINE, CANDIDATE = "baseline", "candidate"


def chosen(selection: Selection, config: Config) -> list[str]:
    """Return the models that `test candidate` asks: the candidate, after its parent if there is one to ask."""
    parents = [selection.parent] if selection.parent is not None and config.test.parent else []
    return [*parents, selection.candidate]


def test(
    models: dict[str, Path], split: Path, out: Path, settings: Config, judge: Judge | None = None
) -> dict[str, float]:
    """Ask the `models`, by name; return every `<model>.<metric>` and `<model>.<set>.<verdict>`.

    `<model>.aurc` is the area under the risk–coverage curve by the likelihood of the answers. `split` holds the
    training corpus (train.parquet).
    """
    devices.prepare(settings.compute)
    config, refusal = settings.evaluate, settings.curate.refusal
    asked = questions.of_split(questions.TEST, config.questions, config.limit)
    corpus = Corpus([row["text"] for row in artifacts.read_table(split / "train.parquet")])
    metrics: dict[str, float] = {}
    for name, directory in models.items():
        say(f"{name}, {len(asked)} test questions")
        loaded, tok = loading.load(directory, settings.compute, settings.base), loading.tokenizer(directory)
        rows = with_invented(ask(loaded, tok, asked, config, refusal, judge), corpus)
        (out / name).mkdir()
        artifacts.write_rows(out / name / "answers.jsonl", rows)
        found = {**values(units(rows)), **verdict_counts(rows), "aurc": area_under_risk(risk_by_likelihood(rows))}
        metrics |= {f"{name}.{each}": value for each, value in found.items()}
    return metrics


def protocol(config: Config) -> artifacts.Row:
    """Return how answers are obtained: the files of questions, the decoding and the hash of the code."""
    own = config.evaluate.questions
    asked = questions.load(own, config.evaluate.limit)
    files = [folder / f"{name}.jsonl" for folder in questions.folders(own) for name in SETS]
    return {
        "questions": [_file(path, asked) for path in files if path.exists()],
        "decoding": config.evaluate.decoding,
        "max_extra_words": config.evaluate.max_extra_words,
        "judge": config.evaluate.judge,
        "code": code_lock.codes(["test"])["test"].digest,
    }


def _file(path: Path, asked: list[Question]) -> artifacts.Row:
    """Return the file of a set with its hash, and the number of its questions that are `asked`, by split."""
    known = {row["id"] for row in artifacts.read_rows(path)}
    counts = Counter(each.split for each in asked if each.set == path.stem and each.id in known)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.as_posix(), "sha256": digest, **{split: counts[split] for split in SPLITS}}


def outcomes(out: Path, models: list[str]) -> list[artifacts.Row]:
    """Return model, set, kind and verdict of every answer, for `dvc plots`."""
    said = ((name, row) for name in models for row in artifacts.read_rows(out / name / "answers.jsonl"))
    return [{"model": name, "set": row["set"], "kind": row["kind"], "verdict": row["verdict"]} for name, row in said]


if __name__ == "__main__":
    with task("test", sys.argv[1]) as t:
        settings = t.config
        names = [settings.compare.baseline] if sys.argv[1] == BASELINE else chosen(read(t.input("select")), settings)
        models = {name: t.input(settings.evaluate.models[name]) for name in names}
        judge, agreement = calibrated(settings) or (None, None)
        metrics = test(models, t.input("split"), t.out, settings, judge)
        if sys.argv[1] == CANDIDATE:  # its outcome can be read from now on, whether it will be promoted or not
            said = artifacts.read_rows(t.out / names[-1] / "answers.jsonl")
            t.run.tags(opening(adapters.identity(models[names[-1]]), said))
        artifacts.write_json(t.out / "protocol.json", protocol(settings))
        t.finish(metrics if agreement is None else {**metrics, "judge_agreement": agreement})
        for name in names:
            t.run.table(f"{name}.json", artifacts.read_rows(t.out / name / "answers.jsonl"), LOGGED_COLUMNS)
        artifacts.write_csv(artifacts.PLOTS / f"{t.stage}.csv", outcomes(t.out, names))
