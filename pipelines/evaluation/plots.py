"""The two pictures of a comparison: what became of the questions, and right against invented answers.

Writes outcomes.png and tradeoff.png; the page embeds the same figures as SVG. Equal data gives equal bytes.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipelines.artifacts import Row

COLOURS = {"correct": "#1f7a6d", "refused": "#c5cad1", "wrong": "#d1603d"}
LEGEND = {"correct": "right", "refused": "silent", "wrong": "wrong"}
_INK, _FAINT = "#22272e", "#6b7480"
_STYLE = {"font.size": 9.5, "text.color": _INK, "axes.labelcolor": _FAINT, "xtick.color": _FAINT, "ytick.color": _INK}


def write(out: Path, models: dict[str, Any], answers: dict[str, list[Row]]) -> None:
    """Write both figures as PNG into `out`."""
    for name, figure in (("outcomes", outcomes(answers)), ("tradeoff", tradeoff(models))):
        figure.savefig(out / f"{name}.png", dpi=160, metadata={"Software": None})


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "gradus"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def outcomes(answers: dict[str, list[Row]]) -> Figure:
    """Draw, for each model, the shares of test questions answered right, left open and answered wrong."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 0.9 + 0.46 * len(answers)), layout="constrained")
        for axes, name in zip(figure.subplots(1, 2, sharey=True), ("answerable", "unanswerable"), strict=True):
            _bars(axes, {model: _shares(rows, name) for model, rows in answers.items()})
            axes.set_title(f"{name.capitalize()} questions", loc="left", fontsize=10.5, pad=8)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False, handlelength=1, handleheight=1)
    return figure


def tradeoff(models: dict[str, Any]) -> Figure:
    """Draw right against invented answers, each with its 95% interval: lower right is better."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 4.4), layout="constrained")
        axes = figure.subplots()
        for name, numbers in models.items():
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
            axes.annotate(name, (x, y), xytext=(7, 6), textcoords="offset points", fontweight="bold")
        axes.set(
            xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="right answers (answerable)", ylabel="invented answers (all)"
        )
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.grid(color="#e6e9ed", lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(axes: Axes, shares: dict[str, dict[str, float]]) -> None:
    """Stack the shares of each model in one bar, the first model on top."""
    left = [0.0] * len(shares)
    for verdict, colour in COLOURS.items():
        widths = [found[verdict] for found in shares.values()]
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
    verdicts = [row["verdict"] for row in rows if row["set"] == name and row["split"] == "test"]
    return {verdict: verdicts.count(verdict) / max(len(verdicts), 1) for verdict in COLOURS}


def _whisker(numbers: dict[str, Any], metric: str) -> list[list[float]]:
    low, high = numbers["intervals"][metric]
    return [[max(numbers[metric] - low, 0.0)], [max(high - numbers[metric], 0.0)]]
