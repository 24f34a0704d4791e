"""Parameter overrides for one run. Standalone: gradus run --set sft.epochs=8

Every key must exist in params.yaml, and the changed file is validated before anything starts. It is committed in the
worktree of the run (flows/commands/run_at_commit.py) with its comments preserved; params.yaml in the working tree is
unchanged.
"""

import difflib
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines import config
from pipelines.config import Config
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_text

PARAMS = Path("params.yaml")
_yaml = YAML()
_yaml.preserve_quotes = True
_yaml.width = 4096
_yaml.indent(mapping=2, sequence=4, offset=2)
_yaml.representer.add_representer(
    type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
)
_yaml.representer.add_representer(float, lambda dumper, value: _float(dumper, value))


def _float(dumper: Any, value: float) -> Any:
    """Write 1e-05 as 1.0e-05, because PyYAML and DVC read the former as a string."""
    digits, e, power = repr(value).partition("e")
    text = f"{digits}{'' if '.' in digits else '.0'}e{power}" if e else digits
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def write(assignments: Sequence[str], folder: Path) -> None:
    """Write `assignments` (`sft.epochs=8`) into params.yaml of `folder`, keeping its comments.

    Raises:
        UserError: an item is not an assignment, or names no parameter.
    """
    text = changed(read_text(folder / PARAMS), assignments)
    (folder / PARAMS).write_text(text, encoding="utf-8")


def changed(text: str, assignments: Sequence[str], option: str = "--set") -> str:
    """Return `text`, a params.yaml, with `assignments` applied; error messages name the `option` that gave them.

    Raises:
        UserError: an item is not an assignment, names no parameter, or its value or `text` is not YAML.
    """
    values = _loaded(text)
    for assignment in assignments:
        key, value = _parsed(assignment, option)
        block, name = _place(values, key, option)
        block[name] = value
    return written(values)


def written(recipe: Mapping[str, Any]) -> str:
    """Return `recipe` as YAML, as params.yaml is written."""
    text = io.StringIO()
    _yaml.dump(recipe, text)
    return text.getvalue()


def merged(text: str, recipe: Mapping[str, Any]) -> str:
    """Return `text`, a params.yaml, with the values of `recipe`: blocks are merged, other values replaced.

    A block with another `method` is replaced as a whole, since its options are of that method.

    Raises:
        UserError: `text` is not a mapping in YAML.
    """
    values = _loaded(text)
    _merge(values, recipe)
    return written(values)


def _loaded(text: str) -> Any:
    """Return the values of a params.yaml with its comments; unlike PyYAML, ruamel.yaml rejects duplicate keys."""
    try:
        values = _yaml.load(text)
    except YAMLError as error:
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        place = PARAMS if mark is None else f"{PARAMS}, line {mark.line + 1}"
        raise UserError(f"{place}: {reason}; fix it.") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{PARAMS} is not a mapping of parameters; restore it with `git checkout {PARAMS}`.")
    return values


def _merge(values: Any, recipe: Mapping[str, Any]) -> None:
    for key, value in recipe.items():
        block = values.get(key)
        if isinstance(value, Mapping) and isinstance(block, Mapping) and _same_method(block, value):
            _merge(block, value)
        else:
            values[key] = value


def _same_method(block: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    return "method" not in block or recipe.get("method", block["method"]) == block["method"]


def checked(text: str, name: str = "params.yaml with --set") -> Config:
    """Return the validated parameters in `text`, which messages call `name`.

    Raises:
        UserError: a parameter is invalid.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        try:
            return config.load(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), name)) from error


def _parsed(assignment: str, option: str) -> tuple[str, Any]:
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise UserError(f"{option} {assignment!r} is not an assignment; write it as {option} sft.epochs=8.")
    try:
        plain = YAML(typ="safe").load(value)
        return key.strip(), _yaml.load(value) if isinstance(plain, list | dict) else plain  # a list stays on one line
    except YAMLError as error:
        raise UserError(f"{option} {key}: the value {value!r} is not valid YAML.") from error


def _place(values: Any, key: str, option: str) -> tuple[Any, Any]:
    """Return the block that holds `key`, and the name of the key in it."""
    *path, last = key.split(".")
    block = values
    for part in path:
        block = block.get(part) if isinstance(block, Mapping) else None
    if isinstance(block, list) and last.isdecimal() and int(last) < len(block):
        return block, int(last)
    if not isinstance(block, Mapping) or last not in block:
        matches = difflib.get_close_matches(key, list(_keys(values)), n=1)
        hint = f"did you mean {matches[0]}?" if matches else "params.yaml lists all parameters."
        raise UserError(f"{option} {key}: there is no such parameter; {hint}")
    return block, last


def _keys(values: Any, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, inner in values.items() if isinstance(values, Mapping) else ():
        found += [f"{prefix}{name}", *_keys(inner, f"{prefix}{name}.")]
    return found
