"""Declare a code change neutral, so that a stage keeps its results. Standalone: gradus accept STAGE --reason REASON

Reads dvc.lock; writes code.lock.yaml with the reason.
"""

from flows.dag import dvc_lock
from pipelines.runtime import code_lock
from pipelines.runtime.errors import UserError


def accept(stage: str, reason: str) -> None:
    """Accept the results of a stage as results of its present code.

    Raises:
        UserError: there is no such stage, it never ran, or its instances ran with different code.
    """
    code_lock.refresh()
    if stage not in code_lock.entries():
        raise UserError(
            f"{stage!r} is not a stage with its own code; such stages are {', '.join(code_lock.entries())}."
        )
    ran = dvc_lock.codes_of(stage)
    if len(ran) != 1:
        why = f"its instances ran with {len(ran)} different versions of the code" if ran else "it has not run yet"
        raise UserError(f"The results of {stage} cannot be kept: {why}; run `gradus run {stage}`.")
    (recorded,) = ran
    code_lock.accept(stage, recorded, reason)
