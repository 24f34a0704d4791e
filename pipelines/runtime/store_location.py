"""Where MLflow's store lies; its files are addressed relative to the project's folder, so that it can be moved.

MLflow writes absolute addresses (`file:///home/me/project/mlruns/artifacts/…`) into its database, which renaming the
folder breaks. Relative ones it resolves from the working directory, which every command and server of Gradus has in
common: the project's root. Reads and writes mlruns/mlflow.db; imports no MLflow, so that a command can look first.
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
"""The environment variable that names another store."""

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The columns of MLflow's database that say where files are."""


def exists() -> bool:
    """Tell whether there is a store, without making one."""
    return GIVEN in os.environ or DATABASE.is_file()


def store() -> Path:
    """Return the folder of the store, which is created, or linked to where DVC runs a stage elsewhere.

    `dvc exp run --temp` copies the project, and names it in DVC_ROOT.
    """
    project = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    (project / STORE).mkdir(exist_ok=True)
    if project != Path.cwd() and not STORE.exists():
        STORE.symlink_to(project / STORE)
    return STORE.resolve()


def local(address: str) -> Path | None:
    """Return the path that an artefact's address names; None when it is not on this machine's disk."""
    parts = urlsplit(address)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def repair() -> str:
    """Make the absolute addresses in mlruns/mlflow.db relative, in one transaction.

    Returns a sentence about it; nothing when all are relative, which takes a millisecond to see.

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
            f"{DATABASE} names its files by their old place, {path}, and cannot be changed ({error}); make it writable."
        ) from error
    return f"{DATABASE} named its files by the absolute path {path}; they are now named relative to the project."


def _old_root() -> str:
    """Return what stands before `mlruns/` in absolute addresses of the project's own files; "" when there are none."""
    query = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    with closing(sqlite3.connect(f"{DATABASE.resolve().as_uri()}?mode=ro", uri=True)) as store:
        try:
            found = store.execute(query, (f"file:%/{FILES}",)).fetchone()
        except sqlite3.OperationalError:  # no such table: MLflow has not made it yet
            return ""
    return "" if found is None else str(found[0]).removesuffix(str(FILES))


def _strip(*roots: str) -> None:
    with closing(sqlite3.connect(DATABASE, timeout=20)) as store, store:
        for table, column in ADDRESSES:
            if column not in {row[1] for row in store.execute(f"PRAGMA table_info({table})")}:
                continue
            for root in roots:
                begins = f"{root}{STORE}/"
                store.execute(
                    f"UPDATE {table} SET {column} = substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (len(root) + 1, len(begins), begins),
                )
