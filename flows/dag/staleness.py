"""Which stages are out of date, and why: changed data, parameters, code or libraries.

Reads dvc.yaml, dvc.lock, code.lock.yaml and the files they name.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo

from flows.dag import dvc_lock
from flows.dag.graph import Graph
from pipelines import artifacts
from pipelines.runtime import code_lock
from pipelines.runtime.errors import UserError

NEVER = "never ran"
"""Reason that `changes` gives for a stage missing from dvc.lock."""


class LockedError(UserError):
    """Another DVC process holds the lock of the project."""


def changes(graph: Graph) -> dict[str, str]:
    """Return what changed for each stage of `graph` that is itself out of date.

    Raises:
        LockedError: another DVC process holds the lock of the project.
        UserError: DVC cannot read the project.
    """
    try:
        with Repo() as repo:
            status = repo.status()
            known = dvc_lock.recorded()
    except LockError as error:
        raise LockedError("another dvc command is running in this project; wait for it or stop it.") from error
    except DvcException as error:
        raise UserError(f"DVC cannot read the project: {str(error).strip().splitlines()[0]}.") from error
    return {
        stage.name: _why(stage.name, status[stage.name], known[stage.name]) if stage.name in known else NEVER
        for stage in graph
        if stage.name in status or stage.name not in known
    }


def _why(stage: str, entries: list[Any], known: dict[str, Any]) -> str:
    """Return DVC's status of a changed stage as one line: `artifacts/base modified; changed command`."""
    reasons = []
    for entry in entries:
        paths = [pair for found in entry.values() for pair in found.items()] if isinstance(entry, dict) else []
        for path, state in paths:
            code = path == str(code_lock.LOCK) and not isinstance(state, str)
            reasons += _code(stage, known) if code else [_path(path, state, known)]
        reasons += [] if paths else [str(entry)]
    return "; ".join(reasons)


def _code(stage: str, known: dict[str, Any]) -> list[str]:
    """Return the changed code, as `code (losses.dpo_loss and 2 more)`, and the libraries whose version changed."""
    name = stage.partition("@")[0]
    before, now = dvc_lock.code_entry(known, name), _parameters(code_lock.LOCK).get(name) or {}
    changed = ["code" + _symbols(stage, name)] if before.get("code") != now.get("code") else []
    return changed + library_changes(before, now)


def library_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return `torch "2.12" → "2.13"` for each library whose version differs between two entries of code.lock.yaml."""
    found = differences(before.get("libraries", {}), now.get("libraries", {}), "")
    return [line.removeprefix(".") for line in found]


def _symbols(stage: str, name: str) -> str:
    """Return the functions and classes that changed since the stage ran."""
    path = artifacts.RUNS / f"{stage}.json"
    ran = artifacts.read_json(path).get("code", {}) if path.exists() else {}
    now = code_lock.codes([name])[name].symbols
    changed = [each for each in {**ran, **now} if ran.get(each) != now.get(each)] if ran else []
    short = [".".join(each.split(".")[-2:]) for each in changed]
    return f" ({short[0]}{f' and {len(short) - 1} more' if short[1:] else ''})" if short else ""


def _path(path: str, state: Any, known: dict[str, Any]) -> str:
    """Return `artifacts/base modified` or, for a parameter file, `sft.epochs 6 → 8`."""
    if isinstance(state, str):
        return f"{path} {state}"
    before, now = known.get("params", {}).get(path, {}), _parameters(Path(path))
    changed = [line for key in state for line in differences(before.get(key), _at(now, key), key)]
    return ", ".join(changed) or ", ".join(f"{key} {how}" for key, how in state.items())


def differences(before: Any, now: Any, key: str) -> list[str]:
    """Return `key old → new` for every scalar that differs, descending into nested blocks."""
    if isinstance(before, dict) and isinstance(now, dict):
        inner = [(name, before.get(name), now.get(name)) for name in {**before, **now}]
        return [line for name, old, new in inner for line in differences(old, new, f"{key}.{name}")]
    return [] if before == now else [f"{key} {_value(before)} → {_value(now)}"]


def _value(value: Any) -> str:
    return "null" if value is None else json.dumps(value, ensure_ascii=False)


def _parameters(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text) or {}
    return found


def _at(values: Any, key: str) -> Any:
    """Return the value at a dotted key such as `sft.tuning.method`."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
