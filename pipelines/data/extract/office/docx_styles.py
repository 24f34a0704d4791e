"""What the styles of a Word file say about the text they are given to: headings, list items, hidden text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.data.extract.office.zip_package import local

_OFF = ("0", "false", "off")


@dataclass(frozen=True)
class Styles:
    """By a style's id: whether a heading has it, and what it sets where it sets anything."""

    headings: frozenset[str] = frozenset()
    hidden: Mapping[str, bool] = field(default_factory=dict)
    items: Mapping[str, bool] = field(default_factory=dict)


def styles(root: Any) -> Styles:
    """Read a part of styles; the names of headings are English in every language, their ids are not."""
    every = {attribute(each, "styleId") or "": each for each in root.iterfind("{*}style")}
    names = {key: (value(each, "name") or "").lower() for key, each in every.items()}
    headings = frozenset(key for key, name in names.items() if name.startswith("heading"))
    hidden = {key: found for key in every if (found := _inherited(every, key, is_hidden)) is not None}
    items = {key: found for key in every if (found := _inherited(every, key, is_item)) is not None}
    return Styles(headings, hidden, items)


def is_hidden(element: Any) -> bool | None:
    """Return what a run's or a style's own properties set: hidden, shown, or nothing."""
    found = element.find("{*}rPr/{*}vanish")
    return None if found is None else attribute(found, "val") not in _OFF


def is_item(element: Any) -> bool | None:
    """Return what a paragraph's or a style's own properties set: in a list, in none, or nothing."""
    found = element.find("{*}pPr/{*}numPr")
    return None if found is None else value(found, "numId") != "0"


def value(element: Any, path: str) -> str | None:
    """Return the value of a property, found by the local names of its path."""
    found = element.find("/".join(f"{{*}}{step}" for step in path.split("/")))
    return None if found is None else attribute(found, "val")


def attribute(element: Any, name: str) -> str | None:
    """Return an attribute by its local name: the strict and the transitional format differ in namespaces only."""
    return next((text for key, text in element.attrib.items() if local(key) == name), None)


def _inherited(every: Mapping[str, Any], key: str, own: Any) -> bool | None:
    settings = (own(each) for each in _lineage(every, key))
    return next((each for each in settings if each is not None), None)


def _lineage(every: Mapping[str, Any], key: str | None) -> Iterator[Any]:
    """Yield a style and those it is based on, each once."""
    seen: set[str] = set()
    while key is not None and key in every and key not in seen:
        seen.add(key)
        yield every[key]
        key = value(every[key], "basedOn")
