"""Parsing of user-written text, JSON, JSONL and YAML files. Errors name the file, the line and the remedy."""

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
    """Read a file in UTF-8, or in UTF-16 or UTF-32 as detected from its first bytes; line ends become line feeds.

    Raises:
        UserError: the file is missing or not decodable.
    """
    return "".join(each_line(path))


def each_line(path: Path) -> Iterator[str]:
    """Stream the lines of a file, decoded as by `read_text`.

    Raises:
        UserError: the file is missing or not decodable.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    with path.open("rb") as file:
        encoding = json.detect_encoding(file.read(4))  # by byte order mark or NUL bytes (RFC 4627, section 3)
    try:
        with path.open(encoding=encoding) as lines:
            yield from lines
    except UnicodeDecodeError as error:
        raise UserError(_not_decodable(path, encoding)) from error


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: the file is missing, not decodable, or not JSON.
    """
    with _parsing(path):
        return parse_json(read_text(path))


def each_row(path: Path, texts: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Stream the rows of a JSONL file in which every row must have non-empty text in the columns `texts`.

    Raises:
        UserError: the file is missing or not decodable, or a line is not a JSON object or lacks one of `texts`.
    """
    for number, line in enumerate(each_line(path), 1):
        if not line.strip():
            continue
        with _parsing(path, number):
            row = parse_json(line)
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: a JSON object is expected; correct or remove the line.")
        for name in texts:
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise UserError(f"{path}, line {number}: {name!r} must be text; add it, or remove the line.")
        yield row


def read_yaml(path: Path) -> Any:
    """Parse a YAML file (safe tags only).

    Raises:
        UserError: the file is missing, not decodable, or not YAML.
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
    """Turn JSON errors into a UserError that names the file and line."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {line or error.lineno}: not JSON ({error.msg}); correct it.") from error
    except ValueError as error:
        where = f"{path}, line {line}" if line else str(path)
        raise UserError(f"{where}: JSON that cannot be read ({str(error).partition(';')[0]}); correct it.") from error


def _not_decodable(path: Path, encoding: str) -> str:
    """Return the error message for a file that cannot be decoded, with the first bad line of a UTF-8 file."""
    if encoding not in ("utf-8", "utf-8-sig"):
        return f"{path} is not valid {encoding.upper()}, although its first bytes indicate it; save it as UTF-8."
    with path.open("rb") as lines:
        number = next(number for number, line in enumerate(lines, 1) if line != line.decode("utf-8", "ignore").encode())
    return f"{path}, line {number}: not UTF-8; save the file as UTF-8."
