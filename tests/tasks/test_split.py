"""Split on the sample corpus, on small corpora and on corpora of one document."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from pipelines import artifacts
from pipelines.config import Config, load
from pipelines.data import documents
from pipelines.data.config import SplitConfig
from pipelines.data.documents import Document
from pipelines.data.executor import Executor
from pipelines.runtime.errors import UserError
from tasks.clean import clean
from tasks.dedup import dedup
from tasks.ingest import ingest
from tasks.split import split

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "data"

QUESTION = "Who was the very first to hold the harbour master's post at Brunnick?"
PASSAGE = " ".join(f"On day {n} the keeper of tower {n * 7 % 31} wrote line {n * n} in his book." for n in range(6))


def settings(config: Config, questions: Path, **shares: float) -> SplitConfig:
    against = config.split.decontaminate.model_copy(update={"against": questions})
    return config.split.model_copy(update={"questions": questions, "decontaminate": against, **shares})


def write(directory: Path, count: int, sources: list[str]) -> Path:
    """Write `count` documents, the first with a duplicate, and one question about `sources`."""
    rows = [Document(f"id{n}", f"{n}.md", None, "", "markdown", f"Text {n}.") for n in range(count)]
    documents.write(directory / "documents", rows, documents.CLUSTERED)
    member = {"id": "copy", "source": "copy.md", "reason": "near", "similarity": 0.9}
    artifacts.write_rows(directory / "clusters.jsonl", [{"kept": "id0", "members": [member]}])
    (directory / "questions").mkdir()
    artifacts.write_rows(
        directory / "questions/a.jsonl", [{"id": "a", "sources": sources, "question": QUESTION}, {"id": "b"}]
    )
    return directory / "questions"


def ids(directory: Path, side: str) -> set[str]:
    return {row["id"] for row in artifacts.read_table(directory / f"{side}.parquet")}


def test_document_whose_duplicate_is_named_stays_in_training(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 3, ["copy.md"])
    metrics = split(
        tmp_path, tmp_path, settings(config, questions, test_share=0.9, validation_share=0.9), seed=1, runner=Executor()
    )
    assert ids(tmp_path, "train") == {"id0"}
    assert ids(tmp_path, "test") | ids(tmp_path, "validation") == {"id1", "id2"}
    assert metrics == {
        "documents_train": 1,
        "documents_validation": 1,
        "documents_test": 1,
        **{"sections_validation": 0, "sections_test": 0},
        **{"characters_train": 7, "characters_validation": 7, "characters_test": 7},
        "documents_asked_about": 1,
        **{"overlaps": 0, "leaks": 0, "documents_cut": 0},
    }


def test_question_about_missing_document_raises_error(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 3, ["0.md", "gone.md"])
    with pytest.raises(UserError, match=r"a\.jsonl names gone\.md"):
        split(tmp_path, tmp_path, settings(config, questions), seed=1, runner=Executor())


@pytest.mark.parametrize("empty", [True, False])
def test_missing_questions_are_reported(
    config: Config, tmp_path: Path, empty: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, 3, ["0.md"])
    if empty:
        (tmp_path / "none").mkdir()
        (tmp_path / "none/answerable.jsonl").touch()
    metrics = split(tmp_path, tmp_path, settings(config, tmp_path / "none"), seed=1, runner=Executor())
    assert (metrics["documents_train"], metrics["documents_asked_about"], metrics["overlaps"]) == (3, 0, 0)
    assert "none has no questions about documents, so models cannot be evaluated" in capsys.readouterr().err


def test_questions_about_other_documents_are_ignored_and_reported(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write(tmp_path, 3, ["web/tide-mill.html"])
    metrics = split(tmp_path, tmp_path, settings(config, questions), seed=1, runner=Executor())
    assert metrics["documents_asked_about"] == 0
    assert "none of the documents they name (web/tide-mill.html) exists" in capsys.readouterr().err


def test_questions_about_every_document_leave_held_out_tables_empty(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 2, ["0.md", "1.md"])
    split(tmp_path, tmp_path, settings(config, questions), seed=1, runner=Executor())
    assert ids(tmp_path, "test") == ids(tmp_path, "validation") == set()


def test_sample_corpus_holds_out_unneeded_documents(config: Config, tmp_path: Path) -> None:
    for name in ("ingest", "clean", "dedup", "split"):
        (tmp_path / name).mkdir()
    ingest(config.ingest.model_copy(update={"source": DATA / "raw"}), tmp_path / "ingest")
    clean(tmp_path / "ingest", tmp_path / "clean", config.clean, Executor())
    dedup(tmp_path / "clean", tmp_path / "dedup", config.dedup, Executor())
    split(tmp_path / "dedup", tmp_path / "split", settings(config, DATA / "questions"), config.compute.seed, Executor())
    rows = [json.loads(line) for path in (DATA / "questions").glob("*.jsonl") for line in path.open()]
    asked = {source for row in rows for source in row.get("sources", [])}
    held_out = [
        row for side in ("validation", "test") for row in artifacts.read_table(tmp_path / f"split/{side}.parquet")
    ]
    assert asked and len(held_out) >= 2
    assert not asked & {row["source"] for row in held_out}


def test_leaked_question_is_cut_from_training(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 6, ["1.md"])
    shard = documents.shards(tmp_path / "documents")[0]
    rows = list(documents.read(shard))
    rows[1] = replace(rows[1], text=f"Before.\n\n{QUESTION.upper()} Oswin Drace.\n\nAfter.")
    rows[2] = replace(rows[2], text="Who was the very first to hold the lamp? The harbour master's post at Brunnick.")
    documents.write_shard(shard, rows, documents.CLUSTERED)
    metrics = split(
        tmp_path, tmp_path, settings(config, questions, test_share=0.0, validation_share=0.0), 1, Executor()
    )
    texts = {row["id"]: row["text"] for row in artifacts.read_table(tmp_path / "train.parquet")}
    assert texts["id1"] == "Before.\n\nAfter." and texts["id2"] == rows[2].text
    (leak, borrowed) = artifacts.read_rows(tmp_path / "contamination.jsonl")
    assert (leak["item"], leak["document"], leak["item_share"], leak["action"]) == ("a", "id1", 1.0, "cut")
    assert (borrowed["document"], borrowed["action"]) == ("id2", "none") and borrowed["item_share"] < 0.8
    assert (metrics["leaks"], metrics["documents_cut"]) == (1, 1)


def test_text_shared_with_training_is_cut_from_held_out(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 6, ["0.md"])
    shard = documents.shards(tmp_path / "documents")[0]
    rows = [replace(each, text=f"{each.text}\n\n{PASSAGE}") for each in documents.read(shard)]
    documents.write_shard(shard, rows, documents.CLUSTERED)
    split(tmp_path, tmp_path, settings(config, questions, test_share=0.3, validation_share=0.0), 1, Executor())
    train = [row["text"] for row in artifacts.read_table(tmp_path / "train.parquet")]
    held_out = [row["text"] for row in artifacts.read_table(tmp_path / "test.parquet")]
    assert held_out and all(PASSAGE in text for text in train)
    assert not any(PASSAGE in text for text in held_out) and all(text.startswith("Text") for text in held_out)


def test_report_action_leaves_texts_unchanged(config: Config, tmp_path: Path) -> None:
    questions = write(tmp_path, 3, ["0.md"])
    shard = documents.shards(tmp_path / "documents")[0]
    rows = [replace(each, text=f"{each.text}\n\n{QUESTION}") for each in documents.read(shard)]
    documents.write_shard(shard, rows, documents.CLUSTERED)
    asked = settings(config, questions, test_share=0.0, validation_share=0.0)
    reported = asked.decontaminate.model_copy(update={"action": "report"})
    metrics = split(tmp_path, tmp_path, asked.model_copy(update={"decontaminate": reported}), 1, Executor())
    assert (metrics["leaks"], metrics["documents_cut"]) == (3, 0)
    assert all(QUESTION in row["text"] for row in artifacts.read_table(tmp_path / "train.parquet"))


WORDS = [
    a + b + c for a in ("bar", "cel", "dur", "fen", "gol") for b in ("mi", "no", "ta", "ru") for c in ("n", "sk", "x")
]


def paragraph(rng: random.Random, fact: str) -> str:
    """Return three sentences of random words around a fact."""
    said = [" ".join(rng.choices(WORDS, k=rng.randint(6, 14))).capitalize() + "." for _ in range(2)]
    return " ".join([said[0], fact, said[1]])


def book(chapters: list[int], seed: int) -> tuple[list[Document], list[tuple[str, str, str, str]]]:
    """Return documents with the given numbers of paragraphs, and their facts: (source, question, answer, fact)."""
    rng = random.Random(seed)
    rows, facts = [], []
    for number, count in enumerate(chapters):
        parts = []
        for at in range(count):
            name, year = f"Keeper{number}x{at}", str(rng.randint(1000, 1999))
            fact = f"The tower of {name} was finished in {year}."
            parts.append(paragraph(rng, fact))
            facts.append((f"{number}.md", f"When was the tower of {name} finished?", year, fact))
        rows.append(Document(f"id{number}", f"{number}.md", None, "", "markdown", "\n\n".join(parts)))
    return rows, facts


def divided(directory: Path, rows: list[Document], questions: list[artifacts.Row], config: Config) -> dict[str, float]:
    documents.write(directory / "documents", rows, documents.CLUSTERED)
    artifacts.write_rows(directory / "clusters.jsonl", [])
    (directory / "questions").mkdir()
    artifacts.write_rows(directory / "questions/answerable.jsonl", questions)
    return split(directory, directory, settings(config, directory / "questions"), 1, Executor())


def text(directory: Path, side: str) -> str:
    return "\n\n".join(row["text"] for row in artifacts.read_table(directory / f"{side}.parquet"))


@limits(max_examples=15, deadline=None)
@given(
    chapters=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    asked=st.floats(0, 1),
    named=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_evidence_is_never_held_out(
    tmp_path_factory: pytest.TempPathFactory, chapters: list[int], asked: float, named: float, seed: int
) -> None:
    """In any corpus, held-out text is also not trained on, and its size is close to the requested share."""
    rows, facts = book(chapters, seed)
    rng = random.Random(seed)
    chosen = [fact for fact in facts if rng.random() < asked]
    questions = [
        {
            "id": question,
            "question": question,
            "answer": answer,
            **({"sources": [source]} if rng.random() < named else {}),
        }
        for source, question, answer, _ in chosen
    ]
    directory = tmp_path_factory.mktemp("divided")
    metrics = divided(directory, rows, questions or [{"id": "q", "question": QUESTION}], load(ROOT / "params.yaml"))
    train, held_out = text(directory, "train"), text(directory, "validation") + text(directory, "test")
    assert all(fact in train for *_, fact in chosen)
    assert all((fact in train) != (fact in held_out) for *_, fact in facts)
    total = sum(len(row.text) for row in rows)
    for side, share in (("validation", 0.05), ("test", 0.1)):
        assert metrics[f"characters_{side}"] <= 1.5 * share * total
    if asked < 0.5 and total > 10_000:
        assert metrics["characters_test"] >= 0.5 * 0.1 * total


def test_sections_of_a_single_book_are_contiguous(config: Config, tmp_path: Path) -> None:
    rows, facts = book([60], seed=3)
    source, question, answer, _ = facts[7]
    asked = [{"id": "a", "question": question, "answer": answer, "sources": [source]}]
    metrics = divided(tmp_path, rows, asked, config)
    sections = artifacts.read_table(tmp_path / "test.parquet")
    assert metrics["sections_test"] == len(sections) >= 1 and metrics["documents_test"] == 0
    assert all(section["text"] in rows[0].text and "\n\n" in section["text"] for section in sections)
    assert [section["source"].split("#")[0] for section in sections] == ["0.md"] * len(sections)
    assert ids(tmp_path, "train") == {"id0"} and not ids(tmp_path, "train") & ids(tmp_path, "test")


def windows(text: str, size: int) -> set[str]:
    words = text.lower().replace(".", "").split()
    return {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}


def test_text_shared_with_training_in_short_paragraphs_is_cut_from_held_out(config: Config, tmp_path: Path) -> None:
    rows, _ = book([8] * 20, seed=5)
    shared = "\n\n".join(paragraph(random.Random(number), f"Rule {number} applies.") for number in range(5))
    rows = [replace(row, text=f"{row.text}\n\n{shared}") for row in rows]
    divided(tmp_path, rows, [{"id": "a", "question": QUESTION, "answer": "Oswin Drace"}], config)
    train, held_out = text(tmp_path, "train"), text(tmp_path, "test") + text(tmp_path, "validation")
    assert not windows(train, 50) & windows(held_out, 50)
    assert shared in train and windows(held_out, 50)


def test_text_shared_with_training_is_cut_from_sections(config: Config, tmp_path: Path) -> None:
    """Half of the document is in it twice; sections of the other half are left."""
    rows, facts = book([60], seed=3)
    parts = rows[0].text.split("\n\n")
    source, question, answer, _ = facts[7]
    asked = [{"id": "a", "question": question, "answer": answer, "sources": [source]}]
    divided(tmp_path, [replace(rows[0], text="\n\n".join(parts + parts[:30]))], asked, config)
    train, held_out = text(tmp_path, "train"), text(tmp_path, "test") + text(tmp_path, "validation")
    assert not windows(train, 50) & windows(held_out, 50)
    assert windows(held_out, 50)


def test_text_too_short_to_divide_stays_in_training_and_is_reported(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, facts = book([2], seed=3)
    metrics = divided(tmp_path, rows, [{"id": "a", "question": facts[0][1], "answer": facts[0][2]}], config)
    assert metrics["characters_train"] == len(rows[0].text) and metrics["characters_test"] == 0
    assert "evaluate skips bits per byte" in capsys.readouterr().err
