"""Word equations (OMML) in the linear format of Unicode Technical Note 28, without its invisible operators."""

from collections.abc import Callable
from typing import Any

from pipelines.data.extract.office.docx_styles import value
from pipelines.data.extract.office.zip_package import local

_LEFT_OUT = ("del", "moveFrom")  # tracked changes


def linear(element: Any) -> str:
    """Return an equation, or a part of one, as a line of text."""
    if not isinstance(element.tag, str) or local(element.tag) in _LEFT_OUT or element.tag.endswith("Pr"):
        return ""
    name = local(element.tag)
    if name == "t":
        return element.text or ""
    return _WRITE.get(name, _joined)(element)


def _joined(element: Any) -> str:
    return "".join(map(linear, element))


def _part(element: Any, name: str) -> str:
    """Return a named argument, in parentheses unless it is a single number or name."""
    found = element.find(f"{{*}}{name}")
    text = "" if found is None else linear(found)
    return text if text.isalnum() or len(text) < 2 else f"({text})"


def _fraction(element: Any) -> str:
    return f"{_part(element, 'num')}/{_part(element, 'den')}"


def _scripts(element: Any) -> str:
    """Return a base with its subscript and superscript."""
    below, above = _part(element, "sub"), _part(element, "sup")
    return _part(element, "e") + (f"_{below}" if below else "") + (f"^{above}" if above else "")


def _limit(element: Any) -> str:
    return f"{_part(element, 'e')}{'_' if local(element.tag) == 'limLow' else '^'}{_part(element, 'lim')}"


def _root(element: Any) -> str:
    degree, base = _joined_part(element, "deg"), _joined_part(element, "e")
    return f"√({degree}&{base})" if degree else f"√{_part(element, 'e')}"


def _operator(element: Any) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    sign = value(element, "naryPr/chr") or "∫"
    return sign + (f"_{below}" if below else "") + (f"^{above}" if above else "") + f" {_joined_part(element, 'e')}"


def _brackets(element: Any) -> str:
    opening, between, closing = (value(element, f"dPr/{each}") for each in ("begChr", "sepChr", "endChr"))
    inner = ("|" if between is None else between).join(map(linear, element.iterfind("{*}e")))
    return f"{'(' if opening is None else opening}{inner}{')' if closing is None else closing}"


def _function(element: Any) -> str:
    return f"{_joined_part(element, 'fName')} {_part(element, 'e')}"


def _matrix(element: Any) -> str:
    return "; ".join(", ".join(map(linear, row.iterfind("{*}e"))) for row in element.iterfind("{*}mr"))


def _lines(element: Any) -> str:
    return "; ".join(map(linear, element.iterfind("{*}e")))


def _joined_part(element: Any, name: str) -> str:
    found = element.find(f"{{*}}{name}")
    return "" if found is None else linear(found)


_WRITE: dict[str, Callable[[Any], str]] = {
    "f": _fraction,
    "sSub": _scripts,
    "sSup": _scripts,
    "sSubSup": _scripts,
    "sPre": _scripts,
    "limLow": _limit,
    "limUpp": _limit,
    "rad": _root,
    "nary": _operator,
    "d": _brackets,
    "func": _function,
    "m": _matrix,
    "eqArr": _lines,
}
