"""Parameters changed for one run: `gradus run --set sft.epochs=8`. Alone: the same

Each is checked against params.yaml as it stands and then with all of them, before anything starts. The change is
committed in the worktree of the run (flows/commands/run_at_commit.py), with params.yaml's comments; the working tree's
file stays.
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
    """1e-05 as 1.0e-05, for PyYAML and DVC read the former as text."""
    digits, e, power = repr(value).partition("e")
    text = f"{digits}{'' if '.' in digits else '.0'}e{power}" if e else digits
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def write(assignments: Sequence[str], folder: Path) -> None:
    """Write `assignments` (`sft.epochs=8`) into params.yaml of `folder`, keeping its comments.

    Raises:
        UserError: one is no assignment, or names no parameter.
    """
    text = changed(read_text(folder / PARAMS), assignments)
    (folder / PARAMS).write_text(text, encoding="utf-8")


def changed(text: str, assignments: Sequence[str]) -> str:
    """Return `text`, a params.yaml, with `assignments` made.

    Raises:
        UserError: one is no assignment, names no parameter, or its value is not YAML.
    """
    values = _yaml.load(text)
    for assignment in assignments:
        key, value = _parsed(assignment)
        block, name = _place(values, key)
        block[name] = value
    written = io.StringIO()
    _yaml.dump(values, written)
    return written.getvalue()


def checked(text: str) -> Config:
    """Return the parameters in `text`.

    Raises:
        UserError: one of them is not allowed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        try:
            return config.load(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), "params.yaml with --set")) from error


def _parsed(assignment: str) -> tuple[str, Any]:
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise UserError(f"--set {assignment!r} is no assignment; write it as --set sft.epochs=8.")
    try:
        plain = YAML(typ="safe").load(value)
        return key.strip(), _yaml.load(value) if isinstance(plain, list | dict) else plain  # a list stays on one line
    except YAMLError as error:
        raise UserError(f"--set {key}: {value!r} is not YAML, so it is no value.") from error


def _place(values: Any, key: str) -> tuple[Any, Any]:
    """Return the block that holds `key`, and the name it has there."""
    *path, last = key.split(".")
    block = values
    for part in path:
        block = block.get(part) if isinstance(block, Mapping) else None
    if isinstance(block, list) and last.isdecimal() and int(last) < len(block):
        return block, int(last)
    if not isinstance(block, Mapping) or last not in block:
        near = difflib.get_close_matches(key, list(_keys(values)), n=1)
        hint = f"did you mean {near[0]}?" if near else "params.yaml shows those there are."
        raise UserError(f"--set {key}: there is no such parameter; {hint}")
    return block, last


def _keys(values: Any, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, inner in values.items() if isinstance(values, Mapping) else ():
        found += [f"{prefix}{name}", *_keys(inner, f"{prefix}{name}.")]
    return found
