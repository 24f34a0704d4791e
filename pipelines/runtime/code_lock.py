"""code.lock.yaml: what code each stage runs, and on which versions of libraries. Generated, committed and checked.

DVC compares an entry as a parameter of its stage, so a stage is stale when what it runs has changed, not when a file
has (fingerprint.py). `gradus run` and `gradus status` update the file; a task that is started alone refuses to run
under an entry that does not describe it. `gradus accept` keeps the entry by which results were made.
Alone, as a check: python -m pipelines.runtime.code_lock
"""

import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipelines.runtime.errors import UserError
from pipelines.runtime.fingerprint import PACKAGES, PLUGINS, Code, Source

LOCK = Path("code.lock.yaml")
CACHE = Path(".gradus/code.json")
ACCEPTED = "accepted"
"""The key beside the stages: by stage, the code that runs in place of the entry's, and why its results are the same."""
_DISTRIBUTIONS = {"lm_eval": "lm-eval"}
_HEADER = "# Generated: what each stage runs (pipelines/runtime/fingerprint.py). Commit it with the code.\n"


def refresh() -> None:
    """Write code.lock.yaml anew when it does not describe the working tree."""
    if (new := _current()) and new != _read():
        _write(new)


def check(stage: str) -> dict[str, str]:
    """Return the hashes of what a stage runs, which its entry must describe; none where this folder has no code.

    Raises:
        UserError: the entry describes other code.
    """
    if not Path(f"tasks/{stage}.py").is_file():
        return {}
    code = codes([stage])[stage]
    if _with_accepted({stage: _entry(code)})[stage] != _read().get(stage):
        raise UserError(
            f"{LOCK} does not describe the code of {stage} as it is now; `gradus status` writes it anew, "
            "and `gradus run` starts what that makes stale."
        )
    return code.symbols


def accept(stage: str, recorded: str, reason: str) -> None:
    """Declare that the code of a stage gives the results that were recorded for the code `recorded`."""
    code = codes([stage])[stage].digest
    values = _read() | {stage: {**_read()[stage], "code": recorded}}
    values[ACCEPTED] = {**values.get(ACCEPTED, {}), stage: {"code": code, "reason": reason}}
    _write(values)


def entries() -> dict[str, Any]:
    """Return the entries of the stages as the file has them."""
    return {stage: entry for stage, entry in _read().items() if stage != ACCEPTED}


def codes(stages: Iterable[str]) -> dict[str, Code]:
    """Return what stages run.

    Raises:
        UserError: a module is imported by a name that no parameter gives.
    """
    return _codes(Source(), stages)


def _codes(source: Source, stages: Iterable[str]) -> dict[str, Code]:
    plugins = {stage: _plugin(name) for stage, name in PLUGINS.items()}
    try:
        return {stage: source.code(stage, plugins.get(stage)) for stage in stages}
    except (LookupError, SyntaxError) as error:
        raise UserError(f"The code of the stages cannot be read: {error}.") from error


def _current() -> dict[str, Any]:
    """Return the entries that the working tree calls for, from the cache when no file has changed since."""
    cache = json.loads(CACHE.read_text(encoding="utf-8")) if CACHE.exists() else {}
    if cache.get("state") != _state(cache.get("files", [])):
        source = Source()
        stages = sorted(path.stem for path in Path("tasks").glob("*.py") if path.stem != "__init__")
        entries = {stage: _entry(code) for stage, code in _codes(source, stages).items()}
        files = sorted(map(str, source.files()))
        cache = {"state": _state(files), "files": files, "entries": entries}
        CACHE.parent.mkdir(exist_ok=True)
        aside = CACHE.with_suffix(".part")
        aside.write_text(json.dumps(cache), encoding="utf-8")
        aside.replace(CACHE)
    return _with_accepted(cache["entries"])


def _with_accepted(entries: dict[str, Any]) -> dict[str, Any]:
    """Keep, of a stage whose present code was accepted, the code that its results were made by."""
    before = _read()
    accepted = {
        stage: found
        for stage, found in before.get(ACCEPTED, {}).items()
        if stage in entries and found["code"] == entries[stage]["code"]
    }
    kept = {stage: {**entries[stage], "code": before[stage]["code"]} for stage in accepted}
    return {**entries, **kept, **({ACCEPTED: accepted} if accepted else {})}


def _entry(code: Code) -> dict[str, Any]:
    versions = _project().get("versions", {})
    named = {_DISTRIBUTIONS.get(name, name) for name in code.libraries}
    return {"code": code.digest, "libraries": {name: versions[name] for name in sorted(named & versions.keys())}}


def _project() -> dict[str, Any]:
    path = Path("pyproject.toml")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found: dict[str, Any] = tomllib.loads(text).get("tool", {}).get("gradus", {})
    return found


def _plugin(parameter: str) -> str | None:
    """Return the value of a parameter that names a function."""
    path, values = Path("params.yaml"), None
    if path.is_file():
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in parameter.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, str) else None


def _state(read: Iterable[str]) -> str:
    """Return a hash of when each of the files `read`, and all of the project's code, was written, and of the versions.

    A function that a parameter names lies outside of the project's packages.
    """
    found = {str(path) for package in PACKAGES for path in Path(package).rglob("*.py")}
    files = [Path(path) for path in sorted(found.union(read))]
    stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.exists()]
    plugins = [_plugin(name) for name in PLUGINS.values()]
    return hashlib.md5(repr((stats, plugins, _project())).encode(), usedforsecurity=False).hexdigest()


def _read() -> dict[str, Any]:
    try:
        values = yaml.safe_load(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else None
    except yaml.YAMLError as error:  # as a merge leaves it
        raise UserError(f"{LOCK} cannot be read; remove it, and `gradus status` writes it anew.") from error
    found: dict[str, Any] = values or {}
    return found


def _write(values: dict[str, Any]) -> None:
    aside = LOCK.with_name(LOCK.name + ".part")
    aside.write_text(_HEADER + yaml.safe_dump(values, default_flow_style=None, width=120), encoding="utf-8")
    aside.replace(LOCK)


if __name__ == "__main__":
    if _current() != _read():
        sys.exit(f"{LOCK} does not describe the code; `gradus status` writes it anew. Commit it with the change.")
