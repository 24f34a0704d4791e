"""What killed runs leave behind, put right before the next one: one call for every flow.

Half-written files of DVC, evaluations of models that are compared no longer, orphaned processes, MLflow runs that never
ended, locks of dead processes, and the accelerator's concurrency limit.
"""

from flows.dag.repair import remove_leftovers, repair
from flows.run import accelerator
from flows.run.process import end_orphans
from pipelines.config import Config
from pipelines.runtime import liveness, tracking


def recover(settings: Config) -> None:
    """Bring the project into the state in which a run may start. Needs Prefect's server.

    What starts a server calls `end_orphans` before: an orphaned server would hold Prefect's database.
    """
    repair()
    remove_leftovers(settings.evaluate.models)
    end_orphans()
    tracking.end_stale_runs()
    liveness.remove_stale()
    accelerator.create_limit()
