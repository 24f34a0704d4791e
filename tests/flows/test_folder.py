"""A folder in which git, DVC, MLflow or Prefect cannot work is refused in one sentence before anything starts."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.folder import check_names, check_place, check_repository
from pipelines.errors import UserError
from tests.conftest import ROOT


def gradus(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_file_name_that_dvc_cannot_write_down_is_named(tmp_path: Path) -> None:
    (tmp_path / "märz").mkdir()
    (tmp_path / "märz/a.txt").write_text("x")
    check_names(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xe4rz.txt")).write_text("x")
    with pytest.raises(UserError, match="m\ufffdrz\\.txt is not UTF-8"):
        check_names(tmp_path)


@given(st.binary(min_size=1, max_size=30).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")))
def test_every_name_that_cannot_be_encoded_is_found(name: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, os.fsdecode(name)).write_text("x")
        try:
            os.fsdecode(name).encode()
        except UnicodeEncodeError:
            with pytest.raises(UserError) as caught:
                check_names(Path(folder))
            str(caught.value).encode()
        else:
            check_names(Path(folder))


@pytest.mark.parametrize("name", ["a#b", "a b", "50%", "a&b=c", "it's"])
def test_a_project_may_lie_at_most_paths(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    check_place()


@pytest.mark.parametrize("name", [b"a?b", b"a%20b", b"m\xe4rz"])
@pytest.mark.parametrize("command", ["run", "status", "promote"])
def test_a_path_that_no_address_of_a_database_holds_is_refused(tmp_path: Path, name: bytes, command: str) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    folder.mkdir()
    status, said = gradus(folder, command)
    assert status == 2 and "rename that folder" in said and "Traceback" not in said
    assert not any(folder.iterdir())


@pytest.mark.parametrize("command", [["run"], ["status"], ["reproduce", "HEAD"], ["run", "--rev", "HEAD"]])
def test_a_folder_without_git_is_refused(tmp_path: Path, command: list[str]) -> None:
    status, said = gradus(tmp_path, *command)
    assert status == 2 and "in no Git repository" in said and "Traceback" not in said


def test_git_may_lie_further_up_or_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(UserError, match="no Git repository"):
        check_repository()
    Path(".dvc/config").write_text("[core]\n    no_scm = True\n")
    check_repository()
    Path(".dvc/config").unlink()
    (tmp_path / ".git").mkdir()
    check_repository()
