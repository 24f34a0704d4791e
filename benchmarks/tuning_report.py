"""The comparison of methods of fine-tuning as a table, and as a plot of what is learnt against what is kept."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from pipelines.artifacts import Row
from pipelines.evaluation.report.plots import COLOURS, style_shares

_INK, _FAINT, _LINE = "#22272e", "#6b7480", "#aab2bd"
_STYLE = {"font.size": 9.5, "text.color": _INK, "axes.labelcolor": _FAINT, "xtick.color": _FAINT, "ytick.color": _FAINT}
_HEADER = (
    *("method", "learning rate", "rates tried", "trainable", "share", "peak GiB", "tokens/s", "seconds", "accuracy"),
    *("hallucination", "over-refusal", "general kept", "score"),
)

_SHARES = ("answer_accuracy", "hallucination_rate", "over_refusal", "kept")


@dataclass(frozen=True)
class Result:
    """A method at its best learning rate: one row of trials.jsonl per seed."""

    name: str
    rows: Sequence[Row]
    tried: str
    """Learning rates measured of those planned, such as 2/3: the others failed, or there was no time left."""

    def mean(self, key: str) -> float | None:
        """Return the mean over seeds; None if it was not measured."""
        values = [row[key] for row in self.rows if row.get(key) is not None]
        return statistics.mean(values) if values else None

    @property
    def score(self) -> float:
        """Mean of correct minus wrong answers per question."""
        return statistics.mean(row["score"] for row in self.rows)

    @property
    def spread(self) -> float | None:
        """Standard deviation of the score over seeds; None with one seed."""
        return statistics.stdev(row["score"] for row in self.rows) if len(self.rows) > 1 else None


def table(base: Row, results: Sequence[Result], failed: Sequence[Row], tokens: int, asked: Mapping[str, int]) -> str:
    """Return a Markdown page: every method by its score, the base model, and the trials that failed."""
    trials = [base, *(row for result in results for row in result.rows)]
    machines = "; ".join(sorted({row["machine"] for row in trials}))
    counts = ", ".join(f"{count} {name}" for name, count in asked.items())
    lines = [
        f"{machines}; {max(row['date'] for row in trials)}. At least {tokens:,} labelled tokens each; validation "
        f"questions: {counts}. Score: correct minus wrong answers per question on the documents, ± its standard "
        "deviation where several seeds were measured.",
        "",
        f"| {' | '.join(_HEADER)} |",
        f"| --- |{' ---: |' * (len(_HEADER) - 1)}",
    ]
    ordered = sorted(results, key=lambda result: -result.score)
    lines += [_line(result) for result in [*ordered, Result("base model", [base], "")]]
    if failed:
        lines += ["", "| failed | learning rate | seed | reason |", "| --- | ---: | ---: | --- |"]
        lines += [f"| {' | '.join(_failure(row))} |" for row in failed]
    return "\n".join(lines) + "\n"


def _line(result: Result) -> str:
    trained = result.rows[0].get("trainable")
    rate = f"{result.rows[0]['learning_rate']:g}" if trained is not None else ""
    spread = "" if result.spread is None else f" ± {result.spread:.3f} (n={len(result.rows)})"
    cells = [
        result.name,
        rate,
        result.tried,
        "" if trained is None else f"{trained:,}",
        _number(result.mean("trainable_share"), ".3%"),
        _number(result.mean("peak_gib"), ".2f"),
        _number(result.mean("tokens_per_second"), ".0f"),
        _number(result.mean("seconds"), ".0f"),
        *(
            _number(result.mean(key), ".1%")
            for key in ("answer_accuracy", "hallucination_rate", "over_refusal", "kept")
        ),
        f"{result.score:.3f}{spread}",
    ]
    return f"| {' | '.join(cells)} |"


def _failure(row: Row) -> list[str]:
    return [row["method"], f"{row['learning_rate']:g}", str(row["seed"]), row["failed"].replace("|", "\\|")]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def learnt_forgotten(results: Sequence[Result]) -> Figure:
    """Draw accuracy against the share of general questions still answered: upper right is better.

    The names are in a column on the right in the order of accuracy, linked to their points by lines, because labels of
    similar methods would overlap.
    """
    points = [(result.mean("kept"), result.mean("answer_accuracy"), result.name) for result in results]
    drawn = sorted((y, x, name) for x, y, name in points if x is not None and y is not None)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, max(4.4, 0.2 * len(drawn))), layout="constrained")
        axes = figure.subplots()
        axes.scatter([x for _, x, _ in drawn], [y for y, _, _ in drawn], s=36, color=COLOURS["correct"], zorder=3)
        for place, (y, x, name) in enumerate(drawn):
            axes.annotate(
                name,
                (x, y),
                xytext=(1.06, (place + 0.5) / len(drawn)),
                textcoords="axes fraction",
                va="center",
                fontsize=8,
                arrowprops={"arrowstyle": "-", "color": _LINE, "lw": 0.6, "shrinkB": 4, "relpos": (0, 0.5)},
            )
        axes.set(xlabel="general questions of the base model still answered", ylabel="accuracy on answerable questions")
        style_shares(axes)
    return figure
