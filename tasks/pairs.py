"""Pairs: preference pairs from ranked samples of a model, or from people's choices; one row of `alignment.pairs`.

Reads artifacts/curate/preference_prompts.jsonl, the row's policy and scorer, and artifacts/split (for the names of the
documents); writes train.jsonl, held_out.jsonl and rejects.jsonl to artifacts/pairs/<row>, the prompts of online
training, online.jsonl and online_held_out.jsonl, and a dataset card to artifacts/reports.
Standalone: python -m tasks.pairs first
"""

import sys
from collections import Counter
from pathlib import Path

from pipelines import artifacts
from pipelines.alignment.config import PairsConfig
from pipelines.alignment.preferences import online_prompts, rank
from pipelines.alignment.preferences.pairs import KEYWORD_QUERIES, balance, choose, hold_out, scored_as, within
from pipelines.alignment.preferences.sampled import sampled_pairs
from pipelines.alignment.rows import TEACHER
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation import schema
from pipelines.curation.card import card
from pipelines.curation.schema import PreferencePair, Rejection, RowKind, TrainingRow
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.teachers import load_judge
from pipelines.models import adapters, devices, loading
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from tasks import task


def pairs(
    name: str,
    rows: list[TrainingRow],
    documents: list[Row],
    policy: Path,
    scorer: Path,
    out: Path,
    card_: Path,
    config: Config,
    ask: rank.Ask | None,
) -> dict[str, float]:
    """Write training pairs, pairs held out by prompt, and online prompts; return numbers, and rejections by reason.

    `name` is the row of `alignment.pairs`, and `documents` are the sources of `rows`. `scorer` holds the reward model
    of the ranker `reward`, and `ask` calls the judge of `judge` and `score`.

    Raises:
        UserError: there is no prompt, or no pair is left.
    """
    refusal, seed, tok = config.curate.refusal, config.compute.seed, loading.tokenizer(policy)
    settings, ranker = _limited(config.pairs, policy), config.alignment.pairs[name].ranker
    rows, long = within(tok, rows, settings.max_tokens - settings.max_new_tokens)
    people = _people(settings) if ranker == "human" else ([], [])
    chosen = _asked(rows, people[0]) if ranker == "human" else _chosen(name, rows, settings, seed)
    metrics = prompt_counts(chosen, name) | online_prompts.write(rows, chosen, out, settings, seed)
    if ranker == "human":
        ranked, dropped = people
    else:
        ranked, dropped, rates = sampled_pairs(name, rows, chosen, policy, scorer, config, ask)
        metrics |= rates
    fit, unfit = rank.fitting(tok, ranked, refusal, settings)
    kept, surplus = balance(fit, refusal, seed)
    train, held_out = hold_out(kept, settings.held_out_share, seed)
    rejects = long + dropped + unfit + surplus
    schema.write(out / "rejects.jsonl", rejects)
    if not train:
        raise rank.no_pair(name, held_out, rejects)
    schema.write(out / "train.jsonl", train)
    schema.write(out / "held_out.jsonl", held_out)
    splits = {"train": ("train.jsonl", train), "test": ("held_out.jsonl", held_out)}
    text = card(
        "pairs",
        {split: (path, [pair.as_row() for pair in part]) for split, (path, part) in splits.items()},
        [each.as_row() for each in rejects],
        documents,
        form="trl",
        license_=config.curate.license,
        kept=Counter(pair.provenance for pair in kept),
        parameters={"pairs": config.pairs.model_dump(mode="json") | config.alignment.pairs[name].model_dump()},
    )
    card_.write_text(text, encoding="utf-8")
    sizes: dict[str, float] = {"train_pairs": len(train), "held_out_pairs": len(held_out)}
    return sizes | dict(rank.reasons(rejects)) | metrics | describe(kept)


def _chosen(name: str, rows: list[TrainingRow], settings: PairsConfig, seed: int) -> list[TrainingRow]:
    chosen = choose(rows, settings.prompts, settings, seed)
    if not chosen:
        most = settings.max_tokens - settings.max_new_tokens
        raise UserError(
            f"pairs@{name}: artifacts/curate/preference_prompts.jsonl has no answerable question of at most {most} "
            "tokens; raise pairs.max_tokens or pairs.min_prompts, up to which keyword queries are used, or see "
            "artifacts/curate/rejects.jsonl."
        )
    return chosen


def _limited(settings: PairsConfig, policy: Path) -> PairsConfig:
    """Return the settings with at most as many tokens as the context of `policy` has."""
    context = loading.positions(adapters.lineage(policy)[0])
    return settings.model_copy(update={"max_tokens": min(settings.max_tokens, context or settings.max_tokens)})


def _asked(rows: list[TrainingRow], pairs: list[PreferencePair]) -> list[TrainingRow]:
    """Return the rows with a question of `pairs`."""
    questions = {pair.prompt[-1]["content"] for pair in pairs}
    return [row for row in rows if row.question in questions]


def _people(settings: PairsConfig) -> tuple[list[PreferencePair], list[Rejection]]:
    found, dropped = rank.chosen_by_people(settings.human)
    if not found:
        raise UserError(f"pairs: there is no choice in {settings.human}; label pairs with `gradus label`.")
    return found, dropped


def prompt_counts(chosen: list[TrainingRow], name: str) -> dict[str, float]:
    """Count the prompts by kind; print a warning if keyword queries replace missing questions."""
    kinds = Counter(scored_as(row).kind for row in chosen)
    queries = sum(row.kind in KEYWORD_QUERIES for row in chosen)
    if queries:
        say(f"pairs@{name}: {queries} of {len(chosen)} prompts are keyword queries; there are too few questions.")
    counts = {
        "answerable": kinds[RowKind.ANSWER],
        "unanswerable": kinds[RowKind.REFUSAL],
        "keyword_queries": queries,
    }
    return {f"prompts_{name}": float(count) for name, count in counts.items()}


def describe(kept: list[PreferencePair]) -> dict[str, float]:
    """Count pairs by provenance."""
    names = [pair.provenance for pair in kept]
    return {
        f"pairs_{name}": float(names.count(name)) for name in sorted({"sample", "hard_negative", "refusal", *names})
    }


def main(name: str) -> None:
    """Make the pairs of a row of `alignment.pairs`."""
    with task("pairs", name) as t:
        settings, row = t.config, t.config.alignment.pairs[name]
        devices.prepare(settings.compute)
        scorer, judge = t.input(row.scorer), None
        if row.judged:
            how = settings.teacher, settings.base, settings.compute, settings.synthesize.batch_size
            judge = load_judge(*how, ResponseCache(PATH), None if row.scorer == TEACHER else scorer)
        rows = schema.read_training_rows(t.input("curate") / "preference_prompts.jsonl")
        documents = artifacts.read_table(t.input("split") / "train.parquet")
        policy, asked = t.input(row.policy), judge.ask if judge else None
        t.finish(pairs(name, rows, documents, policy, scorer, t.out, t.report(".md"), settings, asked))


if __name__ == "__main__":
    main(sys.argv[1])
