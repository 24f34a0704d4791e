"""code.lock.yaml: the code fingerprint and library versions of each stage. Generated, committed and checked.

DVC compares an entry as a parameter of its stage, so a stage is stale when the code it runs has changed, not when a
file has (fingerprint.py). `gradus run` and `gradus status` update the file; a task started directly refuses to run if
its entry is out of date. `gradus accept` keeps the entry of the existing results.
As a check: python -m pipelines.runtime.code_lock
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
from pipelines.runtime.fingerprint import PACKAGES, Code, Source, plugins

LOCK = Path("code.lock.yaml")
CACHE = Path(".gradus/code.json")
ACCEPTED = "accepted"
"""The key of accepted changes: by stage, the accepted code hash, and the reason why its results are unchanged."""
_DISTRIBUTIONS = {"lm_eval": "lm-eval", "sklearn": "scikit-learn"}
"""Names of libraries on the package index, where they differ from those of their modules."""
_HEADER = "# Generated: what each stage runs (pipelines/runtime/fingerprint.py). Commit it with the code.\n"


def refresh() -> None:
    """Update code.lock.yaml if it does not match the working tree."""
    if (new := _current()) and new != _read():
        _write(new)


def check(stage: str) -> dict[str, str]:
    """Check a stage's entry and return the hashes of its symbols; empty if this folder has no code.

    Raises:
        UserError: the entry is out of date.
    """
    if not Path(f"tasks/{stage}.py").is_file():
        return {}
    code = codes([stage])[stage]
    if _with_accepted({stage: _entry(code)})[stage] != _read().get(stage):
        raise UserError(
            f"{LOCK} does not match the current code of {stage}; `gradus status` updates it, "
            "and `gradus run` reruns the stages that this makes stale."
        )
    return code.symbols


def accept(stage: str, recorded: str, reason: str) -> None:
    """Declare that the current code of a stage gives the same results as the recorded code `recorded`."""
    code = codes([stage])[stage].digest
    values = _read() | {stage: {**_read()[stage], "code": recorded}}
    values[ACCEPTED] = {**values.get(ACCEPTED, {}), stage: {"code": code, "reason": reason}}
    _write(values)


def entries() -> dict[str, Any]:
    """Return the entries of the stages in the file."""
    return {stage: entry for stage, entry in _read().items() if stage != ACCEPTED}


def codes(stages: Iterable[str]) -> dict[str, Code]:
    """Return the code that stages run.

    Raises:
        UserError: the code cannot be parsed, or imports a module by a computed name that no parameter gives.
    """
    return _codes(Source(), stages)


def _codes(source: Source, stages: Iterable[str]) -> dict[str, Code]:
    functions = plugins(_parameters())
    try:
        return {stage: source.code(stage, functions.get(stage, ())) for stage in stages}
    except (LookupError, SyntaxError) as error:
        raise UserError(f"The code of the stages cannot be read: {error}.") from error


def _current() -> dict[str, Any]:
    """Return the up-to-date entries for the working tree, from the cache if no file has changed."""
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
    """For stages whose current code was accepted, keep the code hash of their results."""
    before = _read()
    accepted = {
        stage: accepted_code
        for stage, accepted_code in before.get(ACCEPTED, {}).items()
        if stage in entries and accepted_code["code"] == entries[stage]["code"]
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
    settings: dict[str, Any] = tomllib.loads(text).get("tool", {}).get("gradus", {})
    return settings


def _parameters() -> Any:
    path = Path("params.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def _state(read: Iterable[str]) -> str:
    """Return a hash of the modification times of the files `read` and of all project code, and of library versions.

    `read` covers functions named by parameters, which may be outside of the project's packages.
    """
    project = {str(path) for package in PACKAGES for path in Path(package).rglob("*.py")}
    files = [Path(path) for path in sorted(project.union(read))]
    stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.exists()]
    return hashlib.md5(repr((stats, plugins(_parameters()), _project())).encode(), usedforsecurity=False).hexdigest()


def _read() -> dict[str, Any]:
    try:
        values = yaml.safe_load(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else None
    except yaml.YAMLError as error:  # after a merge conflict, for example
        raise UserError(f"{LOCK} cannot be parsed; remove it, and `gradus status` generates it again.") from error
    entries: dict[str, Any] = values or {}
    return entries


def _write(values: dict[str, Any]) -> None:
    aside = LOCK.with_name(LOCK.name + ".part")
    aside.write_text(_HEADER + yaml.safe_dump(values, default_flow_style=None, width=120), encoding="utf-8")
    aside.replace(LOCK)


if __name__ == "__main__":
    if _current() != _read():
        sys.exit(f"{LOCK} does not match the code; run `gradus status` to update it, and commit it with the change.")
