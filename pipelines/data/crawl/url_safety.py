"""SSRF protection: allow only public addresses, checked after name resolution and on every redirect."""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver


class RefusedError(Exception):
    """A URL that is not fetched. The message is the reason."""


class PublicResolver(AbstractResolver):
    """Resolver that refuses private addresses; the connection uses the checked address, which defeats rebinding."""

    def __init__(self) -> None:
        """Create a resolver that uses the system's."""
        self.system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`.

        Raises:
            RefusedError: one of the addresses is not public.
        """
        found = await self.system.resolve(host, port, family)
        for each in found:
            check_address(each["host"])
        return found

    async def close(self) -> None:
        """Close the system resolver."""
        await self.system.close()


def check_address(address: str) -> None:
    """Refuse an address that is private, loopback, link-local, reserved or multicast.

    Raises:
        RefusedError: the address is not public.
    """
    parsed: Any = ipaddress.ip_address(address.partition("%")[0])
    inner = parsed.ipv4_mapped if parsed.version == 6 else None
    if not (inner or parsed).is_global or parsed.is_multicast:
        raise RefusedError(f"{address} is not a public address")


def check_url(url: str, allow_private: bool) -> None:
    """Refuse a URL that is not HTTP(S) or contains a private IP address.

    Raises:
        RefusedError: the URL is invalid or not allowed.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedError(f"invalid URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise RefusedError("not an HTTP or HTTPS URL")
    if allow_private:
        return
    try:
        check_address(host)
    except ValueError:
        return  # a host name; it is checked when it is resolved
