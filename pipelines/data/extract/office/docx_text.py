"""Visible text of a Word file's stories (body, notes, text boxes), each word once.

Insertions and move targets are included; deletions, move sources, hidden text and field instructions are not. Text
boxes and notes follow the paragraph or table that refers to them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.data.extract.office import docx_math, docx_symbols
from pipelines.data.extract.office.docx_styles import Styles, attribute, is_hidden, is_item, value
from pipelines.data.extract.office.zip_package import local
from pipelines.text import layout

_LEFT_OUT = frozenset({"del", "moveFrom", "delText", "instrText", "delInstrText", "rt", "tblGrid"})  # rt: ruby text
_CHARACTERS = {"tab": " ", "ptab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_BOXES = ("txbxContent", "txBody")  # text boxes of shapes and of drawings
_NOTES = ("footnoteReference", "endnoteReference")
_INVISIBLE = ("del", "hidden", "cellDel")  # properties of invisible rows and cells
_WHITE = str.maketrans("\t\r\n", "   ")


@dataclass
class Block:
    """A paragraph or a table as text."""

    text: str
    is_item: bool = False
    is_table: bool = False


@dataclass
class _Line:
    """A paragraph being read: its pieces of text and its open fields."""

    style: str | None
    pieces: list[str] = field(default_factory=list)
    fields: list[int | None] = field(default_factory=list)
    """Index of the first instruction piece of each open field; None after the instruction."""

    def field_mark(self, kind: str | None) -> None:
        """Open a field, or remove its instruction when the instruction ends."""
        if kind == "begin":
            self.fields.append(len(self.pieces))
        elif self.fields:
            start = self.fields.pop()
            del self.pieces[len(self.pieces) if start is None else start :]
            if kind == "separate":
                self.fields.append(None)


class Reader:
    """Reads stories with the styles and notes of one file, and collects the titles and headings."""

    def __init__(self, styles: Styles, notes: Mapping[tuple[str, str | None], Any]) -> None:
        """Store the styles and the notes, keyed by the local name of the reference and the id."""
        self.styles, self.notes = styles, dict(notes)
        self.titles: list[str] = []
        self.headings: list[str] = []
        self.references: list[Any] = []
        self.tables = 0  # nesting depth of the current table

    def blocks(self, element: Any) -> list[Block]:
        """Return the blocks of an element in document order."""
        found: list[Block] = []
        joined: list[str] = []
        self._blocks(element, found, joined)
        self._end(joined, found)
        return found

    def _blocks(self, element: Any, found: list[Block], joined: list[str]) -> None:
        """Add the blocks below an element; `joined` holds the text before a deleted paragraph mark."""
        for child in element:
            name = _name(child)
            if name == "p":
                self._paragraph(child, found, joined)
            elif name == "tbl":
                self._end(joined, found)
                self._table(child, found)
            elif name in ("oMath", "oMathPara"):
                found.append(Block(docx_math.linear(child)))
            elif name == "AlternateContent":
                self._blocks(_chosen(child), found, joined)
            elif name:
                self._blocks(child, found, joined)

    def _paragraph(self, element: Any, found: list[Block], joined: list[str]) -> None:
        line = _Line(value(element, "pPr/pStyle"), joined.copy())
        joined.clear()
        self._inline(element, line)
        if any(element.find(f"{{*}}pPr/{{*}}rPr/{{*}}{mark}") is not None for mark in ("del", "moveFrom")):
            joined += line.pieces
        else:
            text = "".join(line.pieces).strip()
            heading = line.style in self.styles.headings
            self.headings += [text] if heading and text else []
            self.titles += [text] if line.style in self.styles.titles and text else []
            found += [Block(text, is_item=self._is_item(element, line.style, heading))] if text else []
        self._follow(found)

    def _end(self, joined: list[str], found: list[Block]) -> None:
        """Add the joined text as a paragraph, when no paragraph follows to join it with."""
        text = "".join(joined).strip()
        joined.clear()
        found += [Block(text)] if text else []

    def _is_item(self, element: Any, style: str | None, heading: bool) -> bool:
        own = is_item(element)
        return own if own is not None else not heading and self.styles.items.get(style or "", False)

    def _follow(self, found: list[Block]) -> None:
        """Outside tables, add the referenced text boxes and notes; a note referenced twice is added once."""
        if self.tables:
            return
        references, self.references = self.references, []
        for element in references:
            key = (local(element.tag), attribute(element, "id"))
            content = self.notes.pop(key, None) if key[0] in _NOTES else element
            found += [] if content is None else self.blocks(content)

    def _inline(self, element: Any, line: _Line) -> None:
        """Add the text below an element to the paragraph."""
        for child in element:
            name = _name(child)
            if name == "t":
                line.pieces.append(docx_symbols.readable((child.text or "").translate(_WHITE), _font(element)))
            elif name == "sym":
                line.pieces.append(docx_symbols.character(attribute(child, "char"), attribute(child, "font")))
            elif name in _CHARACTERS:
                line.pieces.append(_CHARACTERS[name])
            elif name == "oMath":
                line.pieces.append(docx_math.linear(child))
            elif name == "fldChar":
                line.field_mark(attribute(child, "fldCharType"))
            elif name in _BOXES or name in _NOTES:
                self.references.append(child)
            elif name == "AlternateContent":
                self._inline(_chosen(child), line)
            elif name == "r" and self._hidden(child, line):
                for mark in child.iterfind("{*}fldChar"):
                    line.field_mark(attribute(mark, "fldCharType"))
            elif name:
                self._inline(child, line)

    def _hidden(self, run: Any, line: _Line) -> bool:
        """Return whether a run is hidden, by itself or by exactly one of its styles (ISO 29500-1, 17.7.3: toggle)."""
        own = is_hidden(run)
        styles = (line.style, value(run, "rPr/rStyle"))
        return sum(self.styles.hidden.get(each or "", False) for each in styles) == 1 if own is None else own

    def _table(self, element: Any, found: list[Block]) -> None:
        """Add a table with one line per row; cells of a row with nested tables are on separate lines."""
        self.tables += 1
        lines: list[str] = []
        for row in _below(element, "tr"):
            cells = [self.blocks(cell) for cell in _below(row, "tc")]
            if len(cells) == 1 or any(block.is_table for cell in cells for block in cell):
                lines += [block.text for cell in cells for block in cell]
            else:
                texts = [" ".join(" ".join(block.text for block in cell).split()) for cell in cells]
                lines += [layout.row(texts)] if any(texts) else []
        found += [Block("\n".join(lines), is_table=True)] if lines else []
        self.tables -= 1
        self._follow(found)


def _name(element: Any) -> str:
    """Return the local name of an element that may contain visible text, else an empty string."""
    name = local(element.tag) if isinstance(element.tag, str) else ""
    return "" if name in _LEFT_OUT or name.endswith("Pr") else name


def _chosen(element: Any) -> Any:
    """Return the first alternative (Choice, then Fallback) that has text; alternatives have the same content."""
    return next((each for each in element if next(each.iter("{*}t", "{*}sym"), None) is not None), ())


def _below(element: Any, name: str) -> Iterator[Any]:
    """Yield the visible rows of a table or cells of a row, including those in content controls."""
    for child in element:
        if _name(child) == name:
            if not any(child.find(f"{{*}}{name}Pr/{{*}}{mark}") is not None for mark in _INVISIBLE):
                yield child
        elif _name(child):
            yield from _below(_chosen(child) if _name(child) == "AlternateContent" else child, name)


def _font(run: Any) -> str | None:
    fonts = run.find("{*}rPr/{*}rFonts")
    return None if fonts is None else attribute(fonts, "ascii")
