"""Styles of a Word file: which ones mark titles, headings, list items and hidden text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.data.extract.office.zip_package import local

_OFF = ("0", "false", "off")


@dataclass(frozen=True)
class Styles:
    """Style ids of titles and headings; explicit settings for hidden text and list items by style id."""

    titles: frozenset[str] = frozenset()
    headings: frozenset[str] = frozenset()
    hidden: Mapping[str, bool] = field(default_factory=dict)
    items: Mapping[str, bool] = field(default_factory=dict)


def styles(root: Any) -> Styles:
    """Read the styles part; its names are English in every language, but the ids are not."""
    every = {attribute(each, "styleId") or "": each for each in root.iterfind("{*}style")}
    names = {key: (value(each, "name") or "").lower() for key, each in every.items()}
    headings = frozenset(key for key, name in names.items() if name.startswith("heading"))
    titles = frozenset(key for key, name in names.items() if name == "title")
    hidden = {key: found for key in every if (found := _inherited(every, key, is_hidden)) is not None}
    items = {key: found for key in every if (found := _inherited(every, key, is_item)) is not None}
    return Styles(titles, headings, hidden, items)


def is_hidden(element: Any) -> bool | None:
    """Return whether a run's or style's own properties set hidden text, or None if they do not set it."""
    found = element.find("{*}rPr/{*}vanish")
    return None if found is None else attribute(found, "val") not in _OFF


def is_item(element: Any) -> bool | None:
    """Return whether a paragraph's or style's own properties set a list item, or None if they do not set it."""
    found = element.find("{*}pPr/{*}numPr")
    return None if found is None else value(found, "numId") != "0"


def value(element: Any, path: str) -> str | None:
    """Return the value of the property at a path of local names."""
    found = element.find("/".join(f"{{*}}{step}" for step in path.split("/")))
    return None if found is None else attribute(found, "val")


def attribute(element: Any, name: str) -> str | None:
    """Return an attribute by its local name, since strict and transitional OOXML differ in namespaces only."""
    return next((text for key, text in element.attrib.items() if local(key) == name), None)


def _inherited(every: Mapping[str, Any], key: str, own: Any) -> bool | None:
    settings = (own(each) for each in _lineage(every, key))
    return next((each for each in settings if each is not None), None)


def _lineage(every: Mapping[str, Any], key: str | None) -> Iterator[Any]:
    """Yield a style and its base styles, each once."""
    seen: set[str] = set()
    while key is not None and key in every and key not in seen:
        seen.add(key)
        yield every[key]
        key = value(every[key], "basedOn")
