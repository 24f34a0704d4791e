"""Plot the figures of a comparison: verdicts, accuracy against hallucination rate, best-of-n accuracy, risk–coverage.

Writes outcomes.png, tradeoff.png, best_of_n.png, risk_coverage.png and risk_by_model.png; the page embeds them as SVG.
Equal data gives equal bytes.
"""

import io
import math
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipelines.artifacts import Row
from pipelines.evaluation.best_of_n.curve import ANY, MAJORITY, OUTCOME, PROCESS, REWARD
from pipelines.evaluation.confidence import calibration
from pipelines.evaluation.questions import SETS
from pipelines.evaluation.report.answers import Answers

COLOURS = {"correct": "#1f7a6d", "refused": "#c5cad1", "wrong": "#d1603d"}
LEGEND = {"correct": "correct", "refused": "not attempted", "wrong": "wrong"}
_MODELS = ("#6b7480", "#3d6fb6", "#d1603d", "#1f7a6d")
"""Colours of models, in order; the candidate has the last."""
_CHOICES = {
    ANY: ("any correct", "#1f7a6d"),
    REWARD: ("reward model's pick", "#d1603d"),
    MAJORITY: ("majority vote", "#3d6fb6"),
    OUTCOME: ("outcome reward model's pick", "#b08a2e"),
    PROCESS: ("process reward model's pick", "#d1603d"),
}
_FEW_ANSWERS = 10
_INK, _FAINT = "#22272e", "#6b7480"
_STYLE = {"font.size": 9.5, "text.color": _INK, "axes.labelcolor": _FAINT, "xtick.color": _FAINT, "ytick.color": _INK}


def write(
    out: Path,
    models: dict[str, Any],
    answers: Answers,
    best_of_n: dict[str, Any],
    curve: list[Row],
    threshold: float | None,
) -> None:
    """Write the figures as PNG into `out`; `best_of_n` is its curve.json, `curve` and `threshold` are calibrate's."""
    figures = {
        "outcomes": outcomes(answers),
        "tradeoff": tradeoff(models),
        "best_of_n": accuracy_by_k(best_of_n),
        "risk_coverage": risk_coverage(curve, threshold),
        "risk_by_model": risk_by_model(answers.test),
    }
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=160, metadata={"Software": None})


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "gradus"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def outcomes(answers: Answers) -> Figure:
    """Draw the shares of correct, not attempted and wrong answers by model and set, a row of axes for each split."""
    splits = {"Test": answers.test, "Validation": answers.validation}
    heights = [1 + len(asked) for asked in splits.values()]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10.6, 0.4 + 0.42 * sum(heights)), layout="constrained")
        panels = figure.subplots(len(splits), len(SETS), sharey="row", height_ratios=heights, squeeze=False)
        for (split, asked), line in zip(splits.items(), panels, strict=True):
            for axes, name in zip(line, SETS, strict=True):
                _bars(axes, {model: _shares(rows, name) for model, rows in asked.items()})
                count = sum(row["set"] == name for row in next(iter(asked.values())))
                axes.set_title(f"{split}: {count} {name}", loc="left", fontsize=10, pad=6)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False, handlelength=1, handleheight=1)
    return figure


