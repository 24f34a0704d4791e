"""Curate: which of the teacher's questions are worth training on, and what else a model is shown.

Reads artifacts/synthesize/, artifacts/split/ and the evaluation questions of `data/questions/` (none of which may
leak); writes to artifacts/curate/ train.jsonl, validation.jsonl and fresh.jsonl in chat form, and rejects.jsonl. A row
of train.jsonl names the showing it is for (an epoch, modulo `curate.showings`), or none for all; fresh.jsonl is one
showing more, which tuning never sees and preferences are sampled on. Alone: python -m tasks.curate
"""

import random
from collections import Counter
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import CurateConfig
from pipelines.errors import UserError
from pipelines.synthesis import unanswerable
from pipelines.synthesis.cues import statements
from pipelines.synthesis.select import (
    answer_row,
    apart,
    choose,
    cue_rows,
    hold_back,
    refusal_row,
    rehearsal_row,
    shown,
    without_leaks,
)
from tasks import task

AS_ASKED = {"cue": "answer", "cue_refusal": "refusal"}
"""What a cue is when a model is asked it: a question with an answer, or without."""


def curate(
    synthesized: Path, split: Path, questions: Path, out: Path, config: CurateConfig, seed: int
) -> dict[str, float]:
    """Keep what survives every filter, word it anew for each showing, and add cues; return the yield of each.

    Raises:
        UserError: no question survives.
    """
    evaluation = [row["question"] for path in sorted(questions.glob("*.jsonl")) for row in artifacts.read_rows(path)]
    candidates = artifacts.read_rows(synthesized / "candidates.jsonl")
    kept, rejected = choose(candidates, evaluation, config.max_answer_words, config.max_rouge_l, config.leak_rouge_l)
    if not kept:
        reasons = Counter(row["reason"] for row in rejected).most_common(1)
        raise UserError(
            f"None of {len(candidates)} questions is usable, mostly because: {reasons}; see {out}/rejects.jsonl."
        )
    refused = artifacts.read_rows(synthesized / "unanswerable.jsonl")
    unanswered, close = apart(refused, [*evaluation, *(row["question"] for row in kept)], config.leak_rouge_l)
    unanswered = unanswered[: int(config.refusal_share * len(kept))]
    rehearsed, leaked = apart(_prompts(synthesized), evaluation, config.leak_rouge_l)
    rows = [answer_row(row, config.max_clause_words) for row in kept]
    rows += [refusal_row(row, config.refusal) for row in unanswered]
    rows += [rehearsal_row(row) for row in rehearsed]
    train, validation = hold_back(rows, config.validation_share, seed)
    cued, told = _cues(split, refused, evaluation, config, seed)
    rejected += [*close, *leaked, *told]
    every = [*shown(train, config.showings + 1, random.Random(seed)), *cued]
    artifacts.write_rows(out / "train.jsonl", [row for row in every if row["showing"] != config.showings])
    fresh = [row for row in every if row["showing"] == config.showings]
    artifacts.write_rows(
        out / "fresh.jsonl", ({**row, "kind": AS_ASKED.get(row["kind"], row["kind"])} for row in fresh)
    )
    artifacts.write_rows(out / "validation.jsonl", validation)
    artifacts.write_rows(out / "rejects.jsonl", rejected)
    return _counts([*rows, *cued], rejected, kept)


def _cues(
    split: Path, refused: list[Row], evaluation: list[str], config: CurateConfig, seed: int
) -> tuple[list[Row], list[Row]]:
    """Return the rows of cues, and those too close to an evaluation question."""
    rng = random.Random(seed)
    found = statements(artifacts.read_table(split / "train.parquet"), config.max_answer_words, config.max_clause_words)
    strangers = sorted(unanswerable.names([row["question"] for row in refused if row["kind"] == "out_of_domain"]))
    rows = cue_rows(
        found,
        strangers,
        config.refusal,
        showings=config.showings + 1,
        unknown_share=config.unknown_cue_share,
        most_words=config.max_clause_words,
        rng=rng,
    )
    return without_leaks(rows, evaluation, config.leak_rouge_l)


def _prompts(synthesized: Path) -> list[Row]:
    rows = artifacts.read_rows(synthesized / "rehearsal.jsonl")
    return [{**row, "question": row["prompt"]} for row in rows]


def _counts(rows: list[Row], rejected: list[Row], kept: list[Row]) -> dict[str, float]:
    kinds = Counter(f"kept_{row['kind']}" for row in rows)
    reasons = Counter(f"rejected_{row['reason']}" for row in rejected)
    sentences = len({(row["source"], row["sentence"]) for row in kept})
    return {key: float(value) for key, value in sorted((kinds + reasons).items())} | {
        "sentences_asked": float(sentences)
    }


if __name__ == "__main__":
    with task("curate") as t:
        questions = t.config.evaluate.questions
        inputs = t.input("synthesize"), t.input("split"), questions
        t.finish(curate(*inputs, t.out, t.config.curate, t.config.compute.seed))
