"""Drafting from what `synthesize` generated: new wordings by a served teacher, and earlier decisions that stay."""

import json
import threading
from collections.abc import Iterator

import pytest

from pipelines import artifacts
from pipelines.config import Config
from pipelines.curation.drafting.draft_questions import draft
from pipelines.curation.drafting.files import DRAFTS, REJECTED
from pipelines.llm.config import ServedModel, TeacherConfig
from tests.support.chat_server import Server
from tests.support.rows import candidate
from tests.support.tables import write_table
from tests.support.teachers import PROMPTS

NUMBERS = range(12)


@pytest.fixture
def drafting(config: Config) -> Config:
    """A project with one synthesised question and one swap about each of twelve documents."""
    candidates = [
        candidate(
            f"Who keeps lamp {number}?",
            source=f"d{number}",
            sentence=f"Lamp {number} is kept by Keeper{number}.",
            window=f"Lamps\nLamp {number} is kept by Keeper{number}.",
            answer=f"Keeper{number}",
            start=0,
            end=number,
        )
        for number in NUMBERS
    ]
    swaps = [
        {"from": f"Who keeps lamp {number}?", "question": f"Who keeps gate {number}?", "kind": "swapped_entity"}
        for number in NUMBERS
    ]
    synthesized, split = artifacts.fresh("synthesize"), artifacts.fresh("split")
    artifacts.write_rows(synthesized / "candidates.jsonl", [each.as_row() for each in candidates])
    artifacts.write_rows(synthesized / "unanswerable.jsonl", swaps)
    write_table(split / "train.parquet", [{"id": f"d{n}", "source": f"{n}.md"} for n in NUMBERS])
    return config


@pytest.fixture
def served() -> Iterator[Server]:
    """A teacher that writes three wordings, two of which its reader does not answer."""

    def says(messages: list[dict[str, str]]) -> str:
        asked = messages[-1]["content"]
        number = asked.split("Lamp ")[1].split(" ")[0]
        if "Question: Who keeps" in asked and "Answer: Keeper" in asked:
            wordings = [f"Which person tends light number {number}?", f"Why is lamp {number} kept?", "Who is it, then?"]
            return json.dumps({"questions": wordings})
        return f"Keeper{number}" if "tends" in asked else "Not stated."

    with Server(says) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def run(config: Config, most: int = 100) -> int:
    return draft(artifacts.ARTIFACTS / "synthesize", artifacts.ARTIFACTS / "split", most, config)


def test_drafts_come_in_pairs_within_one_split(drafting: Config) -> None:
    assert run(drafting) == 24
    rows = artifacts.read_rows(DRAFTS)
    for asked, twin in zip(rows[::2], rows[1::2], strict=True):
        assert (asked["set"], twin["set"], twin["twin"]) == ("answerable", "unanswerable", asked["id"])
        assert asked["split"] == twin["split"] and asked["sources"] == [f"{asked['document'][1:]}.md"]
    assert len({row["id"] for row in rows}) == 24


def test_maximum_is_two_thirds_answerable(drafting: Config) -> None:
    assert run(drafting, 9) == 9
    assert [row["set"] for row in artifacts.read_rows(DRAFTS)].count("answerable") == 6


def test_decided_drafts_stay_and_their_facts_are_not_drafted_again(drafting: Config) -> None:
    run(drafting, 9)
    accepted, twin, rejected = (artifacts.read_rows(DRAFTS)[at] for at in (0, 1, 2))
    folder = drafting.evaluate.questions
    folder.mkdir(parents=True)
    kept = {key: accepted[key] for key in ("id", "question", "answer", "split")}
    artifacts.write_rows(folder / "answerable.jsonl", [{**kept, "question": "Who, in other words?"}])
    artifacts.write_rows(REJECTED, [{"id": rejected["id"]}])
    run(drafting)
    rows = artifacts.read_rows(DRAFTS)
    assert accepted in rows and twin in rows and rejected in rows
    assert len({row["id"] for row in rows}) == len(rows) == 24
    assert len({row["sentence"] for row in rows if row["set"] == "answerable"}) == 12


def test_served_teacher_rewords_and_the_reader_confirms(drafting: Config, served: Server) -> None:
    model = ServedModel(
        kind="openai", url=served.url, model="big", revision=None, key=None, max_concurrency=4, timeout_s=5,
        context_tokens=None, structured="none", price=None, extra_body={},
    )  # fmt: skip
    values = drafting.teacher.model_dump() | {"models": {"big": model.model_dump()}}
    values["roles"] = {"writer": "big", "reader": "big", "judge": None}
    synthesize = drafting.synthesize.model_copy(update={"prompts": PROMPTS})
    config = drafting.model_copy(update={"teacher": TeacherConfig.model_validate(values), "synthesize": synthesize})
    assert run(config) > 0
    questions = [row["question"] for row in artifacts.read_rows(DRAFTS) if row["set"] == "answerable"]
    assert sorted(questions) == sorted(f"Which person tends light number {number}?" for number in NUMBERS)
