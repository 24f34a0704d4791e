"""Requests to local servers bypass the environment's proxy."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PROGRAM = """
import sys, pipelines
import httpx, requests, urllib.request
for host in ("127.0.0.1", "localhost"):
    address = f"http://{host}:{sys.argv[1]}/"
    assert urllib.request.urlopen(address, timeout=9).status == 200
    assert requests.get(address, timeout=9).status_code == httpx.get(address, timeout=9).status_code == 200
assert not urllib.request.proxy_bypass("site.example")
print(urllib.request.proxy_bypass("inner.example"))
"""


class Answer(BaseHTTPRequestHandler):
    """Answers every request with 200."""

    def do_GET(self) -> None:
        """Respond with 200."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy", ""])
def test_local_servers_bypass_the_proxy(name: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    dead = "http://127.0.0.1:9"
    proxies = {
        "HTTP_PROXY": dead,
        "http_proxy": dead,
        "ALL_PROXY": dead,
        **({name: ".example.org,inner.example"} if name else {}),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(server.server_port)],
        env={"PATH": "", "PYTHONPATH": str(ROOT), **proxies},
        capture_output=True,
        text=True,
        check=False,
    )
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(bool(name)), "what the user excludes stays excluded"
