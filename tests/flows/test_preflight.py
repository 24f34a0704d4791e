"""What is wrong with the user's files is found before anything starts."""

import shutil
from pathlib import Path

import pytest

from flows.preflight import check, check_stages
from pipelines import artifacts
from pipelines.config import Config
from pipelines.errors import UserError
from pipelines.evaluation.questions import SETS, SPLITS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The product's own parameters and data, with one document."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw", "teacher", "rehearsal"))
    (tmp_path / ".git").mkdir()
    (tmp_path / "data/raw").mkdir()
    (tmp_path / "data/raw/a.txt").write_text("A document.")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_project_passes_whatever_the_encoding(real: Path) -> None:
    check()
    for name in ("questions/general.jsonl", "seeds.jsonl", "out_of_domain.jsonl"):
        path = real / "data" / name
        path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode("utf-16"))
    path = real / "params.yaml"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-8-sig"))
    check()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("params.yaml", "base: caf\xe9".encode("latin-1"), "params.yaml, line 1: not UTF-8"),
        ("params.yaml", "base: {}".encode("utf-16"), "params.yaml is not UTF-8, which DVC needs"),
        ("data/questions/general.jsonl", b'{"id": 1}', "general.jsonl, line 1: 'question' must be text"),
        (
            "data/questions/answerable.jsonl",
            b'\n{"id": "1", "question": "caf\xe9?"}',
            "answerable.jsonl, line 2: not UTF-8",
        ),
        ("data/seeds.jsonl", b'{"question": "Who?"}', "seeds.jsonl, line 1: 'passage' must be text"),
        ("data/tasks.jsonl", b"[]", "tasks.jsonl, line 1: a JSON object is expected"),
        ("data/out_of_domain.jsonl", b'{"question": ""}', "out_of_domain.jsonl, line 1: 'question' must be text"),
        ("data/own/mine.jsonl", b"{\n}", "mine.jsonl, line 1: not JSON"),
        ("data/prompts/judge.yaml", b"a: [", "judge.yaml, line 1: not YAML"),
        ("data/chatml.jinja", b"\xff", "chatml.jinja, line 1: not UTF-8"),
    ],
)
def test_a_broken_file_of_the_users_is_named_before_anything_starts(
    real: Path, file: str, content: bytes, sentence: str
) -> None:
    (real / file).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        check()


def questions(folder: Path, names: tuple[str, ...] = SETS) -> None:
    folder.mkdir(parents=True)
    for name in names:
        rows = [{"id": f"{name}-{split}", "question": "Who?", "answer": "Drace", "split": split} for split in SPLITS]
        artifacts.write_rows(folder / f"{name}.jsonl", rows)


def test_incomplete_questions_are_refused_before_anything_that_leads_to_an_evaluation(config: Config) -> None:
    questions(config.evaluate.questions, SETS[:2])
    check_stages(["split", "curate"], config)
    with pytest.raises(UserError, match=r"general\.jsonl"):
        check_stages(["split", "evaluate@base"], config)


def test_without_a_writer_there_must_be_conversations(config: Config) -> None:
    values = config.model_dump(mode="json")
    values["teacher"]["roles"] = {"writer": None, "reader": None, "judge": None}
    silent = Config.model_validate(values)
    assert not silent.teacher.schooled and not silent.writes_questions
    check_stages(["split"], silent)
    with pytest.raises(UserError, match="data/own holds no conversation"):
        check_stages(["curate"], silent)
    config.curate.own.mkdir(parents=True)
    chat = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "Plum."}]
    artifacts.write_rows(config.curate.own / "mine.jsonl", [{"messages": chat}])
    check_stages(["curate"], silent)
