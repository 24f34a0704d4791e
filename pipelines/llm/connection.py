"""Connection to a served model: address, API key, proxy, and error messages for connection failures.

The environment's proxies are passed explicitly: aiohttp's `trust_env` would also replace the key by a password from
~/.netrc. No message contains a key, or the user or password of an address.
"""

import ipaddress
import os
import ssl
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from pipelines.llm.config import ServedModel
from pipelines.runtime.errors import UserError

_PLAIN_TO_TLS = ("plain http", "http request to an https", "https port", "ssl-enabled")


def shown(url: str) -> str:
    """Return an address without user, password, query and fragment."""
    return str(URL(url).with_user(None).with_query(None).with_fragment(None))


def check(config: ServedModel) -> None:
    """Check that the address is valid, and that the key exists and can be sent in an HTTP header.

    Raises:
        UserError: the address or the key is not usable.
    """
    try:
        good = URL(config.url).scheme in ("http", "https") and bool(URL(config.url).host)
    except ValueError:
        good = False
    if not good:
        raise UserError(
            f"teacher.models has the url {config.url!r}, which is not an http address; write http://HOST:PORT/v1."
        )
    if config.key is None:
        return
    key = api_key(config)
    if not key:
        raise UserError(f"The teacher at {shown(config.url)} needs a key; set {config.key} in the environment.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"{config.key} has a space, a line break or another character that HTTP headers cannot hold; set it again."
        )


def api_key(config: ServedModel) -> str | None:
    """Return the server's key, stripped of line breaks left from reading it from a file; None for a keyless server."""
    return os.environ.get(config.key, "").strip() if config.key is not None else None


def session(config: ServedModel) -> aiohttp.ClientSession:
    """Return a session limited to `max_concurrency` connections. Call within an event loop."""
    key = api_key(config)
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else None,
        connector=aiohttp.TCPConnector(limit=config.max_concurrency),
        timeout=aiohttp.ClientTimeout(total=config.timeout_s),
        proxy=proxy(config.url),
    )


def proxy(url: str) -> str | None:
    """Return the environment's proxy for an address (HTTPS_PROXY, NO_PROXY, ...); None for loopback addresses.

    Raises:
        UserError: the proxy is not an HTTP proxy (SOCKS, for example).
    """
    target = URL(url)
    host = target.host or ""
    if _loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    named = proxies.get(target.scheme) or proxies.get("all")
    if not named:
        return None
    named = named if "://" in named else f"http://{named}"
    if URL(named).scheme not in ("http", "https"):
        raise UserError(
            f"The environment names {shown(named)} as proxy, but only HTTP proxies are supported; name one, "
            f"or add {host} to NO_PROXY."
        )
    return named


def unreachable(error: Exception, config: ServedModel) -> str:
    """Return the message for a server that cannot be reached: the cause and the remedy."""
    teacher = f"The teacher at {shown(config.url)}"
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return proxy_failed(config)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"{teacher} has a TLS certificate that is not trusted ({_reason(error.certificate_error)}); set "
            "SSL_CERT_FILE to the file of its authority, or correct its url in teacher.models."
        )
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return f"{teacher} does not speak TLS; if it speaks plain HTTP, begin its url in teacher.models with http://."
    connected = isinstance(error, aiohttp.ClientConnectionError) and not isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError
    )
    if connected or isinstance(error, aiohttp.ClientResponseError):
        return f"{teacher} does not answer in HTTP; if it speaks TLS, begin its url in teacher.models with https://."
    return f"{teacher} does not answer; start it, or correct its url in teacher.models."


def proxy_failed(config: ServedModel) -> str:
    """Return the message for a proxy that does not answer or rejects the calls."""
    return (
        f"The teacher at {shown(config.url)} cannot be reached through the environment's proxy "
        f"{shown(proxy(config.url) or '')}; correct HTTPS_PROXY or HTTP_PROXY, or add its host to NO_PROXY."
    )


def expects_tls(page: str) -> bool:
    """Return whether an error page says that plain HTTP was sent to a TLS port, as nginx, Apache and Go report it."""
    return any(words in page.casefold() for words in _PLAIN_TO_TLS)


def _reason(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
