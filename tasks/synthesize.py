"""Synthesize: the teacher turns sliding windows of text into candidate questions, each with its source and span.

Reads artifacts/split/, artifacts/base/, artifacts/teacher/; writes artifacts/synthesize/candidates.jsonl (answerable),
unanswerable.jsonl and rehearsal.jsonl. Judging them is the task `curate`. Alone: python -m tasks.synthesize
"""

from pathlib import Path

from pipelines import artifacts, models
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.errors import UserError
from pipelines.synthesis.ask import ask, candidates, unknown
from pipelines.synthesis.rehearsal import invent, rehearse
from pipelines.synthesis.teacher import hire
from tasks import task


def synthesize(split: Path, base: Path, schooled: Path, out: Path, config: Config) -> dict[str, float]:
    """Ask about every span the budget allows; then write questions nobody can answer, and what to rehearse."""
    work = config.synthesize
    models.prepare(config.compute)
    documents = artifacts.read_table(split / "train.parquet")
    planned = candidates(documents, models.tokenizer(base), work)
    if not planned:
        raise UserError("No sentence of artifacts/split/train.parquet has a name, number or clause to ask about.")
    teacher = hire(config.teacher, schooled, config.compute, work)  # first: a served one may not be there
    rehearsed = _rehearsal(base, config)
    far = [row["question"] for row in artifacts.read_rows(work.out_of_domain)]
    foreign = far + [row["question"] for row in artifacts.read_rows(config.teacher.seeds)]
    asked = ask(teacher, planned, work)
    agreed = [each for each in asked if each.found(work.min_reader_f1) is not None]
    refused: list[Row] = [{"question": question, "kind": "out_of_domain"} for question in far]
    refused += unknown(
        teacher, agreed, far, foreign, int(work.unanswerable_share * len(agreed) / 2), config.compute.seed
    )
    artifacts.write_rows(out / "candidates.jsonl", (each.as_row(work.min_reader_f1) for each in asked))
    artifacts.write_rows(out / "unanswerable.jsonl", refused)
    artifacts.write_rows(out / "rehearsal.jsonl", rehearsed)
    return {
        "spans": float(len(planned)),
        "candidates": float(len(asked)),
        "round_trip": len(agreed) / len(planned),
        "unanswerable": float(len(refused)),
        "rehearsal": float(len(rehearsed)),
    }


def _rehearsal(base: Path, config: Config) -> list[Row]:
    work = config.synthesize
    prompts = [row["prompt"] for row in artifacts.read_rows(work.rehearsal)]
    model, tok = models.load(base, config.compute), models.tokenizer(base)
    prompts += invent(model, tok, prompts, work.rehearsal_invented, work.batch_size, config.compute.seed)
    return rehearse(model, tok, prompts, work.rehearsal_tokens, work.batch_size, config.compute.seed)


if __name__ == "__main__":
    with task("synthesize") as t:
        t.finish(synthesize(t.input("split"), t.input("base"), t.input("teacher"), t.out, t.config))
