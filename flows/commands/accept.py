"""A change of code that is declared neutral: results stay those of the code before. Alone: gradus accept STAGE

Reads dvc.lock; writes code.lock.yaml, which keeps the reason.
"""

from flows.dag import dvc_lock
from pipelines.runtime import code_lock
from pipelines.runtime.errors import UserError


def accept(stage: str, reason: str) -> None:
    """Take the results of a stage for those of its present code.

    Raises:
        UserError: there is no such stage, it never ran, or its instances ran with different code.
    """
    code_lock.refresh()
    if stage not in code_lock.entries():
        raise UserError(f"{stage!r} is no stage with code of its own; there are {', '.join(code_lock.entries())}.")
    ran = dvc_lock.codes_of(stage)
    if len(ran) != 1:
        why = f"its instances ran with {len(ran)} different codes" if ran else "it has not run yet"
        raise UserError(f"No result of {stage} can be kept: {why}; `gradus run {stage}` runs it.")
    (recorded,) = ran
    code_lock.accept(stage, recorded, reason)
