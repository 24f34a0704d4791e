"""Look up a registered model version and its files; prints one JSON object to stdout.

A separate program, so that MLflow is imported (two seconds) while its caller imports torch. Reads MLflow's store.
Usage: python -m pipelines.models.lookup [champion | challenger | NUMBER]
"""

import json
import sys
from typing import Any

from pipelines import artifacts
from pipelines.models.release import registry
from pipelines.models.release.registry import Version
from pipelines.runtime.errors import UserError


def look_up(which: str) -> tuple[Version, str]:
    """Return the version that `which` names, and its alias. An empty `which` means champion, else challenger.

    Raises:
        UserError: there is no such version.
    """
    if which.isdigit():
        return registry.get(int(which)), ""
    for alias in [which] if which else (registry.CHAMPION, registry.CHALLENGER):
        if (version := registry.version_with_alias(alias)) is not None:
            return version, alias
    raise UserError(_missing_alias(which or registry.CHAMPION))


def _missing_alias(alias: str) -> str:
    known = registry.versions()
    if not known:
        return f"There is no {alias}: the registry is empty; `gradus run` registers the best model."
    number = known[-1].number
    way = f'`gradus promote --version {number} --force "REASON"` makes one, ' if alias == registry.CHAMPION else ""
    return f"There is no {alias}; {way}`gradus ask --version {number}` asks the newest version."


def facts(version: Version, alias: str) -> dict[str, Any]:
    """Return what a caller needs to load the version: its folder, tags, decoding, confidence, documents and reader."""
    folder = registry.files(version).resolve()
    stored = folder / registry.DECODING  # versions of earlier releases have a generation config alone
    tags = {key: value for key, value in version.tags.items() if key != registry.CONFIDENCE}
    return {
        "version": version.number,
        "alias": alias,
        "folder": str(folder),
        "weights": str(registry.weights(folder)),
        "tags": tags,
        "decoding": artifacts.read_json(stored) if stored.exists() else None,
        "confidence": json.loads(version.tags.get(registry.CONFIDENCE, "null")),
        "documents": str(folder / registry.DOCUMENTS),
        "reader": str(folder / registry.READER),
    }


if __name__ == "__main__":
    try:
        answer = facts(*look_up(sys.argv[1] if len(sys.argv) > 1 else ""))
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
