"""Preferences: preference pairs from ranked samples of the SFT model, or from people's choices.

Reads artifacts/curate/preference_prompts.jsonl, artifacts/sft, artifacts/split (for the names of the documents) and,
depending on `preferences.ranker`, an LLM judge, a reward model or a folder of choices; writes train.jsonl,
held_out.jsonl and rejects.jsonl to artifacts/preferences, and a dataset card to artifacts/reports.
Standalone: python -m tasks.preferences
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from pipelines import artifacts
from pipelines.alignment import rank, reward_model
from pipelines.alignment.config import PreferencesConfig
from pipelines.alignment.pairs import KEYWORD_QUERIES, Rule, Verdict, balance, choose, hold_out, pairs_of, scored_as
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation import schema
from pipelines.curation.card import card
from pipelines.curation.schema import PreferencePair, Rejection, RowKind, TrainingRow
from pipelines.inference.generation import respond
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.prompts import load
from pipelines.llm.teachers import load_judge
from pipelines.models import devices, loading
from pipelines.models.chat import encode_prompt
from pipelines.models.config import ComputeConfig
from pipelines.models.templates.stops import answer_text, stop_ids
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say, track
from tasks import task

Ranked = tuple[list[PreferencePair], list[Rejection], dict[str, float]]
"""Pairs, rejections, and metrics."""


def preferences(
    rows: list[TrainingRow],
    documents: list[Row],
    sft: Path,
    out: Path,
    card_: Path,
    config: Config,
    ask: rank.Ask | None,
) -> dict[str, float]:
    """Write training pairs, and pairs held out by prompt; return their numbers, and rejections by reason.

    `documents` are the sources of `rows`; `ask` calls the LLM judge, if `preferences.ranker` needs one.

    Raises:
        UserError: there is no prompt, or no pair is left.
    """
    settings, refusal, seed = config.preferences, config.curate.refusal, config.compute.seed
    _check_reward_model(settings)
    ranked, dropped, metrics = _people(settings) if settings.ranker == "human" else _samples(rows, sft, config, ask)
    fit, unfit = rank.fitting(loading.tokenizer(sft), ranked, refusal, settings)
    pairs, surplus = balance(fit, seed)
    train, held_out = hold_out(pairs, settings.held_out_share, seed)
    rejects = dropped + unfit + surplus
    schema.write(out / "rejects.jsonl", rejects)
    if not train:
        raise UserError("preferences: no pair is left to train on; raise preferences.prompts or lower held_out_share.")
    schema.write(out / "train.jsonl", train)
    schema.write(out / "held_out.jsonl", held_out)
    splits = {"train": ("train.jsonl", train), "test": ("held_out.jsonl", held_out)}
    text = card(
        "preferences",
        {name: (path, [pair.as_row() for pair in part]) for name, (path, part) in splits.items()},
        [each.as_row() for each in rejects],
        documents,
        form="trl",
        license_=config.curate.license,
        kept=Counter(pair.provenance for pair in pairs),
        parameters={"preferences": settings.model_dump(mode="json")},
    )
    card_.write_text(text, encoding="utf-8")
    sizes: dict[str, float] = {"train_pairs": len(train), "held_out_pairs": len(held_out)}
    return sizes | dict(rank.reasons(rejects)) | metrics | describe(pairs)


def _check_reward_model(settings: PreferencesConfig) -> None:
    """Check that the reward model exists before sampling."""
    folder = settings.reward_model
    if settings.ranker == "reward" and (folder is None or not (folder / reward_model.HEAD).is_file()):
        raise UserError(f"preferences.reward_model is {folder}, which has no reward model; name a folder with one.")


def _people(settings: PreferencesConfig) -> Ranked:
    pairs, dropped = rank.chosen_by_people(settings.human)
    if not pairs:
        raise UserError(f"preferences: there is no choice in {settings.human}; label pairs with `gradus label`.")
    return pairs, dropped, {}


def _samples(rows: list[TrainingRow], sft: Path, config: Config, ask: rank.Ask | None) -> Ranked:
    """Sample answers of the SFT model and rank them."""
    settings, refusal = config.preferences, config.curate.refusal
    chosen = choose(rows, settings, config.compute.seed)
    composition = prompt_counts(chosen)
    rows, asked = [scored_as(row) for row in rows], [scored_as(row) for row in chosen]
    samples, truncated = sample(asked, sft, settings, config.compute)
    rule = Rule(refusal, settings.min_token_recall)
    verdicts = [[rule.verdict(row, text) for text in texts] for row, texts in zip(asked, samples, strict=True)]
    cut: list[Rejection] = []
    if settings.ranker != "reference":  # which chooses no sample
        samples, cut = rank.ended(asked, samples, truncated)
    choice = settings.ranked_pairs
    rankers: dict[str, Callable[[], tuple[list[PreferencePair], list[Rejection]]]] = {
        "reference": lambda: (_by_reference(rows, asked, samples, rule), []),
        "judge": lambda: rank.compared(asked, samples, _required(ask), load(config.synthesize.prompts, "compare")),
        "score": lambda: rank.by_score(asked, samples, _rated(asked, samples, config, ask), "score", choice),
        "reward": lambda: rank.by_score(asked, samples, _rewarded(asked, samples, config), "reward", choice),
    }
    pairs, dropped = rankers[settings.ranker]()
    return pairs, cut + dropped, composition | verdict_rates(verdicts)


def prompt_counts(chosen: list[TrainingRow]) -> dict[str, float]:
    """Count the prompts by kind; print a warning if keyword queries replace missing questions."""
    kinds = Counter(scored_as(row).kind for row in chosen)
    queries = sum(row.kind in KEYWORD_QUERIES for row in chosen)
    if queries:
        say(f"preferences: {queries} of {len(chosen)} prompts are keyword queries; there are too few questions.")
    counts = {
        "answerable": kinds[RowKind.ANSWER],
        "unanswerable": kinds[RowKind.REFUSAL],
        "keyword_queries": queries,
    }
    return {f"prompts_{name}": float(count) for name, count in counts.items()}


def _by_reference(
    rows: list[TrainingRow], asked: list[TrainingRow], samples: list[list[str]], rule: Rule
) -> list[PreferencePair]:
    others = [row for row in rows if row.kind == RowKind.ANSWER]
    return [pair for row, texts in zip(asked, samples, strict=True) for pair in pairs_of(row, texts, others, rule)]


def _required(ask: rank.Ask | None) -> rank.Ask:
    assert ask is not None, "rankers with a judge require one"
    return ask


def _rated(
    asked: list[TrainingRow], samples: list[list[str]], config: Config, ask: rank.Ask | None
) -> list[list[float | None]]:
    recipe = load(config.synthesize.prompts, "rate")
    return rank.rated(asked, samples, _required(ask), recipe, config.preferences)


def _rewarded(asked: list[TrainingRow], samples: list[list[str]], config: Config) -> list[list[float | None]]:
    """Return the score of each sample by a reward model of the same base; None for an empty sample."""
    settings = config.preferences
    assert settings.reward_model is not None, "checked by _check_reward_model"
    prompts = [row.messages[:-1] for row in asked]
    return reward_model.score_answers(
        settings.reward_model, prompts, samples, config.compute, config.base, settings.batch_size
    )


def sample(
    asked: list[TrainingRow], sft: Path, config: PreferencesConfig, compute: ComputeConfig
) -> tuple[list[list[str]], list[list[bool]]]:
    """Return `config.samples` answers of the SFT model to each question at each temperature, and which have no end."""
    model, tok = loading.load(sft, compute), loading.tokenizer(sft)
    prompts = [encode_prompt(tok, row.messages[:-1]) for row in asked for _ in range(config.samples)]
    stops = stop_ids(model, tok)
    samples: list[list[str]] = [[] for _ in asked]
    truncated: list[list[bool]] = [[] for _ in asked]
    for number, temperature in enumerate(config.temperatures):
        torch.manual_seed(compute.seed + number)
        answers = respond(model, tok, prompts, stops, config.max_new_tokens, temperature, config.batch_size)
        for place, tokens in sorted(track(answers, "preferences", len(prompts))):
            samples[place // config.samples].append(answer_text(tok, tokens))
            truncated[place // config.samples].append(tokens[-1] not in stops)
    return samples, truncated


def describe(pairs: list[PreferencePair]) -> dict[str, float]:
    """Count pairs by provenance."""
    names = [pair.provenance for pair in pairs]
    return {
        f"pairs_{name}": float(names.count(name)) for name in sorted({"sample", "hard_negative", "refusal", *names})
    }


def verdict_rates(verdicts: list[list[Verdict]]) -> dict[str, float]:
    """Return the shares of samples by verdict, and the share of prompts with a wrong sample."""
    every = [verdict for row in verdicts for verdict in row]
    shares = {f"samples_{name}": every.count(name) / len(every) for name in ("right", "wrong", "refused", "unclear")}
    return shares | {"prompts_with_wrong_sample": sum("wrong" in row for row in verdicts) / len(verdicts)}


if __name__ == "__main__":
    with task("preferences") as t:
        settings = t.config
        judged = settings.preferences.ranker in ("judge", "score")
        size = settings.synthesize.batch_size
        judge = (
            load_judge(settings.teacher, settings.base, settings.compute, size, ResponseCache(PATH)) if judged else None
        )
        devices.prepare(settings.compute)
        rows = schema.read_training_rows(t.input("curate") / "preference_prompts.jsonl")
        documents = artifacts.read_table(t.input("split") / "train.parquet")
        asked = judge.ask if judge else None
        t.finish(preferences(rows, documents, t.input("sft"), t.out, t.report(".md"), settings, asked))
