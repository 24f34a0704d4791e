"""Preferences: what the SFT model answers to questions in wordings new to it, ranked against the reference answers.

Reads artifacts/curate/fresh.jsonl and artifacts/sft; writes train.jsonl and held_out.jsonl to
artifacts/preferences. Alone: python -m tasks.preferences
"""

from pathlib import Path

from pipelines import artifacts, models
from pipelines.alignment.pairs import Rule, Verdict, balance, choose, hold_out, pairs_of
from pipelines.artifacts import Row
from pipelines.config import ComputeConfig, PreferencesConfig
from pipelines.errors import UserError
from pipelines.generation import generate
from tasks import task


def preferences(
    rows: list[Row], sft: Path, out: Path, refusal: str, config: PreferencesConfig, compute: ComputeConfig
) -> dict[str, float]:
    """Write preference pairs, and those held out by prompt; return how the model's samples fared.

    Raises:
        UserError: there is nothing to ask about.
    """
    rule = Rule(refusal, config.wrong_share)
    asked = choose(rows, config.prompts, compute.seed)
    samples = sample(asked, sft, config, compute)
    verdicts = [[rule.verdict(row, text) for text in texts] for row, texts in zip(asked, samples, strict=True)]
    others = [row for row in rows if row["kind"] == "answer"]
    made = [pair for row, texts in zip(asked, samples, strict=True) for pair in pairs_of(row, texts, others, rule)]
    pairs = balance(made, compute.seed)
    train, held_out = hold_out(pairs, config.held_out_share, compute.seed)
    if not train:
        raise UserError("preferences: no pair is left to train on; raise preferences.prompts or lower held_out_share.")
    artifacts.write_rows(out / "train.jsonl", train)
    artifacts.write_rows(out / "held_out.jsonl", held_out)
    sizes: dict[str, float] = {"train_pairs": len(train), "held_out_pairs": len(held_out)}
    return sizes | describe(pairs, verdicts)


def sample(asked: list[Row], sft: Path, config: PreferencesConfig, compute: ComputeConfig) -> list[list[str]]:
    """Return `config.samples` answers of the SFT model to each question."""
    prompts = [row["messages"][:-1] for row in asked for _ in range(config.samples)]
    texts = generate(
        models.load(sft, compute),
        models.tokenizer(sft),
        prompts,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        batch_size=config.batch_size,
        seed=compute.seed,
        what="preferences",
    )
    return [texts[start : start + config.samples] for start in range(0, len(texts), config.samples)]


def describe(pairs: list[Row], verdicts: list[list[Verdict]]) -> dict[str, float]:
    """Count pairs by where the rejected answer came from, and samples by verdict."""
    every = [verdict for row in verdicts for verdict in row]
    counts = {
        f"pairs_{name}": sum(pair["provenance"] == name for pair in pairs) for name in ("sample", "borrowed", "refusal")
    }
    shares = {f"samples_{name}": every.count(name) / len(every) for name in ("right", "wrong", "refused", "unclear")}
    wrong = sum("wrong" in row for row in verdicts) / len(verdicts)
    return {**counts, **shares, "prompts_with_wrong_sample": wrong}


if __name__ == "__main__":
    with task("preferences") as t:
        models.prepare(t.config.compute)
        rows = artifacts.read_rows(t.input("curate") / "fresh.jsonl")
        t.finish(
            preferences(rows, t.input("sft"), t.out, t.config.curate.refusal, t.config.preferences, t.config.compute)
        )
