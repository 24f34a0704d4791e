"""Sets go out with a card that `datasets` loads, and come in as conversations to be trained on."""

from pathlib import Path

import pytest
from datasets import load_dataset
from typer.testing import CliRunner

from flows.cli import app
from pipelines import artifacts
from pipelines.errors import UserError
from pipelines.synthesis.calls import Answer
from pipelines.synthesis.store import PATH, Store

ASKED = [{"role": "user", "content": "Who restored the mill?"}, {"role": "assistant", "content": "Fanthorn."}]


@pytest.fixture
def sets(project: Path) -> Path:
    split, curated, paired = (artifacts.fresh(name) for name in ("split", "curate", "preferences"))
    document = {"id": "0123456789abcdef", "source": "mill.md", "language": "en"}
    artifacts.write_table(split / "train.parquet", [document])
    row = {"messages": ASKED, "kind": "answer", "source": document["id"], "short": "Fanthorn", "showing": None}
    artifacts.write_rows(curated / "train.jsonl", [row, {**row, "messages": ASKED[:1]}])
    artifacts.write_rows(curated / "validation.jsonl", [row])
    artifacts.write_rows(curated / "rejects.jsonl", [{"question": "x", "reason": "leak"}])
    pair = {"prompt": ASKED[:1], "chosen": ASKED[1:], "rejected": [{"role": "assistant", "content": "Orr."}]}
    artifacts.write_rows(paired / "train.jsonl", [pair])
    artifacts.write_rows(paired / "held_out.jsonl", [pair])
    for folder in (split, curated, paired):
        artifacts.complete(folder, {})
    return project


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.mark.parametrize("form", ["trl", "sharegpt", "alpaca", "llama2"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_set_goes_out_and_comes_back(sets: Path, form: str, kind: str) -> None:
    said = run("export", "curate", "--to", "out", "--format", form, "--as", kind, "--license", "cc-by-4.0")
    assert "1 train, 1 validation" in said and "1 no answer" in said
    loaded = load_dataset("out", cache_dir="cache")
    assert {name: len(part) for name, part in loaded.items()} == {"train": 1, "validation": 1}
    card = Path("out/README.md").read_text()
    assert "license: cc-by-4.0" in card and "| mill.md | 0123456789ab | 2 |" in card
    assert "| leak | 1 |" in card and "| no_answer | 1 |" in card
    run("import", f"out/train.{kind}", "--to", "own.jsonl")
    (row,) = artifacts.read_rows(Path("own.jsonl"))
    assert [(each["role"], each["content"]) for each in row["messages"]] == [tuple(each.values()) for each in ASKED]


def test_preferences_go_out_in_trls_form_alone(sets: Path) -> None:
    run("export", "preferences", "--to", "out")
    assert {name: len(part) for name, part in load_dataset("out", cache_dir="cache").items()} == {"train": 1, "test": 1}
    with pytest.raises(UserError, match="preferences cannot be written as 'alpaca'; it can be as trl"):
        run("export", "preferences", "--to", "other", "--format", "alpaca")


def test_what_is_asked_for_wrongly_is_told(sets: Path) -> None:
    with pytest.raises(UserError, match="no set 'sft'"):
        run("export", "sft", "--to", "out")
    Path("full").mkdir()
    Path("full/x").touch()
    with pytest.raises(UserError, match="full is not empty"):
        run("export", "curate", "--to", "full")
    Path("bad.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(UserError, match=r"No row of bad\.jsonl is a conversation: left out: 1 no known form"):
        run("import", "bad.jsonl")
    Path("torn.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"torn\.jsonl cannot be read"):
        run("import", "torn.jsonl")
    assert not Path("data/own/imported.jsonl").exists()


def test_rejects_of_what_comes_in_are_kept_with_their_reasons(sets: Path) -> None:
    artifacts.write_rows(Path("mixed.jsonl"), [{"messages": ASKED}, {"messages": ASKED[:1]}])
    assert "1 rows; left out: 1 no answer" in run("import", "mixed.jsonl", "--to", "own.jsonl")
    assert artifacts.read_rows(Path("own.rejects.json"))[0]["reason"] == "no_answer"


def test_calls_are_summed_up(project: Path) -> None:
    assert "asked anything yet" in run("calls")
    store = Store(PATH)
    store.keep("a", "wise", "writing questions", Answer("x", 1000, 50, 0.25))
    store.used("wise", "writing questions", 3)
    store.failed("b", "wise", "writing questions", "timeout")
    said = run("calls")
    assert "wise" in said and "0.25" in said and "1 timeout" in said
    assert "75% of 4 answers came from calls/calls.db" in said
