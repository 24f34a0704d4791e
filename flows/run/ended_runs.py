"""MLflow runs of stages that ended, or whose process was killed: tags, inputs and final status."""

from collections.abc import Mapping
from pathlib import Path

from pipelines.runtime import liveness, tracking_store
from pipelines.runtime.tracking import MARK, Run


def conclude(parent: Run, stage: str, tags: Mapping[str, str], inputs: Mapping[str, str], context: str) -> None:
    """Tag the child runs of `stage` under `parent`, and log their inputs with their `context`.

    The stage's program has ended, so a run with the status RUNNING was killed.
    """
    where = f"tags.`mlflow.parentRunId` = '{parent.id}' and tags.stage = '{stage}'"
    for found in parent.store.search_runs([tracking_store.experiment(parent.store)], where):
        run = Run(parent.store, found.info.run_id)
        run.tags(tags)
        run.inputs(inputs, context)
        if found.info.status == "RUNNING":
            run.end("KILLED")


def end_stale_runs() -> None:
    """End every run with the status RUNNING whose process is dead.

    A missing lease file belongs to another machine, where the lease may still be held.
    """
    store = tracking_store.client()
    for found in store.search_runs([tracking_store.experiment(store)], "attributes.status = 'RUNNING'"):
        mark = Path(found.data.tags.get(MARK, ""))
        if mark.is_file() and not liveness.is_held(mark):
            Run(store, found.info.run_id).end("KILLED")
