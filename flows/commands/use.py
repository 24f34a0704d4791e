"""Apply a recipe, a YAML file with the parameters that differ, to params.yaml. Standalone: gradus use RECIPE"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.run import overrides
from pipelines import config
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_text, read_yaml


def use(console: Console, recipe: Path) -> None:
    """Write the parameters of `recipe` into params.yaml, keeping its comments, and print what changed.

    Raises:
        UserError: the recipe is not a mapping, or params.yaml is invalid, or would be with it.
    """
    if recipe.is_dir():
        raise UserError(f"{recipe} is a folder; give one of its YAML files.")
    config.load()  # the sentence about an invalid file, before it is merged
    values = read_yaml(recipe)
    if not isinstance(values, Mapping):
        raise UserError(f"{recipe} is not a mapping of parameters, such as sft: {{epochs: 8}}.")
    before = read_text(overrides.PARAMS)
    after = overrides.merged(before, values)
    overrides.checked(after, f"params.yaml with {recipe}")
    changes = list(_changes(read_yaml(overrides.PARAMS), values))
    overrides.PARAMS.write_text(after, encoding="utf-8")
    for key, old, new in changes:
        console.print(f"{key}: {old} → {new}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{len(changes)} parameters changed." if changes else f"params.yaml has all values of {recipe} already."
    )


def _changes(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the key, old and new value of every parameter that differs."""
    for name, value in new.items():
        before = old.get(name) if isinstance(old, Mapping) else None
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from _changes(before, value, f"{prefix}{name}.")
        elif before != value:
            yield f"{prefix}{name}", before, value
