"""Preferences: what the SFT model answers to questions in wordings new to it, ranked; or people's choices.

Reads artifacts/curate/preference_prompts.jsonl, artifacts/sft, artifacts/split (for the names of the documents) and, as
`preferences.ranker` says, a judge, a reward model or a folder of choices; writes train.jsonl, held_out.jsonl,
rejects.jsonl to artifacts/preferences, and a dataset card to artifacts/reports.
Alone: python -m tasks.preferences
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pipelines import artifacts
from pipelines.alignment import rank, reward_model
from pipelines.alignment.backbone import Backbone, train_only
from pipelines.alignment.config import PreferencesConfig
from pipelines.alignment.pairs import KEYWORD_QUERIES, Rule, Verdict, balance, choose, hold_out, judged_as, pairs_of
from pipelines.alignment.sequences import encode
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation.card import card
from pipelines.inference.generation import generate
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.prompts import load
from pipelines.llm.teachers import load_judge
from pipelines.models import devices, loading
from pipelines.models.config import ComputeConfig
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from tasks import task

Ranked = tuple[list[Row], list[Row], dict[str, float]]
"""Pairs, what was dropped, and measures."""


def preferences(
    rows: list[Row], documents: list[Row], sft: Path, out: Path, card_: Path, config: Config, ask: rank.Ask | None
) -> dict[str, float]:
    """Write preference pairs, and those held out by prompt; return how many there are, and what was dropped for what.

    `documents` are those that `rows` are about; `ask` asks the judge, where `preferences.ranker` wants one.

    Raises:
        UserError: there is nothing to ask about, or no pair is left.
    """
    settings, refusal, seed = config.preferences, config.curate.refusal, config.compute.seed
    _ready(settings)
    made, dropped, measured = _people(settings) if settings.ranker == "human" else _samples(rows, sft, config, ask)
    fit, unfit = rank.fitting(made, refusal, settings.max_length_ratio, settings.min_margin)
    pairs, spare = balance(fit, seed)
    train, held_out = hold_out(pairs, settings.held_out_share, seed)
    rejects = dropped + unfit + spare
    artifacts.write_rows(out / "rejects.jsonl", rejects)
    if not train:
        raise UserError("preferences: no pair is left to train on; raise preferences.prompts or lower held_out_share.")
    artifacts.write_rows(out / "train.jsonl", train)
    artifacts.write_rows(out / "held_out.jsonl", held_out)
    described = card(
        "preferences",
        {"train": ("train.jsonl", train), "test": ("held_out.jsonl", held_out)},
        rejects,
        documents,
        form="trl",
        license_=config.curate.license,
        kept=Counter(pair["provenance"] for pair in pairs),
        parameters={"preferences": settings.model_dump(mode="json")},
    )
    card_.write_text(described, encoding="utf-8")
    sizes: dict[str, float] = {"train_pairs": len(train), "held_out_pairs": len(held_out)}
    return sizes | dict(rank.reasons(rejects)) | measured | describe(pairs)


def _ready(settings: PreferencesConfig) -> None:
    """Refuse to sample for a reward model that is not there."""
    folder = settings.reward_model
    if settings.ranker == "reward" and (folder is None or not (folder / reward_model.HEAD).is_file()):
        raise UserError(f"preferences.reward_model is {folder}, where no reward model lies; name a folder with one.")


def _people(settings: PreferencesConfig) -> Ranked:
    pairs, dropped = rank.chosen_by_people(settings.human)
    if not pairs:
        raise UserError(f"preferences: there is no choice in {settings.human}; make some with `gradus label`.")
    return pairs, dropped, {}


def _samples(rows: list[Row], sft: Path, config: Config, ask: rank.Ask | None) -> Ranked:
    """Sample answers of the model itself and have them ranked."""
    settings, refusal = config.preferences, config.curate.refusal
    chosen = choose(rows, settings, config.compute.seed)
    composition = composed(chosen)
    rows, asked = [judged_as(row) for row in rows], [judged_as(row) for row in chosen]
    samples = sample(asked, sft, settings, config.compute)
    rule = Rule(refusal, settings.min_token_recall)
    verdicts = [[rule.verdict(row, text) for text in texts] for row, texts in zip(asked, samples, strict=True)]
    rankers: dict[str, Callable[[], tuple[list[Row], list[Row]]]] = {
        "reference": lambda: (_by_reference(rows, asked, samples, rule), []),
        "judge": lambda: rank.compared(asked, samples, _asked(ask), load(config.synthesize.prompts, "compare")),
        "score": lambda: rank.by_score(asked, samples, _rated(asked, samples, config, ask), "score"),
        "reward": lambda: rank.by_score(asked, samples, _rewarded(asked, samples, sft, config), "reward"),
    }
    return *rankers[settings.ranker](), composition | fared(verdicts)


def composed(chosen: list[Row]) -> dict[str, float]:
    """Count the prompts by kind; say so where questions ran out and keyword queries were taken."""
    kinds = Counter(judged_as(row)["kind"] for row in chosen)
    queries = sum(row["kind"] in KEYWORD_QUERIES for row in chosen)
    if queries:
        say(f"preferences: {queries} of {len(chosen)} prompts are keyword queries; there are too few questions.")
    counts = {"answerable": kinds["answer"], "unanswerable": kinds["refusal"], "keyword_queries": queries}
    return {f"prompts_{name}": float(count) for name, count in counts.items()}


def _by_reference(rows: list[Row], asked: list[Row], samples: list[list[str]], rule: Rule) -> list[Row]:
    others = [row for row in rows if row["kind"] == "answer"]
    return [pair for row, texts in zip(asked, samples, strict=True) for pair in pairs_of(row, texts, others, rule)]


def _asked(ask: rank.Ask | None) -> rank.Ask:
    assert ask is not None, "the ranker is a judge, and nobody gave one"
    return ask


def _rated(
    asked: list[Row], samples: list[list[str]], config: Config, ask: rank.Ask | None
) -> list[list[float | None]]:
    recipe = load(config.synthesize.prompts, "rate")
    return rank.rated(asked, samples, _asked(ask), recipe, config.preferences.judge_samples)


def _rewarded(asked: list[Row], samples: list[list[str]], sft: Path, config: Config) -> list[list[float | None]]:
    """Return the scores that a reward model of the same base gives each sample; None for an empty one."""
    folder = config.preferences.reward_model
    assert folder is not None, "_ready has seen to it"
    model = loading.adaptable(folder, None, config.compute, config.base)
    train_only(model, [])
    backbone = Backbone(model, loading.tokenizer(sft), config.compute)
    places = [(at, which) for at, texts in enumerate(samples) for which, text in enumerate(texts) if text.strip()]
    turns = [
        encode(backbone.tok, asked[at]["messages"][:-1], [{"role": "assistant", "content": samples[at][which]}])
        for at, which in places
    ]
    found = reward_model.scores(backbone, reward_model.load_head(model, folder), turns, config.preferences.batch_size)
    scores = dict(zip(places, found, strict=True))
    return [[scores.get((at, which)) for which in range(len(texts))] for at, texts in enumerate(samples)]


def sample(asked: list[Row], sft: Path, config: PreferencesConfig, compute: ComputeConfig) -> list[list[str]]:
    """Return `config.samples` answers of the SFT model to each question at each temperature."""
    prompts = [row["messages"][:-1] for row in asked for _ in range(config.samples)]
    model, tok = loading.load(sft, compute), loading.tokenizer(sft)
    found: list[list[str]] = [[] for _ in asked]
    for number, temperature in enumerate(config.temperatures):
        texts = generate(
            model,
            tok,
            prompts,
            max_new_tokens=config.max_new_tokens,
            temperature=temperature,
            batch_size=config.batch_size,
            seed=compute.seed + number,
            what="preferences",
        )
        for at, texts_of_one in enumerate(found):
            texts_of_one += texts[at * config.samples : (at + 1) * config.samples]
    return found


def describe(pairs: list[Row]) -> dict[str, float]:
    """Count pairs by where they came from."""
    names = [pair["provenance"] for pair in pairs]
    return {f"pairs_{name}": float(names.count(name)) for name in sorted({"sample", "borrowed", "refusal", *names})}


def fared(verdicts: list[list[Verdict]]) -> dict[str, float]:
    """Return the shares of samples by verdict of the rule, and of prompts with a wrong one."""
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
        rows = artifacts.read_rows(t.input("curate") / "preference_prompts.jsonl")
        documents = artifacts.read_table(t.input("split") / "train.parquet")
        asked = judge.ask if judge else None
        t.finish(preferences(rows, documents, t.input("sft"), t.out, t.report(".md"), settings, asked))
