"""The page for evaluation questions: accepted ones load, the user's files are kept, decisions survive a restart."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from flows.serve import drafting, questions
from flows.serve.local_page import LocalPage
from flows.serve.questions import Review
from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.config import Config
from pipelines.curation.drafting.files import DRAFTS, KEY
from pipelines.evaluation import gate
from pipelines.evaluation.questions import load
from pipelines.runtime.errors import UserError
from tests.conftest import ROOT
from tests.support.local_page import ask
from tests.support.tables import write_table

pytestmark = pytest.mark.slow

OWN = '{"id": "mine", "question": "Who lit it?", "answer": "Mara", "split": "test", "note": "kept"}'
"""A question of the user, with a key of their own, without a final line feed."""
TEXT = "The lamps are old. Lamp {0} is kept by Keeper{0}. Nobody else may."


def drafts(number: int) -> list[Row]:
    """Return an answerable draft and its twin."""
    evidence = {"document": f"d{number}", "sentence": f"Lamp {number} is kept by Keeper{number}.", "window": "W"}
    split = "test" if number % 3 else "validation"
    asked = {"id": f"a-{number}", "set": "answerable", "split": split, "question": f"Who keeps lamp {number}?"}
    more = {"answer": f"Keeper{number}", "aliases": ["the keeper"], "sources": [f"{number}.md"], "twin": None}
    twin = {"id": f"u-{number}", "set": "unanswerable", "split": split, "question": f"Who keeps gate {number}?"}
    none = {"answer": "", "aliases": [], "sources": [], "twin": f"a-{number}", "only_wording": False}
    first = {**asked, **evidence, **more, "kind": "name", "only_wording": True}
    return [first, {**twin, **evidence, **none, "kind": "swapped_entity"}]


@pytest.fixture
def folder(config: Config) -> Path:
    """The folder of questions, with one of the user's; six drafts about three documents."""
    asked = config.evaluate.questions
    asked.mkdir(parents=True)
    (asked / "answerable.jsonl").write_text(OWN)
    DRAFTS.parent.mkdir(parents=True)
    artifacts.write_rows(DRAFTS, [row for number in range(3) for row in drafts(number)])
    rows = [{"id": f"d{n}", "source": f"{n}.md", "title": "", "text": TEXT.format(n)} for n in range(3)]
    write_table(artifacts.fresh("split") / "train.parquet", rows)
    return asked


