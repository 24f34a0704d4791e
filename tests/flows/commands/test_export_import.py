"""Export of data sets with a card that `datasets` loads, and import of conversations and pairs."""

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from typer.testing import CliRunner

from flows.cli import app
from pipelines import artifacts
from pipelines.alignment.preferences.rank import chosen_by_people
from pipelines.artifacts import Row
from pipelines.llm.cache import PATH, ResponseCache
from pipelines.llm.calls import Answer
from pipelines.runtime.errors import UserError
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

ASKED = [{"role": "user", "content": "Who restored the mill?"}, {"role": "assistant", "content": "Fanthorn."}]
MORE = [*ASKED, {"role": "user", "content": "谁？"}, {"role": "assistant", "content": '"Orr",\n他说。'}]
ROW = {"messages": ASKED, "kind": "answer", "answer_span": "Fanthorn", "variant": None, "source": "0123456789abcdef"}
PAIR: Row = {
    "prompt": ASKED[:1],
    "chosen": ASKED[1:],
    "rejected": [{"role": "assistant", "content": "Orr."}],
    "kind": "answer",
    "source": ROW["source"],
    "provenance": "sample",
}


def curated(train: list[Row], validation: list[Row]) -> None:
    folder = artifacts.fresh("curate")
    artifacts.write_rows(folder / "train.jsonl", train)
    artifacts.write_rows(folder / "validation.jsonl", validation)
    artifacts.write_rows(folder / "rejects.jsonl", [{"question": "x", "reason": "leak"}])
    artifacts.complete(folder, {"metrics": {"kept_answer": 3.0, "rejected_leak": 1.0}})


@pytest.fixture
def sets(project: Path) -> Path:
    split, paired = artifacts.fresh("split"), artifacts.fresh("pairs/first")
    write_table(split / "train.parquet", [{"id": ROW["source"], "source": "mill.md", "language": "en"}])
    curated([ROW, {**ROW, "messages": ASKED[:1]}], [ROW])
    artifacts.write_rows(paired / "train.jsonl", [PAIR])
    artifacts.write_rows(paired / "held_out.jsonl", [{**PAIR, "source": None}])
    artifacts.write_rows(paired / "rejects.jsonl", [{"question": "x", "reason": "tie"}])
    for folder in (split, paired):
        artifacts.complete(folder, {"metrics": {}})
    return project


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def loaded(folder: str) -> dict[str, list[Row]]:
    return {name: list(part) for name, part in load_dataset(folder, cache_dir=f"cache-{folder}").items()}


