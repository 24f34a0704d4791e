"""One trial: the stage's program in a folder of its own, with links to its inputs, and what its validations measured.

The folder .gradus/tune/<study>/<trial>/ has params.yaml with the values of the trial. The program is the one that a run
starts, so that a trial trains, logs, keeps checkpoints and resumes as the stage does.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run import overrides
from flows.run.process import LOGS, Program
from flows.run.stage import STATUS
from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.runtime import liveness, store_location, tracking, tracking_store

KEY = "trial"
"""The stage key, under which checkpoints and curve are kept; the folder belongs to one trial."""


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one trial of `stage`."""

    path: Path
    stage: str

    def prepare(self, text: str, inputs: Iterable[str]) -> None:
        """Write `text` as params.yaml, and link the `inputs` of the stage, MLflow's store and the leases."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / overrides.PARAMS).write_text(text, encoding="utf-8")
        for name in (*inputs, store_location.store().name, str(liveness.MARKS)):
            link = self.path / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(Path(name).resolve())

    def start(self, parent: tracking.Run) -> Program:
        """Start the stage's program as a child run of `parent`; it goes on from its last checkpoint."""
        (self.path / STATUS / f"{self.stage}.json").unlink(missing_ok=True)
        packages = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
        environment = {tracking.PARENT: parent.id, artifacts.KEY: KEY, "PYTHONPATH": packages}
        command = [sys.executable, "-m", f"tasks.{self.stage}"]
        return Program(command, self.log, environment, folder=self.path)

    @property
    def log(self) -> Path:
        """The output of its program."""
        return LOGS / f"tune-{self.path.parent.name}-{self.path.name}.log"

    def curve(self) -> list[Row]:
        """Return the points of the curve so far, by step; a line that is being written is left out."""
        path = self.path / artifacts.CHECKPOINTS / self.stage / KEY / "curve.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        rows: dict[int, Row] = {}
        for line in text[: text.rfind("\n") + 1].splitlines():
            row = json.loads(line)
            rows[row["step"]] = {**rows.get(row["step"], {}), **row}
        return [rows[step] for step in sorted(rows)]

    def metrics(self) -> Row:
        """Return the metrics of a finished training."""
        metrics: Row = artifacts.read_json(self.path / artifacts.METRICS / f"{self.stage}.json")
        return metrics

    def failure(self, status: int) -> str:
        """Return why the program ended with the exit `status`."""
        path = self.path / STATUS / f"{self.stage}.json"
        reported: dict[str, Any] = artifacts.read_json(path) if path.exists() else {}
        if reported.get("state") == "failed":
            return str(reported["message"])
        return f"{reported.get('message') or f'it ended with status {status}'} (see {self.log})"

    def end_run(self, tags: Mapping[str, str]) -> None:
        """Tag the MLflow run of the training, if it has begun, and end it if the program was killed before it did."""
        begun = self.path / artifacts.CHECKPOINTS / self.stage / KEY / "begun.json"
        if not begun.exists():
            return
        run = tracking.Run(tracking_store.client(), str(artifacts.read_json(begun)["run_id"]))
        run.tags(tags)
        if run.store.get_run(run.id).info.status == "RUNNING":
            run.end("KILLED")

    def remove(self) -> None:
        """Remove the folder with its checkpoints and weights; the MLflow run is kept."""
        shutil.rmtree(self.path, ignore_errors=True)
