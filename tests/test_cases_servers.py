"""Responses seen from real servers, replayed by a local server: robots.txt files and teacher answers."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.data.crawl.archive import Archive
from pipelines.data.crawl.fetch import fetch
from pipelines.data.crawl.host import CrawlPolicy
from pipelines.llm.calls import Reply
from pipelines.llm.config import PriceBlock
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_json
from tests.pipelines.llm.test_openai import calls, kept
from tests.support import chat_server as stub
from tests.support.chat_server import Handler, Server

pytestmark = pytest.mark.slow

CASES = Path(__file__).parent / "cases"
POLICY = CrawlPolicy(delay=0.0, seconds=2.0, max_bytes=20_000, backoff=0.01, allow_private=True)
ROBOTS: dict[str, str] = read_json(CASES / "robots_txt_six_kinds.json")
REFUSED = {
    "bom": ["/private/page"],
    "wildcard": ["/book/draft", "/search.cgi"],
    "longest_match": ["/private/page"],
    "allow_is_longer": ["/page", "/shop/page"],
    "redirected": ["/private/page"],
    "two_groups": ["/x/page", "/private/page"],
}
ALLOWED = {"wildcard": ["/book/page", "/search.cgi?page=2"], "allow_is_longer": ["/open/page"]}
QUESTION = "In what year was the glass house of Orrin Vale opened?"


class Site(BaseHTTPRequestHandler):
    """A site with pages and a robots.txt, which is a text or redirects to another address."""

    def __init__(self, robots: str, *args: Any) -> None:
        self.robots = robots
        super().__init__(*args)

    def do_GET(self) -> None:
        """Serve the robots.txt or a page."""
        redirects = "answers 301" in self.robots
        if self.path == "/robots.txt" and redirects:
            self.reply(301, b"", "text/plain", Location="/rules.txt")
        elif self.path in ("/robots.txt", "/rules.txt"):
            rules = "User-agent: *\nDisallow: /private/\n" if redirects else self.robots
            self.reply(200, rules.encode(), "text/plain")
        else:
            self.reply(200, b"<p>The bell is rung twice.</p>", "text/html")

    def reply(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        """Send a response."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log."""


@pytest.mark.parametrize("kind", ROBOTS)
def test_robots_txt_is_obeyed(kind: str, tmp_path: Path) -> None:
    refused, allowed = REFUSED[kind], ALLOWED.get(kind, ["/page"])
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, ROBOTS[kind])) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        archive = Archive(tmp_path / "a.warc.gz")
        rejects = asyncio.run(fetch([root + path for path in refused + allowed], archive, POLICY))
        server.shutdown()
    assert {url.removeprefix(root) for url in rejects} == set(refused)
    assert [url.removeprefix(root) for url in archive.kept] == allowed


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server; clients use short pauses and few retries."""
    monkeypatch.setattr("pipelines.llm.openai._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("pipelines.llm.openai._TRIES", 3)
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def replay(name: str) -> stub.Fault:
    """Return a fault that sends the recorded response of a case."""
    answer = read_json(CASES / f"server_{name}.json")["answer"]
    raw = answer.get("body_as_sent") or json.dumps(answer["body"])
    return lambda handler: handler.send(answer["status"], raw.encode())


def only_for(question: str, fault: stub.Fault) -> stub.Fault:
    """Return a fault for one question only; other questions get a good answer. Requires sequential calls."""

    def answered(handler: Handler) -> None:
        asked = handler.server.asked[-1]["messages"][-1]["content"]
        return fault(handler) if asked == question else handler.send(200, stub.completion(f"{asked}!"))

    return answered


def test_thinking_before_the_answer_is_stripped(server: Server, tmp_path: Path) -> None:
    server.faults = [replay("think_block_before_the_answer")]
    assert kept(server, tmp_path).ask(calls(1), "asking") == [Reply(QUESTION)]


def test_thinking_that_uses_all_tokens_raises_and_is_not_cached(server: Server, tmp_path: Path) -> None:
    server.faults = [replay("thinking_cut_off_at_max_tokens")] * 60
    with pytest.raises(UserError, match=r"(?i)think|reason"):
        kept(server, tmp_path).ask(calls(20), "asking")
    server.faults = []
    replies = kept(server, tmp_path).ask(calls(20), "asking")
    assert replies == [Reply(f"question {at}!") for at in range(20)]


def test_thinking_without_answer_is_one_paid_failure(server: Server, tmp_path: Path) -> None:
    price = PriceBlock(prompt=1000.0, completion=1000.0)
    teacher = kept(server, tmp_path, max_concurrency=1, price=price)
    server.faults = [only_for("question 1", replay("content_null_and_reasoning_content"))] * 9
    first, second, third = teacher.ask(calls(3), "asking")
    assert (first, third) == (Reply("question 0!"), Reply("question 2!"))
    assert second.text is None and second.failure
    assert teacher.cost >= price.cost(90, 9) + 2 * price.cost(10, 5)


def test_lone_surrogate_in_an_answer_does_not_affect_other_answers(server: Server, tmp_path: Path) -> None:
    teacher = kept(server, tmp_path, max_concurrency=1)
    server.faults = [only_for("question 1", replay("half_a_surrogate_pair_in_the_answer"))] * 9
    first, second, third = teacher.ask(calls(3), "asking")
    assert (first, third) == (Reply("question 0!"), Reply("question 2!"))
    assert second == Reply("In what year was the glass house opened �?") or (second.text is None and second.failure)


def test_calls_without_usage_count_at_maximum_cost(server: Server, tmp_path: Path) -> None:
    settings = read_json(CASES / "server_no_usage_with_a_price.json")["config"]
    server.faults = [replay("no_usage_with_a_price")] * 60
    teacher = kept(server, tmp_path, budget=settings["budget"], price=PriceBlock(**settings["price"]))
    replies = teacher.ask([replace(each, max_tokens=150) for each in calls(60)], "asking")
    assert [reply.text for reply in replies if reply.text] == ["Yes?"] * 3 == ["Yes?"] * len(server.asked)
    assert {reply.failure for reply in replies if not reply.text} == {"budget"}


def test_retry_after_date_is_respected(server: Server, tmp_path: Path) -> None:
    times: list[float] = []

    def busy(handler: Handler) -> None:
        times.append(time.time())
        handler.send(429, b"{}", retry_after=formatdate(int(times[0]) + 2, usegmt=True))

    server.faults = [busy]
    assert kept(server, tmp_path).ask(calls(1), "asking") == [Reply("question 0!")]
    assert time.time() >= int(times[0]) + 2


def test_max_completion_tokens_is_used_if_max_tokens_is_rejected(server: Server, tmp_path: Path) -> None:
    refused = replay("400_max_tokens_unsupported")

    def strict(handler: Handler) -> None:
        asked = handler.server.asked[-1]
        if "max_tokens" in asked:
            refused(handler)
        else:
            handler.send(200, stub.completion(f"{asked['max_completion_tokens']} at most"))

    server.faults = [strict] * 60
    assert kept(server, tmp_path, max_concurrency=1).ask(calls(2), "asking") == [Reply("9 at most")] * 2
