"""A local page for choosing the better of two answers: `gradus label`.

Pairs are shown blind, with left and right assigned by a hash, next to the passage and the reference answer. Each choice
is written immediately, in TRL's format, where `preferences` reads it (`preferences.ranker: human`). Decided pairs are
not shown again unless the decision is undone.
"""

import hashlib
import json
import os
import secrets
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from pathlib import Path

from rich.console import Console

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
            UserError: `source` holds no pair.
        """
        rows = {_name(row): row for row in artifacts.read_rows(source)}
        if not rows:
            raise UserError(f"{source} contains no pairs; run `gradus run preferences` first.")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.rows, self.documents = folder, rows, documents()
        self.written: list[tuple[str, Path, int, int]] = []  # pair, file, start and end offset of each decision
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
        """Undo the last decision; decisions from earlier sessions are kept."""
        if not self.written:
            return
        name, path, start, end = self.written.pop()
        if path.stat().st_size == end:  # nothing was written to it since
            os.truncate(path, start)
            self.done.discard(name)

    def _write(self, file_name: str, name: str, rows: list[Row]) -> None:
        path = self.folder / file_name
        with path.open("a", encoding="utf-8") as file:
            start = path.stat().st_size
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        self.written.append((name, path, start, path.stat().st_size))


def serve(console: Console, source: Path, folder: Path, port: int) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: there are no pairs, or the port is taken.
    """
    check_free(port)
    with Server(Choices(source, folder), port) as running:
        console.print(f"http://127.0.0.1:{running.server_port}  (choices go to {folder / CHOICES}; Ctrl-C stops it)")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            console.print(f"{len(running.choices.done)} of {len(running.choices.rows)} pairs are decided.")


class Server(HTTPServer):
    """Serves the page; a secret protects it from requests of other sites in the same browser."""

    def __init__(self, choices: Choices, port: int) -> None:
        """Listen on 127.0.0.1; port 0 picks a free port."""
        super().__init__(("127.0.0.1", port), Handler)
        self.choices, self.secret = choices, secrets.token_urlsafe()


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of the page."""

    server: Server

    def do_GET(self) -> None:
        """Send the page, or the next pair."""
        if not self._from_here():
            return
        if self.path == "/":
            page = (files(__package__) / PAGE).read_text(encoding="utf-8").replace("{{secret}}", self.server.secret)
            self._send(200, page.encode(), "text/html; charset=utf-8")
        elif self.path == "/pair" and self._knows():
            self._send(200, json.dumps(self.server.choices.next()).encode())
        else:
            self._send(404, b"{}")

    def do_POST(self) -> None:
        """Save a choice and send the next pair."""
        if not self._from_here() or not self._knows():
            return
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/undo":
                self.server.choices.undo()
            else:
                self.server.choices.decide(body["pair"], body["choice"], str(body.get("text", "")))
        except (KeyError, TypeError, ValueError):
            self._send(400, b"{}")
            return
        self._send(200, json.dumps(self.server.choices.next()).encode())

    def _from_here(self) -> bool:
        """Reject requests for other host names, which prevents DNS rebinding."""
        port = self.server.server_port
        good = self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}")
        if not good:
            self._send(403, b"{}")
        return good

    def _knows(self) -> bool:
        good = secrets.compare_digest(self.headers.get("X-Secret", ""), self.server.secret)
        if not good:
            self._send(403, b"{}")
        return good

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Disable request logging."""


def _choice(row: Row, name: str, chosen: str, rejected: str) -> Row:
    """Return a pair in TRL's format."""
    answers = {"chosen": chosen, "rejected": rejected}
    messages = {key: [{"role": "assistant", "content": text}] for key, text in answers.items()}
    return {"prompt": row["prompt"], **messages, **{key: row.get(key) for key in ("kind", "source")}, "pair": name}


def _name(row: Row) -> str:
    """Return an identifier of a pair that does not depend on the order of its answers."""
    texts = sorted(row[key][0]["content"] for key in ("chosen", "rejected"))
    return hashlib.sha256(json.dumps([row["prompt"], texts]).encode()).hexdigest()[:16]


def _sides(name: str, row: Row) -> tuple[str, str]:
    """Return left and right answer, ordered by a hash so that the better one is not always on the same side."""
    chosen, rejected = sorted(row[key][0]["content"] for key in ("chosen", "rejected"))
    return (chosen, rejected) if int(name, 16) % 2 else (rejected, chosen)
