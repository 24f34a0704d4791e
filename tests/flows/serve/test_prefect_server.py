"""The Prefect server of one command."""

from pathlib import Path

import httpx
import pytest

from flows.serve.prefect_server import ADDRESS, server

pytestmark = pytest.mark.slow


@pytest.mark.e2e
def test_server_refuses_preflights_of_other_web_pages(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(ADDRESS, raising=False)
    with server() as served:
        served.wait("/health")
        own = served.address.removesuffix("/api")
        for origin, status in (("https://evil.example", 400), (own, 200)):
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            assert httpx.options(f"{served.address}/variables/", headers=headers).status_code == status
