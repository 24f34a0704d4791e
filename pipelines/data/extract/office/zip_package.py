"""A ZIP file of named parts, which Word files (OPC, ISO/IEC 29500-2) and EPUB books (OCF) are.

A part that cannot be read is noted, so that the reader goes on with the others.
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
    """The parts of a file, each at most `limit` bytes, by names that do not distinguish case (OPC, 6.2.2.3)."""

    def __init__(self, archive: zipfile.ZipFile, limit: int) -> None:
        """Read from `archive`."""
        self.archive, self.limit = archive, limit
        self.names = {_folded(name): name for name in archive.namelist()}
        self.unreadable: list[UnreadablePart] = []

    def __contains__(self, name: str) -> bool:
        """Return whether the package holds a part of that name."""
        return _folded(name) in self.names

    def data(self, name: str) -> bytes:
        """Return a part's bytes.

        Raises:
            UnreadableError: it is missing, damaged, encrypted or too large.
        """
        if name not in self:
            raise UnreadableError("missing")
        try:
            return member(self.archive, self.names[_folded(name)], self.limit)
        except (NotImplementedError, RuntimeError, *DAMAGED) as error:  # zipfile's own for encryption and methods
            raise UnreadableError("encrypted" if "encrypted" in str(error) else f"damaged: {error}") from error

    def xml(self, name: str) -> Any:
        """Return the root of a part, parsed without looking at anything outside of it.

        Raises:
            UnreadableError: it cannot be read or is not XML.
        """
        try:
            return etree.fromstring(self.data(name), etree.XMLParser(**_PARSER))
        except (etree.XMLSyntaxError, ValueError) as error:
            raise UnreadableError(f"not XML: {error}") from error

    def attempt(self, name: str, read: Callable[[str], T]) -> T | None:
        """Return what `read` makes of a part; where that fails, note the part and return None."""
        try:
            return read(name)
        except UnreadableError as reason:
            self.unreadable.append(UnreadablePart(name, str(reason)))
            return None


def beside(name: str, target: str) -> str:
    """Return the name of the part that `target`, a relative or absolute reference in the part `name`, means."""
    path = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), unquote(target)))
    return path.lstrip("/")


@lru_cache(maxsize=4096)
def local(tag: str) -> str:
    """Return a tag or attribute without its namespace."""
    return tag.rpartition("}")[2]


def _folded(name: str) -> str:
    return name.replace("\\", "/").lower()
