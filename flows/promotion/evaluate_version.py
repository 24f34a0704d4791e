"""A registered version put to today's exam, in a program of its own (pipelines/evaluation/rescore.py)."""

import sys

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.run import accelerator
from flows.run.process import LOGS, Program
from pipelines.models import registry
from pipelines.models.registry import Version
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say


@task(name="rescore", cache_policy=NO_CACHE)
def rescored(version: Version, exam: str) -> Version:
    """Return `version` with its scores in today's exam, whose hash is `exam`; it sits it only once.

    Raises:
        UserError: it could not be asked.
    """
    if registry.scores(version, exam) is not None:
        return version
    log = LOGS / "rescore.log"
    command = [sys.executable, "-m", "pipelines.evaluation.rescore", str(version.number), exam]
    with accelerator.held(lambda: False):
        program = Program(command, log, {}, followed=True)
        try:
            for line, stays in program.lines():
                if stays:
                    say(line)
            status = program.wait()
        finally:
            program.stop()
    if status:
        raise UserError(f"Version {version.number} could not be asked today's questions; {log} says why.")
    return registry.get(version.number)
