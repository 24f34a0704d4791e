"""Text, JSON, JSONL and YAML files that a user may have written: parsed, or one sentence: file, line, what to do."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from pipelines.runtime.errors import UserError
from pipelines.text.encoding import encodable_value, parse_json


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 as its first bytes show; line ends are line feeds.

    Raises:
        UserError: the file is missing, or not in that encoding.
    """
    return "".join(each_line(path))


def each_line(path: Path) -> Iterator[str]:
    """Yield the lines of a file that may be too long to be held, decoded as by `read_text`.

    Raises:
        UserError: the file is missing, or not in its encoding.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    with path.open("rb") as file:
        encoding = json.detect_encoding(file.read(4))  # RFC 4627, section 3: by the byte order mark or the NUL bytes
    try:
        with path.open(encoding=encoding) as lines:
            yield from lines
    except UnicodeDecodeError as error:
        raise UserError(_not_decodable(path, encoding)) from error


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: the file is missing, not in its encoding, or not JSON.
    """
    with _parsing(path):
        return parse_json(read_text(path))


def each_row(path: Path, texts: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file that may be too long to be held; the columns `texts` hold text in every row.

    Raises:
        UserError: the file is missing, not in its encoding, a line is not a JSON object, or lacks one of `texts`.
    """
    for number, line in enumerate(each_line(path), 1):
        if not line.strip():
            continue
        with _parsing(path, number):
            row = parse_json(line)
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: a JSON object is expected.")
        for name in texts:
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise UserError(f"{path}, line {number}: {name!r} must be text; add it, or remove the line.")
        yield row


def read_yaml(path: Path) -> Any:
    """Parse a YAML file (safe tags only).

    Raises:
        UserError: the file is missing, not in its encoding, or not YAML.
    """
    text = read_text(path)
    try:
        return encodable_value(yaml.safe_load(text))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}, line {line}: not YAML ({error.problem}); correct it.") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}, line {line}: not YAML ({error.reason}); correct it.") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: not YAML ({str(error).splitlines()[0]}); correct it.") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply; flatten it.") from error


@contextmanager
def _parsing(path: Path, line: int | None = None) -> Iterator[None]:
    """Name file and line of what is not JSON."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {line or error.lineno}: not JSON ({error.msg}); correct it.") from error
    except ValueError as error:
        where = f"{path}, line {line}" if line else str(path)
        raise UserError(f"{where}: not JSON that can be read ({str(error).partition(';')[0]}); correct it.") from error


def _not_decodable(path: Path, encoding: str) -> str:
    """Name the first line that is not in the encoding of its file."""
    if encoding not in ("utf-8", "utf-8-sig"):
        return f"{path} is not text in {encoding.upper()} as its first bytes say; save it as UTF-8."
    with path.open("rb") as lines:
        number = next(number for number, line in enumerate(lines, 1) if line != line.decode("utf-8", "ignore").encode())
    return f"{path}, line {number}: not UTF-8; save the file as UTF-8."
