"""Folders in which git, DVC, MLflow or Prefect cannot work are rejected with one sentence before anything starts."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.folder import MARKS, check_names, check_place, check_repository, enter, from_root
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def gradus(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_file_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    (tmp_path / "märz").mkdir()
    (tmp_path / "märz/a.txt").write_text("x")
    check_names(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xe4rz.txt")).write_text("x")
    with pytest.raises(UserError, match="m\ufffdrz\\.txt is not UTF-8"):
        check_names(tmp_path)


@given(st.binary(min_size=1, max_size=30).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")))
def test_every_name_that_cannot_be_encoded_is_reported(name: bytes) -> None:
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
def test_project_path_may_contain_special_characters(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    check_place()


@pytest.mark.parametrize("name", [b"a?b", b"a%20b", b"m\xe4rz"])
@pytest.mark.parametrize("command", ["run", "status", "promote"])
def test_project_path_that_breaks_database_uris_is_rejected(tmp_path: Path, name: bytes, command: str) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    mark(folder)
    status, output = gradus(folder, command)
    assert status == 2 and "rename that folder" in output and "Traceback" not in output
    assert sorted(each.name for each in folder.iterdir()) == sorted(MARKS)


def mark(folder: Path) -> None:
    """Make `folder` look like a project to the command."""
    (folder / "tasks").mkdir(parents=True)
    (folder / "dvc.yaml").touch()
    shutil.copy(ROOT / "params.yaml", folder)


@pytest.mark.parametrize("command", [["run"], ["status"], ["fetch", "list.txt"], ["init", "."], ["ui"], ["gc"]])
def test_command_outside_of_a_project_writes_nothing(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "params.yaml").touch()
    status, output = gradus(tmp_path, *command)
    assert status == 2 and output.count("\n") == 1 and "is not in a Gradus project" in output
    assert [each.name for each in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]])
def test_help_works_outside_of_a_project(tmp_path: Path, arguments: list[str]) -> None:
    status, output = gradus(tmp_path, *arguments)
    assert (status, output) == (0, "") and not any(tmp_path.iterdir())


def test_project_is_found_from_subfolder_and_paths_are_relative_to_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(tmp_path)
    (tmp_path / "notes/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notes/deep")
    before = enter()
    assert Path.cwd() == tmp_path and before == tmp_path / "notes/deep"
    assert from_root(Path("a.txt"), before) == Path("notes/deep/a.txt")
    assert from_root(Path("../../data/raw"), before) == Path("data/raw")
    assert from_root(Path("../../../x"), before) == tmp_path.parent / "x"
    assert from_root(Path("./a.txt"), tmp_path) == Path("a.txt")


def test_command_resolves_user_paths_in_working_directory_and_defaults_in_project(tmp_path: Path) -> None:
    mark(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/list.txt").write_text("")
    status, output = gradus(tmp_path / "notes", "fetch", "list.txt")
    assert status == 2 and "notes/list.txt" in output
    status, output = gradus(tmp_path / "notes", "label")
    assert status == 2 and output.startswith("artifacts/pairs/first/train.jsonl")
    assert [each.name for each in (tmp_path / "notes").iterdir()] == ["list.txt"]


@pytest.mark.parametrize("command", [["run"], ["status"], ["reproduce", "HEAD"], ["run", "--rev", "HEAD"]])
def test_folder_without_git_is_rejected(tmp_path: Path, command: list[str]) -> None:
    mark(tmp_path)
    status, output = gradus(tmp_path, *command)
    assert status == 2 and "not in a Git repository" in output and "Traceback" not in output


def test_repository_may_be_a_parent_folder_or_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(UserError, match="not in a Git repository"):
        check_repository()
    Path(".dvc/config").write_text("[core]\n    no_scm = True\n")
    check_repository()
    Path(".dvc/config").unlink()
    (tmp_path / ".git").mkdir()
    check_repository()
