"""Provenance of a flow run: the commit, whether inputs differed from it (dirty), and Prefect's run id."""

import getpass
import subprocess

from prefect.runtime import flow_run

from flows.dag import dvc_lock

NO_COMMIT = "none"


def tags() -> dict[str, str]:
    """Return the tags of this flow run's MLflow run, which its child runs inherit."""
    commit = _git("rev-parse", "--verify", "--quiet", "HEAD") or NO_COMMIT
    return {
        "mlflow.user": _git("config", "user.name") or getpass.getuser(),
        "mlflow.source.name": "gradus",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": _git("branch", "--show-current") or "none",
        "commit": commit,
        "dirty": str(commit == NO_COMMIT or _differs() or bool(dvc_lock.changed_data())),
        "flow_run": _flow_run(),
    }


def _differs() -> bool:
    """Return whether a source differs from the commit, or git cannot tell: a path outside of the repository is in no
    commit.
    """
    found = _run("status", "--porcelain", "--", *dvc_lock.sources())
    return found.returncode != 0 or bool(found.stdout.strip())


def _flow_run() -> str:
    return str(flow_run.get_id() or "none")


def _git(*arguments: str) -> str:
    """Return the output of git; empty when it fails, as without a repository or a commit."""
    found = _run(*arguments)
    return "" if found.returncode else found.stdout.strip()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
