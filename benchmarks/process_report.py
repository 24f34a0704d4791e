"""Best-of-n accuracies of process and outcome reward models as a table and a summary, and how noisy the labels are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from pipelines.alignment.process.rollouts import Labelled
from pipelines.artifacts import Row
from pipelines.evaluation.best_of_n import curve as curves
from pipelines.evaluation.best_of_n.curve import ANY, MAJORITY, OUTCOME, PROCESS, Picker, Sample, best_by

RESAMPLES = 2000
PICKERS: Mapping[str, Picker] = {
    ANY: curves.oracle,
    MAJORITY: curves.majority,
    OUTCOME: curves.reward_pick,
    PROCESS: best_by(lambda sample: sample.scores["min"]),
    "process_product": best_by(lambda sample: sample.scores["product"]),
    "process_last": best_by(lambda sample: sample.scores["last"]),
}
"""The last two, by other aggregates of the scores of steps, are in the table only."""


@dataclass(frozen=True)
class Measured:
    """The results of one seed."""

    seed: int
    problems: list[list[Row]]
    """For each test problem its n samples: `answer`, `correct`, and the scores `outcome`, `min`, `product`, `last`."""
    facts: dict[str, float]
    """Accuracy of greedy decoding (`decoded`) and of the reward models, and properties of the labels."""

    def sampled(self) -> list[list[Sample]]:
        """Return the samples of each problem; their reward is that of the outcome reward model."""
        return [[_sample(row) for row in rows] for rows in self.problems]


def _sample(row: Row) -> Sample:
    verdict = "correct" if row["correct"] else "wrong"
    return Sample(row["answer"], verdict, row["outcome"], {name: row[name] for name in ("min", "product", "last")})


def label_facts(labelled: Sequence[Labelled], truth: Sequence[Sequence[bool]]) -> dict[str, float]:
    """Return numbers of labels, and their errors against the `truth` of each step of each solution.

    `missed_right` is the share of right steps with the hard label 0, `missed_wrong` that of wrong ones with 1.
    """
    pairs = [
        (right, target > 0)
        for each, steps in zip(labelled, truth, strict=True)
        if each.rejected is None
        for right, target in zip(steps, each.targets(soft=False), strict=True)
    ]
    counts, rejected = Counter(pairs), Counter(each.rejected for each in labelled)
    right, wrong = (max(1, counts[truth, True] + counts[truth, False]) for truth in (True, False))
    return {
        "labelled_solutions": float(rejected.pop(None, 0)),
        **{f"rejected_{reason}": float(count) for reason, count in sorted(rejected.items())},
        "labelled_steps": float(len(pairs)),
        "missed_right": counts[True, False] / right,
        "missed_wrong": counts[False, True] / wrong,
    }


def summary(found: Sequence[Measured]) -> Row:
    """Return the `curve` over the problems of all seeds, the accuracy `decoded`, and the `figures` at n samples."""
    sampled = [samples for each in found for samples in each.sampled()]
    names = [f"{each.seed}/{at}" for each in found for at in range(len(each.problems))]
    rows = curves.curve(sampled, PICKERS)
    change = curves.against(sampled, PICKERS[PROCESS], PICKERS[OUTCOME], names, RESAMPLES, seed=1, min_clusters=1)
    figures = {
        "process_minus_outcome": round(change.value, 4),
        "interval": [round(bound, 4) for bound in change.bounds(0.025)],
        MAJORITY: rows[-1][MAJORITY],
        ANY: rows[-1][ANY],
        "one_sample": rows[0][ANY],
    }
    return {"curve": rows, "decoded": mean(each.facts["decoded"] for each in found), "figures": figures}


def table(found: Sequence[Measured]) -> str:
    """Return a Markdown page: accuracies by the number of samples, by seed, and facts on the labels."""
    result = summary(found)
    lines = ["| samples | " + " | ".join(PICKERS) + " |", "| ---: |" + " ---: |" * len(PICKERS)]
    lines += [_line(f"{row['k']}", row) for row in result["curve"] if row["k"] & (row["k"] - 1) == 0]
    lines += ["", "| seed | " + " | ".join(PICKERS) + " |", "| ---: |" + " ---: |" * len(PICKERS)]
    lines += [_line(f"{each.seed}", curves.curve(each.sampled(), PICKERS)[-1]) for each in found]
    names = list(dict.fromkeys(name for each in found for name in each.facts))
    lines += ["", "| seed | " + " | ".join(names) + " |", "| ---: |" + " ---: |" * len(names)]
    lines += [f"| {each.seed} | " + " | ".join(f"{each.facts.get(n, 0):.4g}" for n in names) + " |" for each in found]
    return "\n".join([*lines, "", str(result["figures"]), ""])


def _line(first: str, row: Row) -> str:
    return f"| {first} | " + " | ".join(f"{row[name]:.1%}" for name in PICKERS) + " |"
