"""Where a flow run came from: the commit, whether what it reads differed from it, and Prefect's own id."""

import getpass
import subprocess

from prefect.runtime import flow_run

from flows.dag import dvc_lock


def tags() -> dict[str, str]:
    """Return what the MLflow run of this flow run is tagged with; its children inherit it."""
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
    """Return what git says; nothing where there is no commit yet."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()
