"""The arguments of `gradus tune`, checked before the search, and before its libraries are imported."""

import math
from pathlib import Path

from pipelines.runtime.errors import UserError

STAGES = ("sft",)
ORIGIN = "tuned by `gradus tune"
"""In the first line of every recipe that a search wrote."""


def check(stage: str, minutes: float, to: Path) -> None:
    """Check that `stage` can be tuned for `minutes`, and that the recipe `to` can be written afterwards.

    Raises:
        UserError: it cannot.
    """
    if stage not in STAGES:
        raise UserError(
            f"gradus tune searches the parameters of {', '.join(STAGES)}, which measures validations; not of {stage}."
        )
    if not math.isfinite(minutes):
        raise UserError(f"--minutes {minutes:g} is not a time; give a number of minutes.")
    if not to.parent.is_dir():
        raise UserError(f"The folder {to.parent} of --to does not exist; create it.")
    if to.exists() and not _is_recipe(to):
        raise UserError(f"{to} is not a recipe of an earlier search, so it is not overwritten; choose another --to.")


def _is_recipe(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as lines:
        return ORIGIN in lines.readline()
