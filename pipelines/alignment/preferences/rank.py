"""Preference pairs from an LLM judge or a reward model that ranks samples of the policy, or from people's choices.

Functions that make or filter pairs return the pairs and the rejections.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, compress
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from pipelines.alignment.config import PairsConfig
from pipelines.alignment.preferences.pairs import distinct
from pipelines.artifacts import read_rows
from pipelines.curation.schema import PreferencePair, Rejection, RowKind, TrainingRow
from pipelines.llm.calls import Call, Reply
from pipelines.llm.prompts import Recipe
from pipelines.llm.verdicts import letter, number
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.synthesis.reasons import Reason
from pipelines.text.normalize import tokens
from pipelines.training.examples import encode_chat

Ask = Callable[[Sequence[Call], str], list[Reply]]

_COMPARED = 3  # distinct samples of one prompt that a judge compares pairwise
_WORST, _BEST = 1.0, 10.0


def ended(
    rows: Sequence[TrainingRow], samples: Sequence[Sequence[str]], truncated: Sequence[Sequence[bool]]
) -> tuple[list[list[str]], list[Rejection]]:
    """Drop truncated samples, one rejection per prompt.

    In a pair they would get an end of turn that the policy did not write: chosen, they would teach to stop within a
    sentence, and rejected, not to stop.
    """
    whole: list[list[str]] = []
    dropped: list[Rejection] = []
    for row, texts, cut in zip(rows, samples, truncated, strict=True):
        whole.append([text for text, is_cut in zip(texts, cut, strict=True) if not is_cut])
        if any(cut):
            dropped.append(_dropped(row, Reason.ANSWER_TOO_LONG, *compress(texts, cut)))
    return whole, dropped


def self_play(
    rows: Sequence[TrainingRow], samples: Sequence[Sequence[str]]
) -> tuple[list[PreferencePair], list[Rejection]]:
    """Prefer the reference to every distinct sample of the policy (SPIN, Chen et al. 2024, arXiv:2401.01335).

    A prompt whose samples all equal the reference makes no pair: there the policy has converged. One without a sample
    has no rejection: `ended` dropped its samples.
    """
    pairs: list[PreferencePair] = []
    dropped: list[Rejection] = []
    for row, texts in zip(rows, samples, strict=True):
        others = [text for text in distinct(texts) if tokens(text) != tokens(row.answer)]
        pairs += [PreferencePair.of(row, row.answer, text, "sample", 1.0) for text in others]
        if texts and not others:
            dropped.append(_dropped(row, Reason.TIE, *distinct(texts)))
    return pairs, dropped


def compared(
    rows: Sequence[TrainingRow], samples: Sequence[Sequence[str]], ask: Ask, recipe: Recipe
) -> tuple[list[PreferencePair], list[Rejection]]:
    """Compare the samples of each prompt pairwise with an LLM judge, in both orders.

    A verdict that changes with the order is position bias (Zheng et al. 2023, arXiv:2306.05685, section 3.4): such
    pairs are dropped as ties. So are samples that are all equal.
    """
    texts_of = [(row, distinct(texts, _COMPARED)) for row, texts in zip(rows, samples, strict=True)]
    asked = [(row, *order) for row, texts in texts_of for order in combinations(texts, 2)]
    calls = [_call(recipe, row, *order) for row, a, b in asked for order in ((a, b), (b, a))]
    replies = ask(calls, "comparing")
    pairs: list[PreferencePair] = []
    dropped = [_dropped(row, Reason.TIE, *texts) for row, texts in texts_of if len(texts) == 1]
    for at, (row, first, second) in enumerate(asked):
        forth, back = (letter(recipe, reply) for reply in replies[2 * at : 2 * at + 2])
        if (forth, back) == ("A", "B"):
            pairs.append(PreferencePair.of(row, first, second, "judge", 1.0))
        elif (forth, back) == ("B", "A"):
            pairs.append(PreferencePair.of(row, second, first, "judge", 1.0))
        else:
            dropped.append(_dropped(row, Reason.NO_OPINION if None in (forth, back) else Reason.TIE, first, second))
    return pairs, dropped


def rated(
    rows: Sequence[TrainingRow],
    samples: Sequence[Sequence[str]],
    ask: Ask,
    recipe: Recipe,
    config: PairsConfig,
) -> list[list[float | None]]:
    """Return an LLM judge's mean score of each sample, from 0 to 1; None where it gave no score.

    Each sample is rated `config.judge_samples` times; several ratings are sampled at `config.judge_temperature`.
    """
    times = config.judge_samples
    calls = [
        _call(recipe, row, text, "", sample, config.judge_temperature if times > 1 else None)
        for row, texts in zip(rows, samples, strict=True)
        for text in texts
        for sample in range(times)
    ]
    scores = iter([_score(number(recipe, reply, _WORST, _BEST)) for reply in ask(calls, "rating")])
    return [[_mean([next(scores) for _ in range(times)]) for _ in texts] for texts in samples]


def by_score(
    rows: Sequence[TrainingRow],
    samples: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float | None]],
    provenance: str,
    ranked_pairs: Literal["best_worst", "all"],
) -> tuple[list[PreferencePair], list[Rejection]]:
    """Pair each prompt's best sample with its worst, or `all` distinct samples with different scores.

    A prompt without a sample has none, and no rejection: `ended` dropped its samples.
    With hundreds of samples, a rejected sample two standard deviations below the mean trains better than the worst,
    an outlier (Xiao et al. 2025, arXiv:2502.16825). With up to eight samples, the worst is always the closest to it.
    """
    pairs: list[PreferencePair] = []
    dropped: list[Rejection] = []
    for row, texts, values in zip(rows, samples, scores, strict=True):
        score_of = {text: score for text, score in zip(texts, values, strict=True) if score is not None}
        ranked = _ranked(score_of, ranked_pairs)
        if not ranked and texts:
            dropped.append(_dropped(row, Reason.NO_OPINION if len(score_of) < len(set(texts)) else Reason.TIE))
        for better, worse in ranked:
            pairs.append(PreferencePair.of(row, better, worse, provenance, score_of[better] - score_of[worse]))
    return pairs, dropped


def _ranked(scores: dict[str, float], ranked_pairs: Literal["best_worst", "all"]) -> list[tuple[str, str]]:
    """Return pairs of a better and a worse text."""
    falling = sorted(scores, key=lambda text: -scores[text])
    if ranked_pairs == "all":
        pairs = list(combinations(distinct(falling), 2))
    else:
        pairs = [(falling[0], min(scores, key=lambda text: scores[text]))] if falling else []
    return [(better, worse) for better, worse in pairs if scores[better] > scores[worse]]


def chosen_by_people(folder: Path) -> tuple[list[PreferencePair], list[Rejection]]:
    """Read people's choices from the JSONL files of a folder, in TRL's format, conversational or plain.

    Rows that are not pairs are dropped, and so are contradictory pairs, chosen in both directions.
    """
    rows = [row for path in sorted(folder.glob("*.jsonl")) for row in read_rows(path)]
    pairs: dict[tuple[str, str, str], PreferencePair] = {}
    dropped: list[Rejection] = []
    for row in rows:
        try:
            prompt = _messages(row["prompt"], "user")
            chosen, rejected = (_messages(row[name], "assistant") for name in ("chosen", "rejected"))
            good = {"role": "user"}.items() <= prompt[-1].items() and chosen != rejected
            good = good and len(chosen) == len(rejected) == 1
            text = (str(prompt), chosen[0]["content"].strip(), rejected[0]["content"].strip())
        except (KeyError, TypeError, IndexError, AttributeError):
            good = False
        if not good or not all(text):
            dropped.append(Rejection(row, Reason.NOT_A_PAIR))
            continue
        kind = RowKind(row["kind"]) if row.get("kind") in set(RowKind) else RowKind.ANSWER
        pairs[text] = PreferencePair(prompt, chosen, rejected, kind, row.get("source"), text[1], "human", 1.0)
    both = {text for text in pairs if (text[0], text[2], text[1]) in pairs}
    dropped += [Rejection(pairs[text].as_row(), Reason.CHOSEN_BOTH_WAYS) for text in sorted(both)]
    return [row for text, row in pairs.items() if text not in both], dropped


def fitting(
    tok: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], refusal: str, config: PairsConfig
) -> tuple[list[PreferencePair], list[Rejection]]:
    """Drop pairs with an empty answer or equal ones, of unequal lengths, with a small margin, or with too many tokens.

    The lengths of pairs with the refusal, which is short, may be unequal. A long answer is not cut: without its end of
    turn, DPO would learn not to stop.
    """
    kept: list[PreferencePair] = []
    dropped: list[Rejection] = []
    for each in pairs:
        chosen, rejected = each.chosen[0]["content"], each.rejected[0]["content"]
        shorter, longer = sorted((len(chosen), len(rejected)))
        if not chosen.strip() or not rejected.strip():
            dropped.append(Rejection(each.as_row(), Reason.EMPTY_ANSWER))
        elif chosen.strip() == rejected.strip():
            dropped.append(Rejection(each.as_row(), Reason.NOT_A_PAIR))
        elif refusal not in (chosen, rejected) and longer > config.max_length_ratio * max(1, shorter):
            dropped.append(Rejection(each.as_row(), Reason.LENGTH))
        elif each.margin < config.min_margin:
            dropped.append(Rejection(each.as_row(), Reason.MARGIN))
        elif max(_tokens(tok, each)) > config.max_tokens:
            dropped.append(Rejection(each.as_row(), Reason.TOO_LONG))
        else:
            kept.append(each)
    return kept, dropped


def _tokens(tok: PreTrainedTokenizerBase, pair: PreferencePair) -> list[int]:
    return [len(encode_chat(tok, pair.prompt + side).ids) for side in (pair.chosen, pair.rejected)]


def _call(
    recipe: Recipe, row: TrainingRow, first: str, second: str, sample: int = 0, temperature: float | None = None
) -> Call:
    filled = {"sentence": row.evidence or "", "question": row.question, "answer": row.answer}
    language = "zh" if row.question.endswith("？") else "en"
    return recipe.call({**filled, "first": first, "second": second}, language, True, temperature, sample)


def _score(rating: float | None) -> float | None:
    return None if rating is None else (rating - _WORST) / (_BEST - _WORST)


def _mean(scores: list[float | None]) -> float | None:
    given = [score for score in scores if score is not None]
    return statistics.mean(given) if given else None


def _dropped(row: TrainingRow, reason: Reason, *texts: str) -> Rejection:
    return Rejection({"question": row.question, "samples": list(texts)}, reason)


def no_pair(name: str, held_out: Sequence[PreferencePair], dropped: Sequence[Rejection]) -> UserError:
    """Return the error of a row without a pair to train on, with the most frequent reasons of the dropped pairs."""
    if held_out:
        return UserError(f"pairs@{name}: all {len(held_out)} pairs are held out; lower pairs.held_out_share.")
    most = Counter(each.reason for each in dropped).most_common(3)
    why = f": {', '.join(f'{reason} ({count})' for reason, count in most)}" if most else ""
    return UserError(f"pairs@{name}: no pair is left to train on{why}; raise pairs.prompts or pairs.samples.")


def _messages(value: str | list[Message], role: str) -> list[Message]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def reasons(dropped: Sequence[Rejection]) -> Iterator[tuple[str, float]]:
    """Yield (metric, number of dropped pairs) by reason."""
    counts = Counter(each.reason for each in dropped)
    yield from ((f"dropped_{reason}", float(counts[reason])) for reason in sorted(counts))