@pytest.mark.parametrize("form", ["trl", "sharegpt", "alpaca", "llama2"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_exported_set_can_be_imported(sets: Path, form: str, kind: str) -> None:
    printed = run("export", "curate", "--to", "out", "--format", form, "--as", kind, "--license", "cc-by-4.0")
    assert "1 train, 1 validation" in printed and "1 no answer" in printed
    assert {name: len(rows) for name, rows in loaded("out").items()} == {"train": 1, "validation": 1}
    card = Path("out/README.md").read_text()
    assert "license: cc-by-4.0" in card and "| mill.md | 0123456789ab | 2 | cc-by-4.0 |" in card
    assert "| leak | 1 |" in card and "| no_answer | 1 |" in card and "Of 5 rows" in card
    run("import", f"out/train.{kind}")
    (row,) = artifacts.read_rows(Path("data/own/train.jsonl"))
    assert row == ROW


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", ["trl", "alpaca"])
def test_split_with_empty_columns_loads_together_with_a_full_one(
    sets: Path, form: str, kind: str, turned: bool
) -> None:
    empty = {"messages": ASKED, "kind": "task", "answer_span": None, "source": None, "variant": None}
    full = {**ROW, "messages": MORE, "variant": 3, "span": [1, 2]}
    curated(*(([full], [empty]) if turned else ([empty], [full])))
    run("export", "curate", "--to", "out", "--format", form, "--as", kind)
    rows = loaded("out")["train" if turned else "validation"]
    assert (rows[0]["variant"], rows[0]["span"], rows[0]["answer_span"]) == (3, [1, 2], "Fanthorn")
    if kind == "parquet":
        assert pq.read_schema("out/train.parquet") == pq.read_schema("out/validation.parquet")
    run("import", "out", "--to", "back")
    back = artifacts.read_rows(Path("back/out.jsonl"))
    assert sorted(len(row["messages"]) for row in back) == [2, 4]
    assert all(row["messages"] in (ASKED, MORE) for row in back)


@pytest.mark.parametrize("form", ["trl", "sharegpt", "alpaca"])
def test_exported_pairs_can_be_imported_as_preferences(sets: Path, form: str) -> None:
    printed = run("export", "pairs/first", "--to", "out", "--format", form)
    assert "1 train, 1 test rows" in printed
    assert {name: len(rows) for name, rows in loaded("out").items()} == {"train": 1, "test": 1}
    card = Path("out/README.md").read_text()
    assert "Of 3 pairs" in card and "| sample | 2 |" in card and "| tie | 1 |" in card
    run("import", "out/train.jsonl")
    (row,) = artifacts.read_rows(Path("data/preferences/human/train.jsonl"))
    assert row == PAIR and chosen_by_people(Path("data/preferences/human"))[0][0].chosen == PAIR["chosen"]


def test_card_contains_the_parameters_recorded_by_dvc(sets: Path) -> None:
    teacher = {"teacher.models": {"big": {"kind": "openai", "model": "Qwen/Qwen3-32B", "url": "http://10.0.0.7"}}}
    locked = {
        "curate": {"params": {"params.yaml": {"curate": {"max_cosine": 0.25}, "compute.seed": 1}}},
        "synthesize": {"params": {"params.yaml": {**teacher, "teacher.roles": {"writer": "big"}}}},
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}))
    Path("licences.json").write_text('{"mi*": "MIT", "*": "CC0-1.0"}')
    run("export", "curate", "--to", "out", "--licenses", "licences.json")
    card = Path("out/README.md").read_text()
    assert (
        "written by Qwen/Qwen3-32B" in card
        and "max_cosine: 0.25" in card
        and "| mill.md | 0123456789ab | 2 | MIT |" in card
    )
    assert "10.0.0.7" not in card
    assert loaded("out")["train"][0]["answer_span"] == "Fanthorn"


def test_invalid_export_arguments_are_reported(sets: Path) -> None:
    with pytest.raises(UserError, match="no data set 'sft'"):
        run("export", "sft", "--to", "out")
    with pytest.raises(
        UserError, match="pairs/first cannot be written as 'llama2'; choose one of sharegpt, alpaca, trl"
    ):
        run("export", "pairs/first", "--to", "other", "--format", "llama2")
    Path("full").mkdir()
    Path("full/x").touch()
    with pytest.raises(UserError, match="full is not an empty folder"):
        run("export", "curate", "--to", "full")
    Path("bad.json").write_text('{"mi*": 1}')
    with pytest.raises(UserError, match=r"bad\.json: expected a JSON object that maps patterns to licenses"):
        run("export", "curate", "--to", "out", "--licenses", "bad.json")
    curated([{**ROW, "messages": ASKED[:1]}], [])
    with pytest.raises(UserError, match=r"No row of artifacts/curate can be written as trl; left out: 1 no answer"):
        run("export", "curate", "--to", "out")
    assert not Path("out").exists()


