"""`gradus fetch` with real DVC and a local server."""

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.commands.fetch import fetch_list
from pipelines import artifacts
from pipelines.config import Config
from pipelines.runtime.errors import UserError

pytestmark = pytest.mark.slow


def test_fetch_without_pages_writes_only_the_rejects(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pages.txt").write_text("http://127.0.0.1:1/bells.html\n")
    into = Path("data/fetched")
    assert fetch_list(Path("pages.txt"), into, 0.0, False, True, config.ingest) == 0
    assert capsys.readouterr().err == "None of 1 pages was fetched; data/fetched.rejects.jsonl lists the reasons.\n"
    assert not into.exists() and len(artifacts.read_rows(Path("data/fetched.rejects.jsonl"))) == 1


def test_output_that_is_a_file_is_rejected(config: Config) -> None:
    with pytest.raises(UserError, match=r"params\.yaml is not a folder; give another one with --into"):
        fetch_list(Path("pages.txt"), Path("params.yaml"), 0.0, False, True, config.ingest)


def test_fetched_pages_are_tracked_by_dvc(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert fetch_list(Path("pages.txt"), Path("data/fetched"), 0.0, False, True, config.ingest) == 1
    finally:
        server.shutdown()
        server.server_close()
    assert Path("data/fetched/pages.warc.gz").exists() and Path("data/fetched.dvc").exists()
    (reject,) = artifacts.read_rows(Path("data/fetched.rejects.jsonl"))
    assert reject["reason"] == "status 404"
