"""Preference pairs from somebody's opinion of a model's own samples: a judge's, a reward model's, or people's choices.

Every function returns pairs and what it dropped, each with a `reason`.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from pipelines.alignment.pairs import distinct
from pipelines.artifacts import Row, read_rows
from pipelines.llm.calls import Call, Reply
from pipelines.llm.prompts import Recipe
from pipelines.llm.verdicts import letter, number
from pipelines.models.messages import Message

Ask = Callable[[Sequence[Call], str], list[Reply]]

_COMPARED = 3  # different samples of one prompt that a judge compares with each other
_WORST, _BEST = 1.0, 10.0


def compared(
    rows: Sequence[Row], samples: Sequence[Sequence[str]], ask: Ask, recipe: Recipe
) -> tuple[list[Row], list[Row]]:
    """Have a judge compare the samples of each prompt two by two, both ways round.

    A judge that changes its mind with the order has a bias for a position (Zheng et al. 2023, arXiv:2306.05685, section
    3.4): such pairs are dropped as ties.
    """
    asked = [
        (row, first, second)
        for row, texts in zip(rows, samples, strict=True)
        for first, second in combinations(distinct(texts, _COMPARED), 2)
    ]
    calls = [_call(recipe, row, *order) for row, a, b in asked for order in ((a, b), (b, a))]
    replies = ask(calls, "comparing")
    pairs: list[Row] = []
    dropped: list[Row] = []
    for at, (row, first, second) in enumerate(asked):
        forth, back = (letter(recipe, reply) for reply in replies[2 * at : 2 * at + 2])
        if (forth, back) == ("A", "B"):
            pairs.append(pair(row, first, second, "judge", 1.0))
        elif (forth, back) == ("B", "A"):
            pairs.append(pair(row, second, first, "judge", 1.0))
        else:
            dropped.append(_dropped(row, "no_opinion" if None in (forth, back) else "tie", first, second))
    return pairs, dropped


def rated(
    rows: Sequence[Row], samples: Sequence[Sequence[str]], ask: Ask, recipe: Recipe, times: int
) -> list[list[float | None]]:
    """Return a judge's mean score of each sample, from 0 to 1, over `times` opinions; None where it gave none."""
    calls = [
        _call(recipe, row, text, "", sample, 0.7 if times > 1 else None)
        for row, texts in zip(rows, samples, strict=True)
        for text in texts
        for sample in range(times)
    ]
    scores = iter([_score(number(recipe, reply, _WORST, _BEST)) for reply in ask(calls, "rating")])
    return [[_mean([next(scores) for _ in range(times)]) for _ in texts] for texts in samples]


def by_score(
    rows: Sequence[Row], samples: Sequence[Sequence[str]], scores: Sequence[Sequence[float | None]], provenance: str
) -> tuple[list[Row], list[Row]]:
    """Pair each prompt's best sample with its worst.

    Among hundreds of samples the worst is an outlier, and one at two standard deviations below the mean teaches more
    (Xiao et al. 2025, arXiv:2502.16825); of up to eight, the sample nearest to there is always the worst.
    """
    pairs: list[Row] = []
    dropped: list[Row] = []
    for row, texts, values in zip(rows, samples, scores, strict=True):
        found = {text: score for text, score in zip(texts, values, strict=True) if score is not None}
        if len(found) < 2 or min(found.values()) == max(found.values()):
            dropped.append(_dropped(row, "no_opinion" if len(found) < len(set(texts)) else "tie"))
            continue
        best, worst = (pick(found, key=lambda text: found[text]) for pick in (max, min))
        pairs.append(pair(row, best, worst, provenance, found[best] - found[worst]))
    return pairs, dropped


def chosen_by_people(folder: Path) -> tuple[list[Row], list[Row]]:
    """Read people's choices from the JSONL files of a folder, in TRL's form, conversational or plain.

    Rows that are no pair are dropped, and pairs chosen both ways round.
    """
    rows = [row for path in sorted(folder.glob("*.jsonl")) for row in read_rows(path)]
    pairs: dict[tuple[str, str, str], Row] = {}
    dropped: list[Row] = []
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
            dropped.append({**row, "reason": "not_a_pair"})
            continue
        made = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "kind": row.get("kind", "answer")}
        pairs[text] = {**made, "source": row.get("source"), "reference": text[1], "provenance": "human", "margin": 1.0}
    both = {text for text in pairs if (text[0], text[2], text[1]) in pairs}
    dropped += [{**pairs[text], "reason": "chosen_both_ways"} for text in sorted(both)]
    return [row for text, row in pairs.items() if text not in both], dropped


def fitting(
    pairs: Sequence[Row], refusal: str, max_length_ratio: float, min_margin: float
) -> tuple[list[Row], list[Row]]:
    """Drop pairs whose answers differ too much in length, or too little in worth; a refusal is short by nature."""
    kept: list[Row] = []
    dropped: list[Row] = []
    for row in pairs:
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        lengths = sorted((len(chosen), len(rejected)))
        unlike = refusal not in (chosen, rejected) and lengths[1] > max_length_ratio * max(1, lengths[0])
        reason = "length" if unlike else "margin" if row["margin"] < min_margin else None
        (kept if reason is None else dropped).append(row if reason is None else {**row, "reason": reason})
    return kept, dropped


def pair(row: Row, chosen: str, rejected: str, provenance: str, margin: float) -> Row:
    """Return a preference row, in TRL's conversational form; `margin` says how much better the chosen answer is."""
    *prompt, reference = row["messages"]
    return {
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "kind": row["kind"],
        "source": row["source"],
        "reference": reference["content"],
        "provenance": provenance,
        "margin": margin,
    }


def _call(recipe: Recipe, row: Row, first: str, second: str, sample: int = 0, temperature: float | None = None) -> Call:
    *_, asked, reference = (message["content"] for message in row["messages"])
    filled = {"sentence": row.get("evidence") or "", "question": asked, "answer": reference}
    language = "zh" if asked.endswith("？") else "en"
    return recipe.call({**filled, "first": first, "second": second}, language, True, temperature, sample)


def _score(said: float | None) -> float | None:
    return None if said is None else (said - _WORST) / (_BEST - _WORST)


def _mean(scores: list[float | None]) -> float | None:
    given = [score for score in scores if score is not None]
    return statistics.mean(given) if given else None


def _dropped(row: Row, reason: str, *texts: str) -> Row:
    return {"question": row["messages"][-2]["content"], "samples": list(texts), "reason": reason}


def _messages(value: str | list[Message], role: str) -> list[Message]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def reasons(dropped: Sequence[Row]) -> Iterator[tuple[str, float]]:
    """Yield how many were dropped for each reason, as metrics."""
    names = [row["reason"] for row in dropped]
    yield from ((f"dropped_{name}", float(names.count(name))) for name in sorted(set(names)))
