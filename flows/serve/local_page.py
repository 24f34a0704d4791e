"""A local page with a JSON API for decisions: `gradus label`, `gradus questions`.

The server listens on 127.0.0.1. A secret in the page protects it from requests of other sites in the same browser, and
the check of the Host header from DNS rebinding. The page is one HTML file of this package; `local_page.css` is inlined.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Lock

from rich.console import Console

from flows.serve.prefect_server import HOST
from pipelines.artifacts import Row
from pipelines.runtime.errors import UserError

STYLE = "local_page.css"


class LocalPage(ThreadingHTTPServer):
    """Serves a page, its state at `/state`, and actions that change it.

    One thread per connection, because browsers open idle ones in advance; state and actions take turns.
    """

    def __init__(
        self, page: str, state: Callable[[], Row], actions: Mapping[str, Callable[[Row], None]], port: int
    ) -> None:
        """Listen on 127.0.0.1; port 0 picks a free port.

        `page` is an HTML file of this package. A POST to `/NAME` calls `actions[NAME]` with the JSON object of its body
        and is answered with the new state. A KeyError, TypeError or ValueError of an action is answered with status
        400, a UserError with 409 and the sentence as `error`.
        """
        super().__init__((HOST, port), _Handler)
        self.secret, self.state, self.actions = secrets.token_urlsafe(), state, actions
        self.turn = Lock()
        html, style = ((files(__package__) / name).read_text(encoding="utf-8") for name in (page, STYLE))
        self.page = html.replace("{{style}}", style).replace("{{secret}}", self.secret)

    def serve(self, console: Console, note: str) -> None:
        """Print the address with a note, and serve the page until Ctrl-C."""
        console.print(f"http://{HOST}:{self.server_port}  ({note}; Ctrl-C stops it)", soft_wrap=True)
        try:
            self.serve_forever()
        except KeyboardInterrupt:
            return


class _Handler(BaseHTTPRequestHandler):
    """Handles the requests of the page."""

    server: LocalPage

    def do_GET(self) -> None:
        """Send the page or its state."""
        if not self._is_local():
            return
        if self.path == "/":
            self._send(200, self.server.page.encode(), "text/html; charset=utf-8")
        elif self.path == "/state" and self._has_secret():
            self._reply(200, self._state())
        else:
            self._reply(404, {})

    def do_POST(self) -> None:
        """Apply an action and send the new state."""
        if not self._is_local() or not self._has_secret():
            return
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with self.server.turn:
                self.server.actions[self.path.removeprefix("/")](body)
        except UserError as error:
            self._reply(409, {"error": str(error)})
        except (KeyError, TypeError, ValueError):
            self._reply(400, {})
        else:
            self._reply(200, self._state())

    def _state(self) -> Row:
        with self.server.turn:
            return self.server.state()

    def _is_local(self) -> bool:
        """Reject requests for other host names, which prevents DNS rebinding."""
        port = self.server.server_port
        good = self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}")
        if not good:
            self._reply(403, {})
        return good

    def _has_secret(self) -> bool:
        """Reject requests without the secret, which other sites cannot read."""
        good = secrets.compare_digest(self.headers.get("X-Secret", "").encode(), self.server.secret.encode())
        if not good:
            self._reply(403, {})
        return good

    def _reply(self, status: int, body: Row) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Disable request logging."""
