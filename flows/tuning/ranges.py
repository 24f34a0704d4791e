"""The search space: numeric parameters of params.yaml with their ranges, `--search sft.learning_rate=1e-4:1e-2:log`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from optuna.trial import Trial

from flows.run import overrides
from pipelines.runtime.errors import UserError

OPTION = "--search"
RANK = "sft.tuning.options.r"
"""The rank of LoRA and its relatives; it is not searched for other methods of fine-tuning."""
OBJECTIVE = "sft.validation_questions"
"""The parameter that says how trials are compared."""
DIGITS = 3  # significant digits of a sampled value, so that a recipe is readable


@dataclass(frozen=True)
class Range:
    """The values of one parameter, both ends included."""

    key: str
    low: float
    high: float
    log: bool
    """Whether the logarithm is uniform, for parameters whose magnitude matters."""
    integer: bool

    def suggest(self, trial: Trial) -> float:
        """Return the value of a trial, which Optuna draws at the first call."""
        if self.integer:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def rounded(self, value: float) -> float:
        """Return a sampled value with few digits, within the range."""
        return int(value) if self.integer else min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.key}={self.low:g}:{self.high:g}{':log' if self.log else ''}"


def space(searches: Sequence[str], text: str, parameters: Sequence[str]) -> list[Range]:
    """Return the ranges that `searches` give, or else of learning rate, rank and epochs around their present values.

    `text` is params.yaml, and `parameters` are the keys that the result of the stage depends on.

    Raises:
        UserError: a range is malformed, or a parameter does not exist, is not a number, does not change the stage, or
            may not have a value of its range.
    """
    values = yaml.safe_load(text)
    if not searches:
        return _defaults(values)
    found = [_parsed(search, text, values) for search in searches]
    keys = [each.key for each in found]
    for each in found:
        if keys.count(each.key) > 1:
            raise UserError(f"{OPTION} {each.key} is given twice; give one range for each parameter.")
        _check(each, text, parameters)
    return found


def value_of(values: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, None if there is none."""
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def assignments(values: Mapping[str, float]) -> list[str]:
    """Return the values by key as `gradus run --set` takes them."""
    return [f"{key}={value!r}" for key, value in values.items()]


def nested(values: Mapping[str, float]) -> dict[str, Any]:
    """Return the values by dotted key as the blocks of a recipe."""
    recipe: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        block = recipe
        for part in path:
            block = block.setdefault(part, {})
        block[last] = value
    return recipe


def _defaults(values: Mapping[str, Any]) -> list[Range]:
    rate, rank, epochs = (value_of(values, key) for key in ("sft.learning_rate", RANK, "sft.epochs"))
    ranges = [Range("sft.learning_rate", rate / 5, min(5 * rate, 1.0), log=True, integer=False)]
    if rank is not None:
        ranges.append(Range(RANK, max(1, rank // 4), 2 * rank, log=True, integer=True))
    return [*ranges, Range("sft.epochs", max(1, epochs // 2), 2 * epochs, log=False, integer=True)]


def _parsed(search: str, text: str, values: Mapping[str, Any]) -> Range:
    key, _, given = search.partition("=")
    low, _, rest = given.partition(":")
    high, _, scale = rest.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = math.nan, math.nan
    if not all(map(math.isfinite, ends)) or scale not in ("", "log"):
        raise UserError(
            f"{OPTION} {search!r} is not a range; write it as {OPTION} sft.learning_rate=1e-4:1e-2:log, or without "
            ":log for a linear scale."
        )
    overrides.changed(text, [f"{key}={low}"], OPTION)  # the parameter exists
    present = value_of(values, key)
    if isinstance(present, bool) or not isinstance(present, int | float | None):
        raise UserError(f"{OPTION} {key}: its value is {present!r}; only numbers that stand alone can be searched.")
    whole = all(end.lstrip("-").isdecimal() for end in (low, high)) and not isinstance(present, float)
    return Range(key, *ends, log=scale == "log", integer=whole)


def _check(each: Range, text: str, parameters: Sequence[str]) -> None:
    if each.low >= each.high or (each.log and each.low <= 0):
        rule = (
            "the first end of a logarithmic range must be above 0"
            if each.low < each.high
            else "its ends are not in order"
        )
        raise UserError(f"{OPTION} {each}: {rule}.")
    if each.key == OBJECTIVE:
        raise UserError(f"{OPTION} {each.key}: trials are compared by these questions; set it in params.yaml instead.")
    if not any(f"{each.key}.".startswith(f"{key}.") for key in parameters):
        raise UserError(
            f"{OPTION} {each.key}: it does not change a training on the data that exists; parameters that do are in "
            f"{', '.join(parameters)}."
        )
    for end in (each.low, each.high):
        value = int(end) if each.integer else end
        overrides.checked(overrides.changed(text, assignments({each.key: value})), f"params.yaml with {OPTION} {each}")
