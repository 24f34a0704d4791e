"""Provenance of a flow run: the commit, whether inputs differed from it (dirty), and Prefect's run id."""

import getpass
import subprocess

from prefect.runtime import flow_run

from flows.dag import dvc_lock


def tags() -> dict[str, str]:
    """Return the tags of this flow run's MLflow run, which its child runs inherit."""
    commit = _git("rev-parse", "HEAD") or "none"
    return {
        "mlflow.user": _git("config", "user.name") or getpass.getuser(),
        "mlflow.source.name": "gradus",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": _git("branch", "--show-current") or "none",
        "commit": commit,
        "dirty": str(bool(_git("status", "--porcelain", "--", *dvc_lock.sources()) or dvc_lock.changed_data())),
        "flow_run": _flow_run(),
    }


def _flow_run() -> str:
    return str(flow_run.get_id() or "none")


def _git(*arguments: str) -> str:
    """Return the output of git; empty when there is no commit yet."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()
