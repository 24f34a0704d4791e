"""Which registered version to ask, and where its files are: one JSON object on stdout.

A program of its own, so that MLflow is imported (two seconds) while its caller imports torch.
Reads MLflow's store. Alone: python -m pipelines.models.lookup [champion | challenger | NUMBER]
"""

import json
import sys

from pipelines.models import registry
from pipelines.models.registry import Version
from pipelines.runtime.errors import UserError


def look_up(which: str) -> tuple[Version, str]:
    """Return the version that `which` names, and what it is; the champion, else the challenger, when it is empty.

    Raises:
        UserError: there is none.
    """
    if which.isdigit():
        return registry.get(int(which)), ""
    for alias in [which] if which else (registry.CHAMPION, registry.CHALLENGER):
        if (version := registry.version_with_alias(alias)) is not None:
            return version, alias
    raise UserError(_nobody(which or registry.CHAMPION))


def _nobody(alias: str) -> str:
    known = registry.versions()
    if not known:
        return f"There is no {alias}: the registry is empty; `gradus run` registers the best model."
    number = known[-1].number
    way = f'`gradus promote --version {number} --force "REASON"` makes one, ' if alias == registry.CHAMPION else ""
    return f"There is no {alias}; {way}`gradus ask --version {number}` asks the newest version."


if __name__ == "__main__":
    try:
        version, alias = look_up(sys.argv[1] if len(sys.argv) > 1 else "")
        answer = {"version": version.number, "alias": alias, "folder": str(registry.files(version).resolve())}
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
