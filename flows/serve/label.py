"""A local page for choosing the better of two answers: `gradus label`.

Pairs are shown blind, with left and right assigned by a hash, next to the passage and the reference answer. Each choice
is written immediately, in TRL's format, where a row of `alignment.pairs` with the ranker `human` reads it. Decided
pairs are not shown again unless the decision is undone.
"""

import hashlib
import json
from pathlib import Path

from rich.console import Console

from flows.serve.decision_log import Appended, append
from flows.serve.local_page import LocalPage
from flows.serve.passage import documents, passage
from flows.serve.prefect_server import check_free
from pipelines import artifacts
from pipelines.artifacts import Row
from pipelines.runtime.errors import UserError

CHOICES, UNDECIDED = "choices.jsonl", "undecided.json"
PAGE = "label.html"


class Choices:
    """The pairs and the decisions on them; every decision is on disk before the request is answered."""

    def __init__(self, source: Path, folder: Path) -> None:
        """Load the pairs of `source` and the decisions in `folder`.

        Raises:
            UserError: `source` is missing, or holds no pair, or rows that are none.
        """
        if not source.exists():
            raise UserError(f"{source} does not exist; `gradus run pairs` writes the pairs of the first row.")
        pairs = artifacts.read_rows(source)
        if not pairs or not all(_is_pair(row) for row in pairs):
            raise UserError(
                f"{source} does not consist of pairs in TRL's format; `gradus run pairs` writes some, and "
                "`gradus import` converts others."
            )
        rows = {_name(row): row for row in pairs}
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.rows, self.documents = folder, rows, documents()
        self.written: list[tuple[str, Appended]] = []  # the decisions of this session, by pair
        decided = [path for path in (folder / CHOICES, folder / UNDECIDED) if path.exists()]
        self.done = {row["pair"] for path in decided for row in artifacts.read_rows(path)} & rows.keys()

    def next(self) -> Row:
        """Return the content of the page: the progress and the next undecided pair, if any."""
        left = [name for name in self.rows if name not in self.done]
        progress = {"done": len(self.done), "total": len(self.rows), "undo": bool(self.written)}
        if not left:
            return progress
        row = self.rows[left[0]]
        question, reference, sides = row["prompt"][-1]["content"], row.get("reference") or "", _sides(left[0], row)
        return {
            **progress,
            "pair": left[0],
            "prompt": question,
            "left": sides[0],
            "right": sides[1],
            "reference": reference,
            "passage": passage(self.documents.get(row.get("source") or ""), f"{question} {reference}"),
        }

    def decide(self, name: str, choice: str, text: str = "") -> None:
        """Write a choice: `left`, `right`, `neither`, or `written` (both are wrong; `text` is the correct answer).

        Raises:
            KeyError: there is no such pair or choice.
            ValueError: `text` is empty.
        """
        row = self.rows[name]
        sides = dict(zip(("left", "right"), _sides(name, row), strict=True))
        if choice == "neither":
            self._write(UNDECIDED, name, [{"pair": name}])
        else:
            chosen = text.strip() if choice == "written" else sides.pop(choice)
            if not chosen:
                raise ValueError("the correct answer is empty")
            worse = [side for side in sides.values() if side.strip() != chosen]
            self._write(CHOICES, name, [_choice(row, name, chosen, rejected) for rejected in worse])
        self.done.add(name)

    def undo(self) -> None:
        """Undo the last decision; decisions from earlier sessions are kept.

        Raises:
            UserError: the file was changed since.
        """
        if not self.written:
            return
        name, rows = self.written.pop()
        rows.undo(name)
        self.done.discard(name)

    def _write(self, file_name: str, name: str, rows: list[Row]) -> None:
        self.written.append((name, append(self.folder / file_name, rows)))


def serve(console: Console, source: Path, folder: Path, port: int) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: there are no pairs, or the port is taken.
    """
    check_free(port)
    choices = Choices(source, folder)
    with page(choices, port) as running:
        running.serve(console, f"choices go to {folder / CHOICES}")
    console.print(f"{len(choices.done)} of {len(choices.rows)} pairs are decided.")


def page(choices: Choices, port: int) -> LocalPage:
    """Return the server of the page; port 0 picks a free port."""

    def choose(body: Row) -> None:
        choices.decide(body["pair"], body["choice"], str(body.get("text", "")))

    return LocalPage(PAGE, choices.next, {"choice": choose, "undo": lambda _: choices.undo()}, port)


def _choice(row: Row, name: str, chosen: str, rejected: str) -> Row:
    """Return a pair in TRL's format."""
    answers = {"chosen": chosen, "rejected": rejected}
    messages = {key: [{"role": "assistant", "content": text}] for key, text in answers.items()}
    return {"prompt": row["prompt"], **messages, **{key: row.get(key) for key in ("kind", "source")}, "pair": name}


def _is_pair(row: Row) -> bool:
    """Return whether a row is a pair of conversations, of a prompt and two answers."""
    return all(_is_conversation(row.get(part)) for part in ("prompt", "chosen", "rejected"))


def _is_conversation(messages: object) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(isinstance(each, dict) and isinstance(each.get("content"), str) for each in messages)
    )


def _name(row: Row) -> str:
    """Return an identifier of a pair that does not depend on the order of its answers."""
    texts = sorted(row[key][0]["content"] for key in ("chosen", "rejected"))
    return hashlib.sha256(json.dumps([row["prompt"], texts]).encode()).hexdigest()[:16]


def _sides(name: str, row: Row) -> tuple[str, str]:
    """Return left and right answer, ordered by a hash so that the better one is not always on the same side."""
    chosen, rejected = sorted(row[key][0]["content"] for key in ("chosen", "rejected"))
    return (chosen, rejected) if int(name, 16) % 2 else (rejected, chosen)