@pytest.fixture
def page(folder: Path, config: Config) -> Iterator[LocalPage]:
    with questions.page(Review(folder, config.compare), 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def accept(page: LocalPage, draft: Row, **changes: object) -> Row:
    fields = {name: draft[name] for name in ("id", "question", "answer", "aliases")}
    return ask(page, "/accept", {**fields, "competing": [], **changes})


def refusal(page: LocalPage, draft: Row, **changes: object) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        accept(page, draft, **changes)
    assert refused.value.code == 409
    return str(json.loads(refused.value.read())["error"])


def test_accepted_questions_load_and_nothing_of_the_user_is_lost(page: LocalPage, folder: Path) -> None:
    shown = ask(page, "/state")
    while "draft" in shown:
        shown = accept(page, shown["draft"], aliases=[" the keeper ", ""], competing=["Nobody"])
    assert (folder / "answerable.jsonl").read_text().startswith(OWN + "\n")
    found = {each.id: each for each in load(folder)}
    assert len(found) == 7 and found["mine"].accepted == ("Mara",)
    assert found["a-1"].accepted == ("Keeper1", "the keeper") and found["a-1"].competing == ("Nobody",)
    assert found["a-1"].sources == ("1.md",) and found["a-1"].kind == "name"
    assert found["u-1"].twin == "a-1" and found["u-1"].split == "test" == found["a-1"].split
    assert found["a-0"].split == "validation"
    assert shown["progress"][0] | {"validation_needed": 0, "test_needed": 0} == {
        **{"set": "answerable", "validation": 1, "validation_needed": 0, "test": 3, "test_needed": 0}
    }


def test_draft_is_shown_with_its_evidence_in_the_document(page: LocalPage) -> None:
    shown = ask(page, "/state")
    assert shown["passage"]["marked"] == "Lamp 0 is kept by Keeper0."
    assert "".join(shown["passage"][part] for part in ("before", "marked", "after")) == TEXT.format(0)
    assert shown["twin"] is None and accept(page, shown["draft"])["twin"] == "Who keeps lamp 0?"


def test_twin_of_a_rejected_question_stands_alone(page: LocalPage, folder: Path) -> None:
    shown = ask(page, "/state")
    shown = ask(page, "/reject", {"id": shown["draft"]["id"]})
    assert shown["twin"] is None
    accept(page, shown["draft"])
    assert artifacts.read_rows(folder / "unanswerable.jsonl") == [
        {"id": "u-0", "question": "Who keeps gate 0?", "kind": "swapped_entity", "split": "validation"}
    ]


def test_twin_follows_its_question_to_another_split(page: LocalPage, folder: Path) -> None:
    shown = accept(page, ask(page, "/state")["draft"])
    path = folder / "answerable.jsonl"
    path.write_text(path.read_text().replace("validation", "test"))  # the user moves it by hand
    accept(page, shown["draft"])
    assert artifacts.read_rows(folder / "unanswerable.jsonl")[0]["split"] == "test"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"question": "who LIT  it?"}, "ask the same question, with contradicting answers; remove one."),
        ({"question": "Who lit it?", "answer": "Mara"}, "'mine' and 'a-0' ask the same question; remove one."),
        ({"question": "  "}, "'question' is missing."),
        ({"answer": "…"}, "must contain a letter or a digit to be scored."),
    ],
)
def test_edited_question_is_refused_as_a_run_would(
    page: LocalPage, folder: Path, changes: dict[str, str], sentence: str
) -> None:
    draft = ask(page, "/state")["draft"]
    assert refusal(page, draft, **changes).endswith(sentence)
    assert (folder / "answerable.jsonl").read_text() == OWN
    assert ask(page, "/state")["draft"] == draft


def test_restart_continues(page: LocalPage, folder: Path, config: Config) -> None:
    shown = accept(page, ask(page, "/state")["draft"], question="Which person keeps lamp 0?")
    ask(page, "/reject", {"id": shown["draft"]["id"]})
    again = Review(folder, config.compare).next()
    assert again["draft"]["id"] == "a-1" and (again["left"], again["total"]) == (4, 6) and not again["undo"]


def test_decisions_can_be_undone(page: LocalPage, folder: Path) -> None:
    first = ask(page, "/state")
    second = accept(page, first["draft"])
    ask(page, "/reject", {"id": second["draft"]["id"]})
    assert ask(page, "/undo", {})["draft"] == second["draft"]
    assert ask(page, "/undo", {}) == first == ask(page, "/undo", {})
    assert (folder / "answerable.jsonl").read_text() == OWN


def test_undo_leaves_a_file_that_was_edited_since(page: LocalPage, folder: Path) -> None:
    accept(page, ask(page, "/state")["draft"])
    path = folder / "answerable.jsonl"
    path.write_text(path.read_text() + "\n")
    edited = path.read_text()
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "/undo", {})
    assert "was changed since; remove 'a-0' from it yourself" in json.loads(refused.value.read())["error"]
    assert path.read_text() == edited


def test_file_in_another_encoding_is_not_appended_to(page: LocalPage, folder: Path) -> None:
    (folder / "answerable.jsonl").write_text(OWN, encoding="utf-16")
    assert "save it as UTF-8" in refusal(page, ask(page, "/state")["draft"])
    assert (folder / "answerable.jsonl").read_text(encoding="utf-16") == OWN


