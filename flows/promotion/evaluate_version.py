"""Evaluate a registered version on the present questions, in a subprocess (pipelines/evaluation/rescore.py)."""

import sys

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.run import accelerator
from flows.run.process import LOGS, follow
from pipelines.models.release import registry
from pipelines.models.release.registry import Version
from pipelines.runtime.errors import UserError


@task(name="rescore", cache_policy=NO_CACHE)
def rescored(version: Version, fingerprint: str) -> Version:
    """Return `version` with its answers under the evaluation `fingerprint`, evaluating it unless MLflow has them.

    Raises:
        UserError: the evaluation failed.
    """
    if registry.answers(version, fingerprint) is not None:
        return version
    log = LOGS / "rescore.log"
    command = [sys.executable, "-m", "pipelines.evaluation.rescore", str(version.number), fingerprint]
    with accelerator.held(lambda: False):
        status = follow(command, log)
    if status:
        raise UserError(f"Version {version.number} could not be evaluated on the present questions; see {log}.")
    return registry.get(version.number)
