"""The text of a Word file's stories (the body, a note, a text box) as its reader sees it, each word once.

Insertions and the targets of moves are text; deletions, the sources of moves, hidden text and the instructions of
fields are not. A text box and a note follow the paragraph, or the table, that refers to them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.data.extract.office import docx_math, docx_symbols
from pipelines.data.extract.office.docx_styles import Styles, attribute, is_hidden, is_item, value
from pipelines.data.extract.office.zip_package import local

_LEFT_OUT = frozenset({"del", "moveFrom", "delText", "instrText", "delInstrText", "rt", "tblGrid"})  # rt: a reading
_CHARACTERS = {"tab": " ", "ptab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_BOXES = ("txbxContent", "txBody")  # of shapes, and of drawings
_NOTES = ("footnoteReference", "endnoteReference")
_GONE = ("del", "hidden", "cellDel")  # what the properties of a row or a cell say
_WHITE = str.maketrans("\t\r\n", "   ")


@dataclass
class Block:
    """A paragraph or a table as text."""

    text: str
    is_item: bool = False
    is_table: bool = False


@dataclass
class _Line:
    """A paragraph that is being read: its pieces of text, and what it refers to."""

    style: str | None
    pieces: list[str] = field(default_factory=list)
    fields: list[int | None] = field(default_factory=list)
    """For each open field the piece its instruction begins with; None behind the instruction."""

    def turn(self, kind: str | None) -> None:
        """Begin a field, or remove what was its instruction."""
        if kind == "begin":
            self.fields.append(len(self.pieces))
        elif self.fields:
            start = self.fields.pop()
            del self.pieces[len(self.pieces) if start is None else start :]
            if kind == "separate":
                self.fields.append(None)


class Reader:
    """Reads stories with the styles and the notes of one file; collects the headings."""

    def __init__(self, styles: Styles, notes: Mapping[tuple[str, str | None], Any]) -> None:
        """Take the notes by the local name of their reference and their id."""
        self.styles, self.notes = styles, dict(notes)
        self.headings: list[str] = []
        self.references: list[Any] = []
        self.tables = 0  # that are being read

    def blocks(self, element: Any) -> list[Block]:
        """Return the blocks of an element, in their order."""
        found: list[Block] = []
        joined: list[str] = []
        self._blocks(element, found, joined)
        self._end(joined, found)
        return found

    def _blocks(self, element: Any, found: list[Block], joined: list[str]) -> None:
        """Add the blocks below an element; `joined` holds the text before a paragraph mark that was deleted."""
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
            found += [Block(text, is_item=self._is_item(element, line.style, heading))] if text else []
        self._follow(found)

    def _end(self, joined: list[str], found: list[Block]) -> None:
        """Make a paragraph of text that none follows to be joined with."""
        text = "".join(joined).strip()
        joined.clear()
        found += [Block(text)] if text else []

    def _is_item(self, element: Any, style: str | None, heading: bool) -> bool:
        own = is_item(element)
        return own if own is not None else not heading and self.styles.items.get(style or "", False)

    def _follow(self, found: list[Block]) -> None:
        """Outside of tables, add the text boxes and notes referred to; a note that is referred to twice comes once."""
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
                line.turn(attribute(child, "fldCharType"))
            elif name in _BOXES or name in _NOTES:
                self.references.append(child)
            elif name == "AlternateContent":
                self._inline(_chosen(child), line)
            elif name == "r" and self._hidden(child, line):
                for mark in child.iterfind("{*}fldChar"):
                    line.turn(attribute(mark, "fldCharType"))
            elif name:
                self._inline(child, line)

    def _hidden(self, run: Any, line: _Line) -> bool:
        """Return whether a run is hidden: itself, else by one of its styles (two cancel out: ISO 29500-1, 17.7.3)."""
        own = is_hidden(run)
        styles = (line.style, value(run, "rPr/rStyle"))
        return sum(self.styles.hidden.get(each or "", False) for each in styles) == 1 if own is None else own

    def _table(self, element: Any, found: list[Block]) -> None:
        """Add a table, a row on each line; the cells of a row that holds tables stand on lines of their own."""
        self.tables += 1
        lines: list[str] = []
        for row in _below(element, "tr"):
            cells = [self.blocks(cell) for cell in _below(row, "tc")]
            if len(cells) == 1 or any(block.is_table for cell in cells for block in cell):
                lines += [block.text for cell in cells for block in cell]
            else:
                texts = [" ".join(" ".join(block.text for block in cell).split()) for cell in cells]
                lines += [" | ".join(texts)] if any(texts) else []
        found += [Block("\n".join(lines), is_table=True)] if lines else []
        self.tables -= 1
        self._follow(found)


def _name(element: Any) -> str:
    """Return the local name of an element that may hold text; nothing for one that holds none, or no text to read."""
    name = local(element.tag) if isinstance(element.tag, str) else ""
    return "" if name in _LEFT_OUT or name.endswith("Pr") else name


def _chosen(element: Any) -> Any:
    """Return the first of the alternatives (Choice, then Fallback) that has text; they say the same."""
    return next((each for each in element if next(each.iter("{*}t", "{*}sym"), None) is not None), ())


def _below(element: Any, name: str) -> Iterator[Any]:
    """Yield the rows of a table or the cells of a row, those in content controls, too, without what is not shown."""
    for child in element:
        if _name(child) == name:
            if not any(child.find(f"{{*}}{name}Pr/{{*}}{mark}") is not None for mark in _GONE):
                yield child
        elif _name(child):
            yield from _below(_chosen(child) if _name(child) == "AlternateContent" else child, name)


def _font(run: Any) -> str | None:
    fonts = run.find("{*}rPr/{*}rFonts")
    return None if fonts is None else attribute(fonts, "ascii")
