"""Select the candidate for promotion by the validation questions."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.evaluation import gate
from pipelines.evaluation.comparison import of
from pipelines.evaluation.config import CompareConfig, SelectConfig
from pipelines.evaluation.metrics import units
from pipelines.evaluation.questions import VALIDATION
from pipelines.evaluation.statistics.bootstrap import value
from pipelines.runtime.errors import UserError

SELECTION = "selection.json"
_LIMITS = {"honest", "accurate", "useful", "general"}


@dataclass(frozen=True)
class Selection:
    """The candidate, and the models that could not be selected."""

    candidate: str
    worse_than_parent: dict[str, str]
    """Aligned models that score lower, beyond chance, than the model they were aligned from, with that model."""
    beyond_limits: list[str]
    """Models beyond a limit of the gate, beyond chance. They are eligible only if all are."""
    parent: str | None
    """The model that the candidate was aligned from; None if it was not aligned."""


def read(folder: Path) -> Selection:
    """Read artifacts/select/."""
    stored = artifacts.read_json(folder / SELECTION)
    return Selection(**{field.name: stored[field.name] for field in fields(Selection)})


def select(
    answers: dict[str, list[Row]], parents: Mapping[str, str], config: SelectConfig, limits: CompareConfig, seed: int
) -> Selection:
    """Return the model with the highest score on validation, other than the baseline.

    `answers` holds the rows of answers.jsonl by model, and `parents` the model that an aligned one was aligned from.
    Validation sets are small, so a model is only ruled out beyond chance; a point estimate within the gate's limits
    would be luck. A tie goes to the model named first. Test questions are not used, so that the test results have no
    selection bias.

    Raises:
        UserError: every model is worse than the one it was aligned from.
    """
    gates = limits.model_copy(update={"alpha": config.alpha, "openings": 1})  # validation may be opened without limit
    asked = {name: of(rows, VALIDATION) for name, rows in answers.items()}
    others = [name for name in asked if name != gates.baseline]
    baseline = gate.Reference(gate.Role.BASELINE, gates.baseline, asked[gates.baseline])
    beyond = [name for name in others if _failed(asked[name], baseline, gates, seed) & _LIMITS]
    worse = {
        name: parent
        for name, parent in parents.items()
        if _failed(asked[name], gate.Reference(gate.Role.PARENT, parent, asked[parent]), gates, seed)
    }
    eligible = [name for name in others if name not in worse]
    if not eligible:
        listed = ", ".join(f"{name} than {parent}" for name, parent in worse.items())
        raise UserError(
            f"Every model of evaluate.models is worse than the one it was aligned from ({listed}), so none can be "
            "selected; change the alignment, or add a model that was not aligned, such as sft."
        )
    sound = [name for name in eligible if name not in beyond]
    scores = {name: value(units(asked[name])["score"]) for name in eligible}
    candidate = max(sound or eligible, key=scores.__getitem__)
    return Selection(candidate, worse, beyond, parent=parents.get(candidate))


def _failed(now: list[Row], reference: gate.Reference, config: CompareConfig, seed: int) -> set[str]:
    """Return the gates that a model fails against a reference."""
    checks = gate.judge(now, reference, config, seed)
    return {check.gate for check in checks if check.outcome == gate.Outcome.FAIL}
