"""`gradus init` with real git and DVC: user-provided documents, and the sample questions moved away."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.init import ASIDE, init, point_at
from flows.commands.use import use
from pipelines import config
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PARAMS = (ROOT / "params.yaml").read_bytes()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone with the sample questions and documents, as the working directory."""
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
    """A folder outside of the project, with a name that must be quoted in YAML and in a shell."""
    folder = tmp_path / "My papers: new"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.txt").write_text("The tram depot opened late.")
    return folder


def init_output(folder: Path) -> str:
    console = Console(record=True, width=200)
    init(console, folder)
    return console.export_text()


def test_external_folder_is_copied_and_tracked_and_sample_questions_are_moved(clone: Path, papers: Path) -> None:
    first = init_output(papers)
    place = Path("data") / papers.name
    assert (place / "deep/a.txt").read_text() == "The tram depot opened late."
    assert Path(f"{place}.dvc").is_file() and config.load().ingest.source == place
    assert sorted(path.name for path in Path("data/questions").iterdir()) == ["general.jsonl"]
    assert sorted(path.name for path in ASIDE.iterdir()) == ["answerable.jsonl", "unanswerable.jsonl"]
    assert "was copied to data/My papers: new" in first and "git add params.yaml 'data/My papers: new.dvc'" in first
    before, after = PARAMS.splitlines(), Path("params.yaml").read_bytes().splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert changed == [(b"  source: data/raw", b'  source: "data/My papers: new"')]
    assert "copied" not in init_output(papers) and "copied" not in init_output(place)


def test_interrupted_copy_is_repeated_and_a_different_folder_of_that_name_rejected(clone: Path, papers: Path) -> None:
    place = Path("data") / papers.name
    place.with_name(place.name + ".part").mkdir()
    init(Console(quiet=True), papers)
    assert (place / "deep/a.txt").is_file() and not place.with_name(place.name + ".part").exists()
    (papers / "b.txt").write_text("More.")
    with pytest.raises(UserError, match="exists already and differs from"):
        init(Console(quiet=True), papers)


def test_the_questions_of_the_quick_recipe_are_moved_too(clone: Path, papers: Path) -> None:
    shutil.copytree(ROOT / "data/quick", "data/quick")
    use(Console(quiet=True), ROOT / "recipes/quick.yaml")
    init(Console(quiet=True), papers)
    assert [path.name for path in Path("data/quick/questions").iterdir()] == ["general.jsonl"]


def test_sample_documents_keep_their_questions(clone: Path) -> None:
    assert "data/raw is tracked by git." in init_output(Path("data/raw"))
    assert Path("params.yaml").read_bytes() == PARAMS
    assert Path("data/questions/answerable.jsonl").is_file() and not ASIDE.exists()


def test_user_provided_questions_are_kept(clone: Path, papers: Path) -> None:
    mine = (
        '{"id": "1", "question": "When did it open?", "answer": "late", "sources": ["deep/a.txt"], "split": "test"}\n'
    )
    Path("data/questions/answerable.jsonl").write_text(mine)
    init(Console(quiet=True), papers)
    assert Path("data/questions/answerable.jsonl").read_text() == mine


def test_invalid_document_folder_is_rejected(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, sentence in (
        (tmp_path / "gone", "is not a folder"),
        (tmp_path / "empty", "contains no files"),
        (Path(), "contains other files of the project"),
        (Path("data"), "contains other files of the project"),
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
def test_only_the_bytes_of_the_value_are_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(before)
    point_at(Path("data/x"))
    assert Path("params.yaml").read_bytes() == after


def test_params_in_another_yaml_style_are_left_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("ingest: {source: data/raw}\n")
    with pytest.raises(UserError, match="set it to data/x yourself"):
        point_at(Path("data/x"))
    assert Path("params.yaml").read_text() == "ingest: {source: data/raw}\n"


def test_dangling_links_are_not_copied(clone: Path, papers: Path) -> None:
    (papers / "gone.txt").symlink_to("nowhere.txt")
    init_output(papers)
    assert [path.name for path in (clone / "data" / papers.name).rglob("*.txt")] == ["a.txt"]


def test_folder_that_cannot_be_copied_is_reported_and_no_part_is_left(clone: Path, papers: Path) -> None:
    (papers / "loop").symlink_to(papers)
    with pytest.raises(UserError, match="cannot be copied to data/My papers: new: "):
        init_output(papers)
    assert not list((clone / "data").glob("*.part"))
