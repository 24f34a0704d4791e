"""Files with a document in each row: JSON Lines and Parquet, read as a stream."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.documents import Content, UnreadableError
from pipelines.data.extract import dates, plain
from pipelines.data.extract.archives import DAMAGED
from pipelines.text.encoding import parse_json

TEXT_COLUMNS = ("text", "content", "body", "document")
DATE_COLUMNS = ("date", "published", "timestamp", "created")
_UNREPRESENTABLE = (ArithmeticError, LookupError, ValueError)
"""Exceptions raised by pyarrow for values that Python cannot represent, such as a five-digit year."""


def lines(stream: Any, longest: int) -> Iterator[Content | UnreadableError]:
    """Yield a document, or an error, for each line of JSON; lines longer than `longest` bytes are skipped."""
    buffered = io.BufferedReader(stream) if isinstance(stream, io.RawIOBase) else stream
    while line := buffered.readline(longest + 1):
        if len(line) > longest:
            while line and not line.endswith(b"\n"):
                line = buffered.readline(longest + 1)
            yield UnreadableError(f"a line longer than {longest} bytes")
        elif line.strip():
            yield _row(line)


def _row(line: bytes) -> Content | UnreadableError:
    try:
        row = parse_json(line, parse_int=float)  # numbers are used for dates only; int() rejects over 4,300 digits
    except (json.JSONDecodeError, UnicodeDecodeError):
        return UnreadableError("not JSON")
    except ValueError as error:
        return UnreadableError(str(error))
    return content(row) if isinstance(row, dict) else UnreadableError("no JSON object")


def content(row: dict[str, Any]) -> Content | UnreadableError:
    """Return the document of a row, read from columns with common names."""
    text = next((found for name in TEXT_COLUMNS if (found := _string(row.get(name))) is not None), None)
    if text is None:
        return UnreadableError(f"no column of text ({', '.join(TEXT_COLUMNS)})")
    dated = (row.get(name) for name in DATE_COLUMNS)
    when = next((found for value in dated if (found := dates.parsed(_string(value) or value))), None)
    return Content(text, _string(row.get("title")), _string(row.get("url")), when)


def _string(value: Any) -> str | None:
    """Return a text value, else None; bytes (an untyped Parquet column) are decoded like a text file."""
    try:
        return plain.decode(value) if isinstance(value, bytes) else value if isinstance(value, str) else None
    except UnreadableError:
        return None


def table(stream: Any) -> Iterator[Content | UnreadableError]:
    """Yield a document, or an error, for each row of a Parquet file, with one batch of rows in memory at a time."""
    file = pq.ParquetFile(stream)
    names = [name for name in (*TEXT_COLUMNS, *DATE_COLUMNS, "title", "url") if name in file.schema_arrow.names]
    if not set(names) & set(TEXT_COLUMNS):
        raise UnreadableError(f"no column of text ({', '.join(TEXT_COLUMNS)})")
    for group in range(file.num_row_groups):
        try:
            for batch in file.iter_batches(batch_size=256, row_groups=[group], columns=names):
                columns = {name: _values(batch.column(name)) for name in batch.schema.names}
                yield from map(
                    content, (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
                )
        except DAMAGED as error:
            yield UnreadableError(f"row group {group + 1} is damaged: {error}")


def _values(column: pa.Array) -> list[Any]:
    """Return the cells of a column: None for a time that Python cannot represent, bytes for text that is not UTF-8."""
    try:
        return list(column.to_pylist())
    except _UNREPRESENTABLE:
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return cell.cast(pa.binary()).as_py()
    except _UNREPRESENTABLE:
        return None