@pytest.mark.parametrize(("headers", "status"), [({"X_Secret": "guess"}, 403), ({"Host": "evil.example"}, 403)])
def test_requests_of_other_sites_are_rejected(
    page: LocalPage, folder: Path, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "/accept", {"id": "a-0", "question": "?", "answer": "x", "aliases": [], "competing": []}, **headers)
    assert refused.value.code == status and (folder / "answerable.jsonl").read_text() == OWN


@pytest.mark.parametrize("body", [{"id": "x"}, {}, {"id": ["a-0"]}, {"id": "a-0", "question": "Who?"}])
def test_invalid_decision_is_rejected(page: LocalPage, body: Row) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "/accept", body)
    assert refused.value.code == 400 and ask(page, "/state")["left"] == 6


def test_page_loads_no_external_resources(page: LocalPage) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{page.server_port}/", timeout=10) as reply:
        text = reply.read().decode()
    assert page.secret in text and "{{" not in text and "http://" not in text and "https://" not in text


def test_status_tells_how_many_questions_are_missing(folder: Path, config: Config) -> None:
    console = Console(record=True, width=200)
    questions.show(console, config)
    shown = console.export_text()
    assert "1 of 113" in shown and " 112" in shown
    assert "0 of 38" in shown and "0 of 188" in shown and "keyword queries" in shown
    assert "Of the 100 answerable validation questions that calibrate the confidence, there are 0;" in shown


def test_a_challenger_that_only_hallucinates_less_passes_with_the_questions_needed(config: Config) -> None:
    needed = questions.goals(config.compare)

    def rows(wrong: int) -> list[Row]:
        """Return answers of which the first answerable ones are `wrong`, and the last three refused."""
        verdicts = {name: ["correct"] * count for name, count in needed.items()}
        verdicts["unanswerable"] = ["refused"] * needed["unanswerable"]
        verdicts["answerable"] = ["wrong"] * wrong + ["correct"] * (needed["answerable"] - wrong - 3) + ["refused"] * 3
        return [
            {"set": name, "verdict": verdict, "cluster": f"{name}-{number}", "f1": 0.0}
            for name, those in verdicts.items()
            for number, verdict in enumerate(those)
        ]

    champion = gate.Reference(gate.Role.CHAMPION, "champion", rows(40))
    checks = gate.judge(rows(10), champion, config.compare, 1)
    assert gate.verdict(checks)["reasons"] == []


def test_invalid_questions_of_the_user_are_reported_first(folder: Path, config: Config) -> None:
    (folder / "answerable.jsonl").write_text(OWN + "\n" + OWN)
    with pytest.raises(UserError, match="'mine' is used for two questions"):
        Review(folder, config.compare)


def test_taken_port_is_reported(page: LocalPage, config: Config) -> None:
    with pytest.raises(UserError, match=r"Port \d+ is taken; choose another one with --port"):
        questions.serve(Console(), page.server_port, config)


def test_drafting_without_synthesised_questions_names_the_command(config: Config) -> None:
    with pytest.raises(UserError, match="run `gradus run synthesize` first"):
        drafting.draft(config, 10)


def test_unchanged_drafts_are_not_made_again(folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafting runs the real program once; later calls find its key and leave the drafts alone."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    artifacts.complete(artifacts.ARTIFACTS / "split", {})
    synthesized = artifacts.fresh("synthesize")
    artifacts.write_rows(synthesized / "candidates.jsonl", [])
    artifacts.write_rows(synthesized / "unanswerable.jsonl", [])
    artifacts.complete(synthesized, {})
    with pytest.raises(UserError, match="No question can be drafted"):
        drafting.draft(config, 10)
    assert artifacts.read_rows(DRAFTS) == [] and KEY.exists()
    rows = [row for number in range(3) for row in drafts(number)]
    artifacts.write_rows(DRAFTS, rows)
    config.ingest.source.mkdir(parents=True)
    with pytest.raises(UserError, match=r"is about other documents: 0\.md and others are not in data/raw"):
        drafting.draft(config, 10)
    (config.ingest.source / "1.md").write_text(TEXT)
    drafting.draft(config, 10)
    assert artifacts.read_rows(DRAFTS) == rows