def tradeoff(models: dict[str, Any]) -> Figure:
    """Draw accuracy against hallucination rate, each with its 95% interval: lower right is better.

    The axis limits follow the intervals. The names are in a column on the right, linked to their points by lines,
    because labels of models with similar results would overlap.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        for numbers in models.values():
            x, y = numbers["answer_accuracy"], numbers["hallucination_rate"]
            whiskers = [_whisker(numbers, metric) for metric in ("answer_accuracy", "hallucination_rate")]
            axes.errorbar(
                x,
                y,
                xerr=whiskers[0],
                yerr=whiskers[1],
                fmt="o",
                ms=7,
                lw=1,
                color=COLOURS["correct"],
                ecolor="#aab2bd",
            )
        _names(axes, models)
        axes.set(
            xlim=_limits(models, "answer_accuracy"),
            ylim=_limits(models, "hallucination_rate"),
            xlabel="accuracy on answerable questions (higher is better)",
            ylabel="hallucination rate (lower is better)",
        )
        style_shares(axes)
    return figure


def style_shares(axes: Axes) -> None:
    """Give a plot of two shares percent signs, a grid behind the points, and no frame at the top and the right."""
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(color="#e6e9ed", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def accuracy_by_k(best_of_n: dict[str, Any]) -> Figure:
    """Draw best-of-n accuracy against the number of samples, with the evaluation's own decoding as a dashed line."""
    columns = {name: [row[name] for row in best_of_n["curve"]] for name in best_of_n["curve"][0]}
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for name, (label, colour) in _CHOICES.items():
            if name in columns:
                axes.plot(columns["k"], columns[name], "o-", ms=4, color=colour, label=label)
        axes.axhline(best_of_n["decoded"], color=_FAINT, ls="--", lw=1, label="as evaluated (no sampling)")
        axes.set(xlabel="samples", ylabel="accuracy", xticks=columns["k"])
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.grid(color="#e6e9ed", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def risk_coverage(curve: list[Row], threshold: float | None) -> Figure:
    """Draw the share of wrong answers against the share of questions answered, with the `threshold` as a vertical line.

    The first answers, of which too few are given to estimate a share, are left out.
    """
    points = curve[_FEW_ANSWERS:]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([row["coverage"] for row in points], [row["risk"] for row in points], color=COLOURS["wrong"])
        given = [row["coverage"] for row in curve if threshold is not None and row["threshold"] >= threshold]
        if given:
            axes.axvline(max(given), color=_FAINT, ls="--", lw=1, label="abstains to the right")
            axes.legend(frameon=False)
        axes.set(
            xlabel="questions answered, the most certain first", ylabel="wrong answers", xlim=(0, 1), ylim=(0, None)
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, 0))
        axes.grid(color="#e6e9ed", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def risk_by_model(answers: dict[str, list[Row]]) -> Figure:
    """Draw risk against coverage of each model, ordered by the mean log-likelihood of its decoded answers.

    It is the same, uncalibrated confidence for all, on the questions about the documents. A flat curve means that the
    likelihood does not tell wrong answers from right ones.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for (name, rows), colour in zip(answers.items(), _MODELS[-len(answers) :], strict=True):
            points = calibration.risk_by_likelihood(rows)[_FEW_ANSWERS:]
            axes.plot([row["coverage"] for row in points], [row["risk"] for row in points], color=colour, label=name)
        axes.set(xlabel="questions answered, the likeliest first", ylabel="wrong answers", xlim=(0, 1), ylim=(0, 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, 0))
        axes.grid(color="#e6e9ed", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def _names(axes: Axes, models: dict[str, Any]) -> None:
    """Write the names next to the axes, from the highest point down, each linked to its point."""
    ordered = sorted(models, key=lambda name: -models[name]["hallucination_rate"])
    low, high = _limits(models, "hallucination_rate")
    wanted = [(models[name]["hallucination_rate"] - low) / (high - low) for name in ordered]
    for name, height in zip(ordered, _apart(wanted), strict=True):
        point = (models[name]["answer_accuracy"], models[name]["hallucination_rate"])
        label = f"{name}  {100 * point[0]:.0f}% accuracy, {100 * point[1]:.0f}% hallucination"
        axes.annotate(
            label,
            point,
            xytext=(1.04, height),
            textcoords="axes fraction",
            va="center",
            arrowprops={"arrowstyle": "-", "color": "#aab2bd", "lw": 0.8, "shrinkB": 4, "relpos": (0, 0.5)},
        )


def _apart(heights: list[float], gap: float = 0.08) -> list[float]:
    """Return heights close to `heights` that descend by at least `gap` and stay above 0."""
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - gap) if placed else height)
    for index in range(len(placed) - 1, -1, -1):
        floor = placed[index + 1] + gap if index + 1 < len(placed) else 0.0
        placed[index] = max(placed[index], floor)
    return placed


def _limits(models: dict[str, Any], metric: str) -> tuple[float, float]:
    """Return axis limits that enclose all intervals, rounded to tenths with a small margin."""
    bounds = [bound for numbers in models.values() for bound in (*numbers["intervals"][metric], numbers[metric])]
    return math.floor(10 * min(bounds)) / 10 - 0.02, math.ceil(10 * max(bounds)) / 10 + 0.02


def _bars(axes: Axes, shares: dict[str, dict[str, float]]) -> None:
    """Stack the shares of each model in one bar, the first model on top."""
    left = [0.0] * len(shares)
    for verdict, colour in COLOURS.items():
        widths = [share[verdict] for share in shares.values()]
        bars = axes.barh(
            list(shares), widths, left=left, height=0.66, color=colour, label=LEGEND[verdict], edgecolor="white"
        )
        labels = [f"{100 * width:.0f}%" if width >= 0.06 else "" for width in widths]
        axes.bar_label(bars, labels, label_type="center", color=_INK if verdict == "refused" else "white", fontsize=9)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set(xlim=(0, 1), xticks=[])
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _shares(rows: list[Row], name: str) -> dict[str, float]:
    verdicts = [row["verdict"] for row in rows if row["set"] == name]
    return {verdict: verdicts.count(verdict) / max(len(verdicts), 1) for verdict in COLOURS}


def _whisker(numbers: dict[str, Any], metric: str) -> list[list[float]]:
    low, high = numbers["intervals"][metric]
    return [[max(numbers[metric] - low, 0.0)], [max(high - numbers[metric], 0.0)]]
