"""How a served model is reached: its address, its key, the proxy between, and what stands in the way, as a sentence.

The environment's proxies are passed on explicitly: aiohttp's `trust_env` would also put a password of ~/.netrc in the
place of the key. No sentence holds a key, nor the user or password of an address.
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
    """Return an address without the user, password and query that it may hold."""
    return str(URL(url).with_user(None).with_query(None).with_fragment(None))


def check(config: ServedModel) -> None:
    """See that the address is one, and the key there and fit for a header.

    Raises:
        UserError: one is not.
    """
    try:
        good = URL(config.url).scheme in ("http", "https") and bool(URL(config.url).host)
    except ValueError:
        good = False
    if not good:
        raise UserError(
            f"teacher.models names {config.url!r} as url, which is no http address; write http://HOST:PORT/v1."
        )
    if config.key is None:
        return
    key = api_key(config)
    if not key:
        raise UserError(f"The teacher at {shown(config.url)} needs a key; set {config.key} in the environment.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"{config.key} holds a space, a line break or another character that no HTTP header takes; set it anew."
        )


def api_key(config: ServedModel) -> str | None:
    """Return the server's key, without the line break that reading it from a file leaves; None where none is used."""
    return os.environ.get(config.key, "").strip() if config.key is not None else None


def session(config: ServedModel) -> aiohttp.ClientSession:
    """Return a session of as many connections as calls may be under way. Call within an event loop."""
    key = api_key(config)
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else None,
        connector=aiohttp.TCPConnector(limit=config.max_concurrency),
        timeout=aiohttp.ClientTimeout(total=config.timeout_s),
        proxy=proxy(config.url),
    )


def proxy(url: str) -> str | None:
    """Return the environment's proxy for an address (HTTPS_PROXY, NO_PROXY, ...); this machine is asked directly.

    Raises:
        UserError: the proxy is of a kind that is not spoken here, such as SOCKS.
    """
    target = URL(url)
    host = target.host or ""
    if _loopback(host) or proxy_bypass(host):
        return None
    found = getproxies()
    named = found.get(target.scheme) or found.get("all")
    if not named:
        return None
    named = named if "://" in named else f"http://{named}"
    if URL(named).scheme not in ("http", "https"):
        raise UserError(
            f"The environment names {shown(named)} as proxy, but only HTTP proxies are spoken; name one, "
            f"or add {host} to NO_PROXY."
        )
    return named


def unreachable(error: Exception, config: ServedModel) -> str:
    """Return why a server cannot be reached, and what to do, as a sentence."""
    teacher = f"The teacher at {shown(config.url)}"
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return proxy_refuses(config)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"{teacher} has a TLS certificate that is not trusted ({_reason(error.certificate_error)}); name its "
            "authority's file in SSL_CERT_FILE, or correct its url in teacher.models."
        )
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return f"{teacher} does not speak TLS; if it speaks plain HTTP, begin its url in teacher.models with http://."
    connected = isinstance(error, aiohttp.ClientConnectionError) and not isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError
    )
    if connected or isinstance(error, aiohttp.ClientResponseError):
        return f"{teacher} does not answer in HTTP; if it speaks TLS, begin its url in teacher.models with https://."
    return f"{teacher} does not answer; start it, or correct its url in teacher.models."


def proxy_refuses(config: ServedModel) -> str:
    """Return the sentence on a proxy that does not answer, or does not let the calls through."""
    return (
        f"The teacher at {shown(config.url)} is not reached through the environment's proxy "
        f"{shown(proxy(config.url) or '')}; correct HTTPS_PROXY or HTTP_PROXY, or add its host to NO_PROXY."
    )


def expects_tls(page: str) -> bool:
    """Tell whether a server complains, as nginx, Apache and Go do, that its TLS port was spoken to in plain HTTP."""
    return any(words in page.casefold() for words in _PLAIN_TO_TLS)


def _reason(error: Exception) -> str:
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
