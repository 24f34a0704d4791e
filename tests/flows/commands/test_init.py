"""`gradus init` with the real git and DVC: documents of one's own, and the sample's questions out of the way."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.init import ASIDE, init, point_at
from pipelines import config
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

PARAMS = (ROOT / "params.yaml").read_bytes()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as it is cloned, with the sample's questions and documents, as the working directory."""
    root = tmp_path / "clone"
    for name in ("raw", "questions"):
        shutil.copytree(ROOT / "data" / name, root / "data" / name)
    for name in ("params.yaml", "data/sample_manifest.json"):
        shutil.copy(ROOT / name, root / name)
    monkeypatch.chdir(root)
    for command in (["git", "init", "-q"], ["git", "add", "."], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    return root


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder outside of the project, with a name that YAML and a shell would want quoted."""
    folder = tmp_path / "My papers: new"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.txt").write_text("The tram depot opened late.")
    return folder


def said(folder: Path) -> str:
    console = Console(record=True, width=200)
    init(console, folder)
    return console.export_text()


def test_a_folder_from_elsewhere_is_copied_kept_and_named_and_the_samples_questions_go(
    clone: Path, papers: Path
) -> None:
    first = said(papers)
    place = Path("data") / papers.name
    assert (place / "deep/a.txt").read_text() == "The tram depot opened late."
    assert Path(f"{place}.dvc").is_file() and config.load().ingest.source == place
    assert sorted(path.name for path in Path("data/questions").iterdir()) == ["general.jsonl"]
    assert sorted(path.name for path in ASIDE.iterdir()) == ["answerable.jsonl", "unanswerable.jsonl"]
    assert "was copied to data/My papers: new" in first and "git add params.yaml 'data/My papers: new.dvc'" in first
    before, after = PARAMS.splitlines(), Path("params.yaml").read_bytes().splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert changed == [(b"  source: data/raw", b'  source: "data/My papers: new"')]
    assert "copied" not in said(papers) and "copied" not in said(place)


def test_an_interrupted_copy_is_made_anew_and_another_folder_of_that_name_refused(clone: Path, papers: Path) -> None:
    place = Path("data") / papers.name
    place.with_name(place.name + ".part").mkdir()
    init(Console(quiet=True), papers)
    assert (place / "deep/a.txt").is_file() and not place.with_name(place.name + ".part").exists()
    (papers / "b.txt").write_text("More.")
    with pytest.raises(UserError, match="is there already, and is not the same"):
        init(Console(quiet=True), papers)


def test_the_sample_stays_as_it_is(clone: Path) -> None:
    assert "data/raw is kept by git." in said(Path("data/raw"))
    assert Path("params.yaml").read_bytes() == PARAMS
    assert Path("data/questions/answerable.jsonl").is_file() and not ASIDE.exists()


def test_questions_of_ones_own_stay(clone: Path, papers: Path) -> None:
    mine = (
        '{"id": "1", "question": "When did it open?", "answer": "late", "sources": ["deep/a.txt"], "split": "test"}\n'
    )
    Path("data/questions/answerable.jsonl").write_text(mine)
    init(Console(quiet=True), papers)
    assert Path("data/questions/answerable.jsonl").read_text() == mine


def test_what_is_no_folder_of_documents_is_refused(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, sentence in (
        (tmp_path / "gone", "is no folder"),
        (tmp_path / "empty", "holds no file"),
        (Path(), "more of the project than documents"),
        (Path("data"), "more of the project than documents"),
    ):
        with pytest.raises(UserError, match=sentence):
            init(Console(quiet=True), folder)
    assert Path("params.yaml").read_bytes() == PARAMS


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ingest:\n  source: data/raw  # mine\n  a: 1\n", b"ingest:\n  source: data/x  # mine\n  a: 1\n"),
        (b"a:\r\n  source: z\r\ningest:\r\n  source: y\r\n", b"a:\r\n  source: z\r\ningest:\r\n  source: data/x\r\n"),
        (b'ingest:\n  # why\n  b: 2\n\n  source: "q r"\n', b"ingest:\n  # why\n  b: 2\n\n  source: data/x\n"),
    ],
)
def test_one_value_is_changed_and_no_other_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(before)
    point_at(Path("data/x"))
    assert Path("params.yaml").read_bytes() == after


def test_parameters_written_in_another_way_are_the_users_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("ingest: {source: data/raw}\n")
    with pytest.raises(UserError, match="set it to data/x yourself"):
        point_at(Path("data/x"))
    assert Path("params.yaml").read_text() == "ingest: {source: data/raw}\n"
