"""Locate the project folder and check what git, DVC, MLflow and Prefect require of it. Imports nothing slow."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

from pipelines.runtime.errors import UserError
from pipelines.text.encoding import encodable

MARKS = ("dvc.yaml", "params.yaml", "tasks")
"""Entries that identify a folder as a Gradus project."""
_NO_GIT = re.compile(r"^\s*no_scm\s*=\s*true\s*$", re.IGNORECASE | re.MULTILINE)


def project(start: Path) -> Path | None:
    """Return the nearest project folder, searching from `start` upwards; None when there is none."""
    return next((each for each in (start, *start.parents) if all((each / mark).exists() for mark in MARKS)), None)


def enter() -> Path:
    """Change the working directory to the project's folder; return the previous one.

    Raises:
        UserError: the working directory is not inside a project.
    """
    before = Path.cwd()
    root = project(before)
    if root is None:
        raise UserError(
            f"{encodable(os.fspath(before))} is not in a Gradus project (a folder with {', '.join(MARKS)}); "
            "change to one or clone one."
        )
    os.chdir(root)
    return before


def from_root(path: Path, before: Path) -> Path:
    """Return `path`, which the user gave relative to `before`, relative to the project's folder."""
    if before == Path.cwd():
        return path
    absolute = Path(os.path.abspath(before / path))  # noqa: PTH100  (resolve() would follow links)
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def check_place() -> None:
    """Check that the project's path can be written in SQLite URIs, which MLflow and Prefect use for their databases.

    Raises:
        UserError: it cannot.
    """
    here = os.fspath(Path.cwd())
    if "?" in here or unquote(here) != here or encodable(here) is not here:
        raise UserError(
            f"The path of this project, {encodable(here)}, has a `?`, a `%` before two hex digits, or a name that is "
            "not UTF-8, so MLflow and Prefect cannot open their databases in it; rename that folder."
        )


def check_repository() -> None:
    """Check that git is installed and that this folder is in a repository, which DVC requires.

    Raises:
        UserError: git is missing, or the folder is not in a repository.
    """
    if shutil.which("git") is None:
        raise UserError("git is not installed, but every run records its commit; install git.")
    here = Path.cwd()
    settings = (Path(".dvc") / name for name in ("config", "config.local"))
    without = any(_NO_GIT.search(file.read_text(encoding="utf-8")) for file in settings if file.is_file())
    if not without and not any((folder / ".git").exists() for folder in (here, *here.parents)):
        raise UserError(
            f"{here} is not in a Git repository, which DVC needs; run `git init` here, "
            "or `dvc config core.no_scm true` to work without Git, which promotes no version."
        )


def dvc_add(path: Path) -> None:
    """Track a folder with `dvc add`, in a subprocess.

    Raises:
        UserError: `dvc add` failed.
    """
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"DVC cannot track {path}: {done.stderr.strip() or done.stdout.strip()}")


def check_names(folder: Path) -> None:
    """Check that the paths of all files in `folder` are valid UTF-8, which DVC requires.

    Raises:
        UserError: the name of a file or folder is not UTF-8.
    """
    for place, _, names in os.walk(folder.absolute()):
        for path in (place, *(f"{place}/{name}" for name in names)):
            if encodable(path) is not path:
                raise UserError(
                    f"The name of {encodable(path)} is not UTF-8, which DVC requires; rename it "
                    "(convmv -f latin1 -t utf8 renames whole folders)."
                )
