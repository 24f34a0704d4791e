"""Register the candidate that `compare` named, and promote it when the gate opens.

Reads artifacts/compare/ and dvc.lock; writes a model version with its lineage to the registry, the alias
`challenger`, and `champion` when it is better than the baseline (the verdict of compare) and than the present
champion.
"""

from dataclasses import dataclass
from typing import Any

from flows import ledger
from pipelines import artifacts, registry, tracking
from pipelines.config import Config
from pipelines.registry import Version

COMPARISON = artifacts.ARTIFACTS / "compare"
GATED = ("answer_accuracy", "hallucination_rate", "general_accuracy")


@dataclass(frozen=True)
class Promotion:
    """What became of the candidate."""

    comparison: dict[str, Any]
    candidate: str
    version: int
    promoted: bool
    reason: str


def promote(parent: tracking.Run, settings: Config) -> Promotion:
    """Keep the comparison with the flow's run, register its candidate once, and promote it or say why not."""
    comparison = artifacts.read_json(COMPARISON / "metrics.json")
    parent.metrics(_figures(comparison))
    parent.artifact(COMPARISON, "compare")
    name = comparison["candidate"]
    numbers = {metric: comparison["models"][name][metric] for metric in GATED}
    version = _registered(parent, settings, name, numbers)
    registry.give(registry.CHALLENGER, version)
    refusal = refused(
        version,
        registry.holder(registry.CHAMPION),
        comparison["verdict"],
        settings.compare.max_hallucination_rise,
    )
    if not refusal:
        registry.give(registry.CHAMPION, version)
    parent.tags(
        {
            "candidate": name,
            "model_version": str(version.number),
            "promoted": str(not refusal),
            "reason": refusal,
        }
    )
    return Promotion(comparison, name, version.number, not refusal, refusal)


def refused(version: Version, champion: Version | None, verdict: dict[str, Any], max_hallucination_rise: float) -> str:
    """Return why `version` may not be champion, or nothing when it may."""
    if not verdict["passed"]:
        return " ".join(verdict["reasons"])
    if champion is None or champion.number == version.number:
        return ""
    rival = f"the champion, version {champion.number}"
    if champion.tags["questions"] != version.tags["questions"]:
        return f"{rival}, was measured on other questions; take its alias away (`gradus ui`) to start afresh."
    now, before = _numbers(version), _numbers(champion)
    rise = now["hallucination_rate"] - before["hallucination_rate"]
    if rise > max_hallucination_rise + 1e-9:
        return f"it invents {100 * rise:.1f} points more than {rival}."
    if _rank(now) <= _rank(before):
        right, rivals = 100 * now["answer_accuracy"], 100 * before["answer_accuracy"]
        return f"it answers {right:.1f}% right, which is no better than {rival} ({rivals:.1f}%)."
    return ""


def _rank(numbers: dict[str, float]) -> tuple[float, float]:
    """More right answers win; among equals, fewer invented ones."""
    return numbers["answer_accuracy"], -numbers["hallucination_rate"]


def _registered(parent: tracking.Run, settings: Config, name: str, numbers: dict[str, float]) -> Version:
    """Return the candidate's version: made only when these very weights have none, with today's figures."""
    place = settings.evaluate.models[name]
    directory, stage = artifacts.ARTIFACTS / place, place.replace("/", "@")
    measured = {metric: repr(number) for metric, number in numbers.items()}
    measured["questions"] = ledger.input_hash(f"evaluate@{name}", settings.evaluate.questions)
    artifact = ledger.output_hash(stage, directory)
    version = registry.find(artifact)
    if version is not None:
        return registry.describe(version, measured)
    lineage = {
        "artifact": artifact,
        "model": name,
        "stage_key": ledger.prove(stage).key,
        "data": ledger.output_hash("split", artifacts.ARTIFACTS / "split"),
        "dvc_lock": ledger.lock_hash(),
        "parent_run": parent.id,
        **parent.lineage(),
    }
    tokens = settings.evaluate.max_new_tokens
    return registry.register(parent, directory, settings.compute, tokens, {**measured, **lineage})


def _figures(comparison: dict[str, Any]) -> dict[str, float]:
    return {
        f"{model}.{metric}": value
        for model, numbers in comparison["models"].items()
        for metric, value in numbers.items()
        if isinstance(value, int | float)
    }


def _numbers(version: Version) -> dict[str, float]:
    return {metric: float(version.tags[metric]) for metric in GATED}
