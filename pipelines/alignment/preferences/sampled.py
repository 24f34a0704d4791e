"""Preference pairs from samples: the policy answers each prompt several times, and a ranker orders its answers."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.alignment import reward_model
from pipelines.alignment.config import PairsConfig
from pipelines.alignment.preferences import rank
from pipelines.alignment.preferences.pairs import Rule, Verdict, pairs_of, scored_as
from pipelines.alignment.rows import JUDGE_PROMPTS
from pipelines.config import Config
from pipelines.curation.schema import PreferencePair, Rejection, RowKind, TrainingRow
from pipelines.inference.generation import respond
from pipelines.llm.prompts import Recipe, load
from pipelines.models import loading
from pipelines.models.chat import encode_prompt
from pipelines.models.config import BaseModelConfig, ComputeConfig
from pipelines.models.templates.stops import answer_text, stop_ids
from pipelines.runtime.progress import track

Ranked = tuple[list[PreferencePair], list[Rejection], dict[str, float]]
"""Pairs, rejections, and metrics."""


def sampled_pairs(
    name: str,
    rows: list[TrainingRow],
    chosen: list[TrainingRow],
    policy: Path,
    scorer: Path,
    config: Config,
    ask: rank.Ask | None,
) -> Ranked:
    """Sample answers of the policy to the prompts `chosen`, and rank them by the ranker of the row `name`.

    Answers to the other `rows` are hard negatives. `scorer` holds the reward model of the ranker `reward`, and `ask`
    calls the judge of `judge` and `score`.
    """
    settings, refusal, ranker = config.pairs, config.curate.refusal, config.alignment.pairs[name].ranker
    rows, asked = [scored_as(row) for row in rows], [scored_as(row) for row in chosen]
    samples, truncated = sample(asked, policy, settings, config.compute, config.base)
    rule = Rule(refusal, settings.min_token_recall)
    verdicts = [[rule.verdict(row, text) for text in texts] for row, texts in zip(asked, samples, strict=True)]
    samples, cut = rank.ended(asked, samples, truncated)
    choice = settings.ranked_pairs

    def recipe() -> Recipe:
        return load(config.synthesize.prompts, JUDGE_PROMPTS[ranker], f"alignment.pairs.{name}")

    def rated() -> list[list[float | None]]:
        return rank.rated(asked, samples, _required(ask), recipe(), settings)

    rankers: dict[str, Callable[[], tuple[list[PreferencePair], list[Rejection]]]] = {
        "reference": lambda: (_by_reference(rows, asked, samples, rule), []),
        "self_play": lambda: rank.self_play(asked, samples),
        "judge": lambda: rank.compared(asked, samples, _required(ask), recipe()),
        "score": lambda: rank.by_score(asked, samples, rated(), "score", choice),
        "reward": lambda: rank.by_score(asked, samples, _rewarded(asked, samples, scorer, config), "reward", choice),
    }
    found, dropped = rankers[ranker]()
    return found, cut + dropped, verdict_rates(verdicts)


def _by_reference(
    rows: list[TrainingRow], asked: list[TrainingRow], samples: list[list[str]], rule: Rule
) -> list[PreferencePair]:
    others = [row for row in rows if row.kind == RowKind.ANSWER]
    return [pair for row, texts in zip(asked, samples, strict=True) for pair in pairs_of(row, texts, others, rule)]


def _required(ask: rank.Ask | None) -> rank.Ask:
    assert ask is not None, "rankers with a judge require one"
    return ask


def _rewarded(
    asked: list[TrainingRow], samples: list[list[str]], scorer: Path, config: Config
) -> list[list[float | None]]:
    """Return the score of each sample by a reward model of the same base; None for an empty sample."""
    prompts = [row.messages[:-1] for row in asked]
    return reward_model.score_answers(scorer, prompts, samples, config.compute, config.base, config.pairs.batch_size)


def sample(
    asked: list[TrainingRow], policy: Path, config: PairsConfig, compute: ComputeConfig, base: BaseModelConfig
) -> tuple[list[list[str]], list[list[bool]]]:
    """Return `config.samples` answers of the policy to each question at each temperature, and which have no end."""
    model, tok = loading.load(policy, compute, base), loading.tokenizer(policy)
    prompts = [encode_prompt(tok, row.messages[:-1]) for row in asked for _ in range(config.samples)]
    stops = stop_ids(model, tok)
    samples: list[list[str]] = [[] for _ in asked]
    truncated: list[list[bool]] = [[] for _ in asked]
    for number, temperature in enumerate(config.temperatures):
        torch.manual_seed(compute.seed + number)
        answers = respond(model, tok, prompts, stops, config.max_new_tokens, temperature, config.batch_size)
        for place, tokens in sorted(track(answers, "sampling answers", len(prompts))):
            samples[place // config.samples].append(answer_text(tok, tokens))
            truncated[place // config.samples].append(tokens[-1] not in stops)
    return samples, truncated


def verdict_rates(verdicts: list[list[Verdict]]) -> dict[str, float]:
    """Return the shares of samples by verdict, and the share of prompts with a wrong sample."""
    every = [verdict for row in verdicts for verdict in row]
    shares = {f"samples_{name}": every.count(name) / len(every) for name in ("right", "wrong", "refused", "unclear")}
    return shares | {"prompts_with_wrong_sample": sum("wrong" in row for row in verdicts) / len(verdicts)}
