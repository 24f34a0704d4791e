"""Clean up after killed runs before the next one starts; called by every flow.

Handles truncated DVC files, evaluations of models that are no longer compared, orphaned processes, unfinished MLflow
runs, locks of dead processes, and the accelerator's concurrency limit.
"""

from flows.dag.repair import remove_leftovers, repair
from flows.run import accelerator, ended_runs
from flows.run.process import end_orphans
from pipelines.config import Config
from pipelines.runtime import liveness


def recover(settings: Config) -> None:
    """Restore a state in which a run can start. Needs Prefect's server, and the lock on post_train: it edits dvc.lock.

    A command that starts a server calls `end_orphans` first: an orphaned server would lock Prefect's database.
    """
    repair()
    remove_leftovers(settings.evaluate.models)
    end_orphans()
    ended_runs.end_stale_runs()
    liveness.remove_stale()
    accelerator.create_limit()
