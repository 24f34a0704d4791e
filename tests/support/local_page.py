"""Requests to a local page as its own script makes them, with the secret."""

import json
import urllib.request

from flows.serve.local_page import LocalPage
from pipelines.artifacts import Row


def ask(page: LocalPage, path: str, body: Row | None = None, **headers: str) -> Row:
    """Return the reply to a GET, or to a POST of `body`; `headers` are added, with dashes for underscores."""
    data = json.dumps(body).encode() if body is not None else None
    known = {"X-Secret": page.secret, **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(f"http://127.0.0.1:{page.server_port}{path}", data=data, headers=known)
    with urllib.request.urlopen(request, timeout=10) as reply:
        found: Row = json.loads(reply.read())
        return found
