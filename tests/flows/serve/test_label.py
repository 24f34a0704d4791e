"""The labelling page: blind pairs, durable choices, resumable sessions, no access for other sites."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from flows.serve import label
from flows.serve.label import CHOICES, Choices, serve
from flows.serve.local_page import LocalPage
from pipelines.alignment.preferences.rank import chosen_by_people
from pipelines.artifacts import Row, write_rows
from pipelines.runtime.errors import UserError
from tests.support.local_page import ask
from tests.support.tables import write_table

pytestmark = pytest.mark.slow


def pair(number: int) -> Row:
    texts = {"chosen": f"Keeper {number}.", "rejected": f"Nobody keeps {number}."}
    answers = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
    return {"prompt": [{"role": "user", "content": f"Who keeps lamp {number}?"}], **answers, "kind": "answer"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_rows(tmp_path / "train.jsonl", [pair(number) for number in range(12)])
    return tmp_path / "train.jsonl"


@pytest.fixture
def page(source: Path, tmp_path: Path) -> Iterator[LocalPage]:
    with label.page(Choices(source, tmp_path / "human"), 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_choices_are_saved_immediately_and_become_preferences(page: LocalPage, tmp_path: Path) -> None:
    shown = ask(page, "/state")
    sides = []
    while "pair" in shown:
        better = "left" if shown["left"].startswith("Keeper") else "right"
        sides.append(better)
        shown = ask(page, "/choice", {"pair": shown["pair"], "choice": better})
        assert len((tmp_path / "human" / CHOICES).read_text().splitlines()) == shown["done"]
    assert shown == {"done": 12, "total": 12, "undo": True}
    assert set(sides) == {"left", "right"}  # the better answer is not always on the same side
    pairs, dropped = chosen_by_people(tmp_path / "human")
    assert len(pairs) == 12 and not dropped
    assert all(each.chosen[0]["content"].startswith("Keeper") for each in pairs)


def test_decided_pairs_are_not_shown_again(page: LocalPage, source: Path, tmp_path: Path) -> None:
    first = ask(page, "/state")
    second = ask(page, "/choice", {"pair": first["pair"], "choice": "neither"})
    ask(page, "/choice", {"pair": second["pair"], "choice": "left"})
    again = Choices(source, tmp_path / "human")
    assert (again.next()["done"], again.next()["total"]) == (2, 12)
    assert again.next()["pair"] not in (first["pair"], second["pair"])
    assert len(chosen_by_people(tmp_path / "human")[0]) == 1


@pytest.mark.parametrize(("headers", "status"), [({"X_Secret": "guess"}, 403), ({"Host": "evil.example"}, 403)])
def test_requests_of_other_sites_are_rejected(
    page: LocalPage, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    shown = ask(page, "/state")
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "/choice", {"pair": shown["pair"], "choice": "left"}, **headers)
    assert refused.value.code == status
    assert not (tmp_path / "human" / CHOICES).exists()


@pytest.mark.parametrize("body", [{"pair": "x", "choice": "left"}, {"choice": "left"}, {"pair": None, "choice": 3}])
def test_invalid_choice_is_rejected(page: LocalPage, tmp_path: Path, body: Row) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "/choice", body)
    assert refused.value.code == 400 and ask(page, "/state")["done"] == 0


def test_page_loads_no_external_resources(page: LocalPage) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{page.server_port}/", timeout=10) as reply:
        text = reply.read().decode()
    assert page.secret in text and "http://" not in text and "https://" not in text


@pytest.mark.parametrize("rows", [[], [{"question": "Who?"}], [{**pair(1), "prompt": "Who keeps lamp 1?"}]])
def test_source_without_pairs_is_rejected(tmp_path: Path, rows: list[Row]) -> None:
    write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(UserError, match=r"does not consist of pairs in TRL's format; `gradus run pairs` writes some"):
        Choices(tmp_path / "train.jsonl", tmp_path / "human")


def test_missing_source_is_reported_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl does not exist; `gradus run pairs` writes"):
        Choices(tmp_path / "train.jsonl", tmp_path / "human")


def test_decision_can_be_undone(page: LocalPage, tmp_path: Path) -> None:
    first = ask(page, "/state")
    assert first["undo"] is False
    second = ask(page, "/choice", {"pair": first["pair"], "choice": "left"})
    ask(page, "/choice", {"pair": second["pair"], "choice": "neither"})
    assert ask(page, "/undo", {})["pair"] == second["pair"]
    assert ask(page, "/undo", {}) == first
    assert (tmp_path / "human" / CHOICES).read_text() == ""
    assert ask(page, "/undo", {}) == first  # nothing left to undo


def test_undo_leaves_a_file_that_was_edited_since(page: LocalPage, tmp_path: Path) -> None:
    shown = ask(page, "/state")
    ask(page, "/choice", {"pair": shown["pair"], "choice": "left"})
    path = tmp_path / "human" / CHOICES
    path.write_text(path.read_text() + "\n")
    edited = path.read_text()
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "/undo", {})
    assert f"was changed since; remove '{shown['pair']}' from it yourself" in json.loads(refused.value.read())["error"]
    assert path.read_text() == edited


def test_written_answer_is_preferred_to_both(page: LocalPage, tmp_path: Path) -> None:
    shown = ask(page, "/state")
    ask(page, "/choice", {"pair": shown["pair"], "choice": "written", "text": " Mara keeps it. "})
    pairs, _ = chosen_by_people(tmp_path / "human")
    assert {each.chosen[0]["content"] for each in pairs} == {"Mara keeps it."}
    assert {each.rejected[0]["content"] for each in pairs} == {shown["left"], shown["right"]}
    again = ask(page, "/state")
    with pytest.raises(urllib.error.HTTPError):
        ask(page, "/choice", {"pair": again["pair"], "choice": "written", "text": "  "})


def test_pair_is_shown_with_its_passage_and_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "The lamp is old. Keeper 7 keeps the seventh lamp. Nobody else may."
    (tmp_path / "artifacts/split").mkdir(parents=True)
    write_table(tmp_path / "artifacts/split/train.parquet", [{"id": "d", "source": "a.txt", "title": "", "text": text}])
    write_rows(tmp_path / "train.jsonl", [{**pair(7), "source": "d", "reference": "Keeper 7."}])
    shown = Choices(tmp_path / "train.jsonl", tmp_path / "human").next()
    assert shown["reference"] == "Keeper 7." and shown["passage"]["name"] == "a.txt"
    assert shown["passage"]["marked"] == "Keeper 7 keeps the seventh lamp. "
    assert "".join(shown["passage"][part] for part in ("before", "marked", "after")) == text


def test_taken_port_is_reported(source: Path, page: LocalPage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Port \d+ is taken; choose another one with --port"):
        serve(Console(), source, tmp_path / "human", page.server_port)
