"""`gradus fetch` with the real DVC and a server on this machine."""

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.fetch import fetch_list
from pipelines import artifacts
from pipelines.config import Config


def test_what_was_fetched_is_an_input_that_dvc_keeps(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/bells.html").write_text("<html><body><p>The bell is rung twice.</p></body></html>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    address = f"http://127.0.0.1:{server.server_port}"
    Path("pages.txt").write_text(f"{address}/bells.html\n{address}/gone.html\n")
    try:
        fetch_list(Path("pages.txt"), Path("data/fetched"), 0.0, False, True, config.ingest)
    finally:
        server.shutdown()
        server.server_close()
    assert Path("data/fetched/pages.warc.gz").exists() and Path("data/fetched.dvc").exists()
    (reject,) = artifacts.read_rows(Path("data/fetched.rejects.jsonl"))
    assert reject["reason"] == "status 404"