def test_files_of_several_formats_are_imported_row_by_row(sets: Path) -> None:
    """`datasets` would give every row all columns, and parse the answers as dates."""
    rows: list[Row] = [
        {"instruction": "When?", "input": "", "output": "1207-01-01", "date": "2020-01-01T00:00:00Z"},
        {"instruction": "When then?", "input": "", "output": "1208-01-01"},
        {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Orr."}]},
        {"instruction": "How many?", "output": 7},
        PAIR,
    ]
    Path("set").mkdir()
    artifacts.write_rows(Path("set/a.jsonl"), rows)
    Path("set/b.json").write_text(json.dumps([{"messages": ASKED}]))
    pq.write_table(pa.Table.from_pylist([{"messages": MORE, "at": date(2020, 1, 1)}]), "set/c.parquet")
    Path("set/README.md").write_text("Not rows.")
    printed = run("import", "set")
    assert "data/own/set.jsonl: 5 conversations" in printed and "data/preferences/human/set.jsonl: 1 pairs" in printed
    assert "left out: 1 not text" in printed
    own = artifacts.read_rows(Path("data/own/set.jsonl"))
    assert [row["messages"][-1]["content"] for row in own] == [
        "1207-01-01",
        "1208-01-01",
        "Orr.",
        "Fanthorn.",
        MORE[-1]["content"],
    ]
    assert own[0]["date"] == "2020-01-01T00:00:00Z" and own[4]["at"] == "2020-01-01"
    assert all("instruction" not in row and "conversations" not in row for row in own)
    assert artifacts.read_rows(Path("data/own/set.rejects.json")) == [{**rows[3], "reason": "not_text"}]
    with pytest.raises(UserError, match="holds conversations and pairs"):
        run("import", "set", "--to", "elsewhere")


def test_existing_file_is_not_overwritten(sets: Path) -> None:
    artifacts.write_rows(Path("mine.jsonl"), [{"messages": ASKED}])
    run("import", "mine.jsonl")
    before = Path("data/own/mine.jsonl").read_text()
    artifacts.write_rows(Path("mine.jsonl"), [{"messages": MORE}])
    with pytest.raises(UserError, match=r"data/own/mine\.jsonl exists already"):
        run("import", "mine.jsonl")
    assert Path("data/own/mine.jsonl").read_text() == before
    assert [path.name for path in Path("data/own").iterdir()] == ["mine.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "printed"),
    [
        ("bad.jsonl", b'{"a": 1}\n', r"No row of bad\.jsonl is a conversation or a pair; left out: 1 no known form"),
        ("torn.jsonl", b"{", r"torn\.jsonl, line 1: not JSON"),
        ("latin.jsonl", b'{"text": "\xe9"}\n', r"latin\.jsonl, line 1: not UTF-8; save the file as UTF-8"),
        ("torn.parquet", b"PAR1", r"torn\.parquet cannot be read"),
        ("list.json", b"[1, 2]", r"list\.json: expected a list of JSON objects"),
        ("empty.jsonl", b"", r"No row of empty\.jsonl"),
        ("rows.csv", b"a,b\n", r"rows\.csv is neither a file of type \.jsonl, \.json, \.parquet"),
    ],
)
def test_unreadable_file_is_reported_and_nothing_is_written(
    sets: Path, name: str, content: bytes, printed: str
) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(UserError, match=printed):
        run("import", name)
    assert not Path("data").exists()


def test_row_with_lone_surrogate_is_rejected(sets: Path) -> None:
    broken = '{"messages": [{"role": "user", "content": "a\\ud83d"}, {"role": "assistant", "content": "b"}]}\n'
    Path("odd.jsonl").write_text(broken + json.dumps({"messages": ASKED}) + "\n")
    assert "left out: 1 broken characters" in run("import", "odd.jsonl")
    assert artifacts.read_rows(Path("data/own/odd.rejects.json"))[0]["messages"][0]["content"] == "a\ufffd"


def test_calls_are_summarized(project: Path) -> None:
    assert "No LLM calls have been made yet" in run("calls")
    store = ResponseCache(PATH)
    store.keep("a", "wise", "writing questions", Answer("x", 1000, 50, 0.25))
    store.used("wise", "writing questions", 3)
    store.failed("b", "wise", "writing questions", "timeout")
    printed = run("calls")
    assert "wise" in printed and "0.25" in printed and "1 timeout" in printed
    assert "75% of 4 answers came from calls/calls.db" in printed
