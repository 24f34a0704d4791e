"""The location of MLflow's store. File addresses are relative to the project's folder, so that it can be moved.

MLflow writes absolute addresses (`file:///home/me/project/mlruns/artifacts/…`) into its database, which break when the
folder is renamed. Relative addresses are resolved from the working directory, which is the project's root for every
Gradus command and server. Reads and writes mlruns/mlflow.db without importing MLflow, which would slow commands down.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from pipelines.runtime.errors import UserError

STORE = Path("mlruns")
DATABASE = STORE / "mlflow.db"
FILES = STORE / "artifacts"
GIVEN = "MLFLOW_TRACKING_URI"
"""Environment variable that selects another store."""

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The columns of MLflow's database that contain file addresses."""


def exists() -> bool:
    """Return whether a store exists, without creating one."""
    return GIVEN in os.environ or DATABASE.is_file()


def store() -> Path:
    """Return the folder of the store, creating it; in a copy of the project, it is a link to the original store.

    `dvc exp run --temp` copies the project, and sets DVC_ROOT to the original.
    """
    project = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    (project / STORE).mkdir(exist_ok=True)
    if project != Path.cwd() and not STORE.exists():
        STORE.symlink_to(project / STORE)
    return STORE.resolve()


def local(address: str) -> Path | None:
    """Return the local path of an artifact address; None for a remote address."""
    parts = urlsplit(address)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def repair() -> str:
    """Make the absolute addresses in mlruns/mlflow.db relative, in one transaction.

    Returns a message about the change; "" if all addresses are relative, a check that takes a millisecond.

    Raises:
        UserError: the database cannot be written.
    """
    root = _old_root() if DATABASE.is_file() else ""
    if not root:
        return ""
    path = unquote(urlsplit(root).path)
    try:
        _strip(root, path)
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{DATABASE} refers to files by their old path, {path}, and cannot be changed ({error}); make it writable."
        ) from error
    return f"{DATABASE} referred to files by the absolute path {path}; the paths are now relative to the project."


def _old_root() -> str:
    """Return the prefix before `mlruns/` in absolute addresses of the project's files; "" if there are none."""
    query = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    with closing(sqlite3.connect(f"{DATABASE.resolve().as_uri()}?mode=ro", uri=True)) as store:
        try:
            row = store.execute(query, (f"file:%/{FILES}",)).fetchone()
        except sqlite3.OperationalError:  # no such table: MLflow has not created it yet
            return ""
    return "" if row is None else str(row[0]).removesuffix(str(FILES))


def _strip(*roots: str) -> None:
    with closing(sqlite3.connect(DATABASE, timeout=20)) as store, store:
        for table, column in ADDRESSES:
            if column not in {row[1] for row in store.execute(f"PRAGMA table_info({table})")}:
                continue
            for root in roots:
                prefix = f"{root}{STORE}/"
                store.execute(
                    f"UPDATE {table} SET {column} = substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (len(root) + 1, len(prefix), prefix),
                )
