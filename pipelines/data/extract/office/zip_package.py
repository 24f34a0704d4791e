"""ZIP package of named parts, the container of Word files (OPC, ISO/IEC 29500-2) and EPUB books (OCF).

Unreadable parts are recorded, so that the reader can continue with the others.
"""

import posixpath
import zipfile
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote

from lxml import etree

from pipelines.data.documents import UnreadableError, UnreadablePart
from pipelines.data.extract.archives import DAMAGED, member

T = TypeVar("T")
_PARSER = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}


class Package:
    """The parts of a file, each of at most `limit` bytes, by case-insensitive names (OPC, 6.2.2.3)."""

    def __init__(self, archive: zipfile.ZipFile, limit: int) -> None:
        """Read from `archive`."""
        self.archive, self.limit = archive, limit
        self.names = {_folded(name): name for name in archive.namelist()}
        self.unreadable: list[UnreadablePart] = []

    def __contains__(self, name: str) -> bool:
        """Return whether the package has a part of that name."""
        return _folded(name) in self.names

    def data(self, name: str) -> bytes:
        """Return a part's bytes.

        Raises:
            UnreadableError: the part is missing, damaged, encrypted or too large.
        """
        if name not in self:
            raise UnreadableError("missing")
        try:
            return member(self.archive, self.names[_folded(name)], self.limit)
        except (RuntimeError, *DAMAGED) as error:  # zipfile raises RuntimeError for encryption
            raise UnreadableError("encrypted" if "encrypted" in str(error) else f"damaged: {error}") from error

    def xml(self, name: str) -> Any:
        """Return the root of an XML part, parsed without external entities or network access.

        Raises:
            UnreadableError: the part cannot be read or is not XML.
        """
        try:
            return etree.fromstring(self.data(name), etree.XMLParser(**_PARSER))
        except (etree.XMLSyntaxError, ValueError) as error:
            raise UnreadableError(f"not XML: {error}") from error

    def attempt(self, name: str, read: Callable[[str], T]) -> T | None:
        """Return `read(name)`; if it fails, record the part as unreadable and return None."""
        try:
            return read(name)
        except UnreadableError as reason:
            self.unreadable.append(UnreadablePart(name, str(reason)))
            return None


def resolve_name(name: str, target: str) -> str:
    """Resolve `target`, a relative or absolute reference in the part `name`, to a part name."""
    path = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), unquote(target)))
    return path.lstrip("/")


@lru_cache(maxsize=4096)
def local(tag: str) -> str:
    """Return a tag or attribute without its namespace."""
    return tag.rpartition("}")[2]


def _folded(name: str) -> str:
    return name.replace("\\", "/").lower()
