"""The project's folder: where it is, and what git, DVC, MLflow and Prefect need of it. Imports nothing slow."""

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
"""What a folder holds that is a project."""
_NO_GIT = re.compile(r"^\s*no_scm\s*=\s*true\s*$", re.IGNORECASE | re.MULTILINE)


def project(start: Path) -> Path | None:
    """Return the nearest folder, from `start` upwards, that is a project; None when there is none."""
    return next((each for each in (start, *start.parents) if all((each / mark).exists() for mark in MARKS)), None)


def enter() -> Path:
    """Make the project's folder the working directory; return the one before.

    Raises:
        UserError: the working directory lies in no project.
    """
    before = Path.cwd()
    root = project(before)
    if root is None:
        raise UserError(
            f"{encodable(os.fspath(before))} lies in no Gradus project (a folder with {', '.join(MARKS)}); "
            "change to one, or clone one."
        )
    os.chdir(root)
    return before


def from_root(path: Path, before: Path) -> Path:
    """Return `path`, given by a user who stood in `before`, as it is called from the project's folder."""
    if before == Path.cwd():
        return path
    absolute = Path(os.path.abspath(before / path))  # noqa: PTH100  (resolve() would follow links)
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def check_place() -> None:
    """Check that SQLite's addresses, by which MLflow and Prefect find their databases, can hold the project's path.

    Raises:
        UserError: they cannot.
    """
    here = os.fspath(Path.cwd())
    if "?" in here or unquote(here) != here or encodable(here) is not here:
        raise UserError(
            f"The path of this project, {encodable(here)}, has a `?`, a `%` before two hex digits, or a name that is "
            "not UTF-8, which MLflow and Prefect cannot write into the address of a database; rename that folder."
        )


def check_repository() -> None:
    """Check that git is there, and that this folder lies in a repository, which DVC asks for.

    Raises:
        UserError: it is not, or does not.
    """
    if shutil.which("git") is None:
        raise UserError("git is not installed, and every run records its commit; install it.")
    here = Path.cwd()
    settings = (Path(".dvc") / name for name in ("config", "config.local"))
    without = any(_NO_GIT.search(file.read_text(encoding="utf-8")) for file in settings if file.is_file())
    if not without and not any((folder / ".git").exists() for folder in (here, *here.parents)):
        raise UserError(
            f"{here} is in no Git repository, which DVC needs; run `git init` here, "
            "or `dvc config core.no_scm true` to work without Git."
        )


def dvc_add(path: Path) -> None:
    """Have DVC keep a folder, in a process of its own.

    Raises:
        UserError: it does not take it.
    """
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"DVC does not take {path}: {done.stderr.strip() or done.stdout.strip()}")


def check_names(folder: Path) -> None:
    """Check that DVC can write down the path of every file of `folder`.

    Raises:
        UserError: the name of a file or a folder is not UTF-8.
    """
    for place, _, names in os.walk(folder.absolute()):
        for path in (place, *(f"{place}/{name}" for name in names)):
            if encodable(path) is not path:
                raise UserError(
                    f"The name of {encodable(path)} is not UTF-8, and DVC takes no other; rename it "
                    "(convmv -f latin1 -t utf8 renames whole folders)."
                )
