"""Which machines may be asked: those of the public internet, whatever a name says and wherever an answer leads."""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver


class RefusedError(Exception):
    """An address that is not asked. Its message is the reason."""


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses private addresses; the connection goes to the very address that was checked."""

    def __init__(self) -> None:
        """Ask the system."""
        self.system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`.

        Raises:
            RefusedError: one of them is private.
        """
        found = await self.system.resolve(host, port, family)
        for each in found:
            check_address(each["host"])
        return found

    async def close(self) -> None:
        """Nothing is open."""
        await self.system.close()


def check_address(address: str) -> None:
    """Refuse an address that is private, of this machine, of this network, reserved or for many.

    Raises:
        RefusedError: it is.
    """
    parsed: Any = ipaddress.ip_address(address.partition("%")[0])
    inner = parsed.ipv4_mapped if parsed.version == 6 else None
    if not (inner or parsed).is_global or parsed.is_multicast:
        raise RefusedError(f"{address} is no public address")


def check_url(url: str, allow_private: bool) -> None:
    """Refuse what is no web address, or names a private machine by its number.

    Raises:
        RefusedError: it does.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedError(f"no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise RefusedError("not an address of the web (http or https)")
    if allow_private:
        return
    try:
        check_address(host)
    except ValueError:
        return  # a name; it is checked when it is resolved
