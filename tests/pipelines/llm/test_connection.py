"""Connections to served models: directly or through the environment's proxy, with a key that is never shown."""

import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from pipelines.llm import connection
from pipelines.llm.budget import Budget
from pipelines.llm.cache import CachedModel, ResponseCache
from pipelines.llm.calls import Call, Reply
from pipelines.llm.config import ServedModel
from pipelines.llm.openai import ServedTeacher
from pipelines.runtime.errors import UserError
from tests.support import chat_server as stub
from tests.support.chat_server import Server

pytestmark = pytest.mark.slow

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def model(url: str, key: str | None = None) -> ServedModel:
    values: dict[str, object] = {"kind": "openai", "url": url, "model": "wise", "revision": None, "max_concurrency": 4}
    values |= {"key": key, "timeout_s": 5.0, "context_tokens": None, "structured": "none", "price": None}
    return ServedModel.model_validate({**values, "extra_body": {}})


def ask(config: ServedModel, folder: Path) -> list[Reply]:
    cached = CachedModel(ServedTeacher(config, 3, Budget(None)), ResponseCache(folder / "calls.db"), "wise", "1", 3)
    return cached.ask([Call([{"role": "user", "content": "Why?"}], 9)], "asking")


def test_remote_server_is_called_through_the_proxy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    assert ask(model("http://teacher.example/v1"), tmp_path) == [Reply("Why?!")]
    assert server.headers[0]["host"] == "teacher.example"


def test_local_server_bypasses_the_proxy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(model(server.url), tmp_path) == [Reply("Why?!")]


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://a.example/v1", {"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://a.example/v1", {"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
        ("https://a.example/v1", {"HTTP_PROXY": "http://p:3128"}, None),
        ("https://a.example/v1", {"ALL_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://a.example/v1", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ".example"}, None),
        ("http://127.0.0.2:8000/v1", {"HTTP_PROXY": "http://p:3128"}, None),
        ("http://[::1]:8000/v1", {"HTTP_PROXY": "http://p:3128"}, None),
        ("http://localhost:8000/v1", {"HTTP_PROXY": "http://p:3128"}, None),
        ("http://a.example/v1", {}, None),
    ],
)
def test_proxy_of_an_address(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert connection.proxy(url) == proxy


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("http://me:secret@127.0.0.1:9", r"proxy http://127\.0\.0\.1:9; correct HTTPS_PROXY or HTTP_PROXY"),
        ("socks5://me:secret@127.0.0.1:9", r"only HTTP proxies are supported"),
    ],
)
def test_unusable_proxy_is_reported_without_its_password(
    monkeypatch: pytest.MonkeyPatch, named: str, sentence: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", named)
    with pytest.raises(UserError, match=sentence) as caught:
        ServedTeacher(model("http://teacher.example/v1"), 0, Budget(None))
    assert "secret" not in str(caught.value)


def test_proxy_that_requires_authentication_raises_user_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    server.faults = [stub.status(407)]
    with pytest.raises(UserError, match="cannot be reached through the environment's proxy"):
        ask(model("http://teacher.example/v1"), tmp_path)


def test_confusion_of_tls_and_plain_http_is_reported(server: Server) -> None:
    with pytest.raises(UserError, match=r"does not speak TLS; .* with http://"):
        ServedTeacher(model(server.url.replace("http:", "https:")), 0, Budget(None))
    server.listing, server.listed = 400, b"Client sent an HTTP request to an HTTPS server."
    with pytest.raises(UserError, match=r"expects TLS; .* with https://"):
        ServedTeacher(model(server.url), 0, Budget(None))


def test_tls_port_that_drops_plain_http_is_reported(server: Server) -> None:
    server.socket = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(server.socket, server_side=True)
    with pytest.raises(UserError, match=r"does not answer in HTTP; if it speaks TLS, .* with https://"):
        ServedTeacher(model(server.url), 0, Budget(None))


def test_untrusted_certificate_is_reported() -> None:
    key = ConnectionKey("teacher.example", 443, True, True, None, None, None)
    untrusted = ssl.SSLCertVerificationError(1, "certificate verify failed")
    untrusted.verify_message = "self-signed certificate"
    error = aiohttp.ClientConnectorCertificateError(key, untrusted)
    said = connection.unreachable(error, model("https://teacher.example/v1"))
    assert "not trusted (self-signed certificate)" in said and "SSL_CERT_FILE" in said


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://a.example", "http://", "http://[::1/v1", ""])
def test_invalid_url_is_reported(url: str) -> None:
    with pytest.raises(UserError, match="not an http address"):
        ServedTeacher(model(url), 0, Budget(None))


@pytest.mark.parametrize("key", ["sk-sec\nret", "sk-schlüssel", "sk sec", "\ufeffsk-sec"])
def test_key_invalid_in_a_header_is_reported_without_the_key(
    server: Server, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UserError, match="MY_KEY has a space, a line break") as caught:
        ServedTeacher(model(server.url, "MY_KEY"), 0, Budget(None))
    assert key not in str(caught.value)


def test_key_is_stripped_and_masked_in_messages(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret\n")
    server.faults = [stub.status(403, "no access for sk-secret")]
    with pytest.raises(UserError, match=r"rejects all calls: no access for \*\*\*") as caught:
        ask(model(server.url, "MY_KEY"), tmp_path)
    assert "sk-secret" not in str(caught.value)
    assert server.headers[0]["authorization"] == "Bearer sk-secret"
    monkeypatch.setenv("MY_KEY", "\n")
    with pytest.raises(UserError, match="needs a key; set MY_KEY"):
        ServedTeacher(model(server.url, "MY_KEY"), 0, Budget(None))
