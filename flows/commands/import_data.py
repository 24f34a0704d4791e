"""Import data sets into the project: `gradus import`. Reads JSON Lines, JSON or Parquet in common chat formats.

Conversations go to `curate.user_data`, pairs to `human` in `pairs.inputs`, both in TRL's format; rejected rows
are written next to them with a reason. JSON is not read with `datasets`, which would parse date-like strings as dates
and merge the columns of rows in different formats.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from flows.commands.export import reasons
from pipelines import artifacts, config
from pipelines.artifacts import Row
from pipelines.formats import chat_formats, preference_formats
from pipelines.runtime.errors import UserError
from pipelines.user_files import read_json


def import_(console: Console, source: Path, form: str, to: Path | None) -> None:
    """Read a file or the files of a folder, and write the usable rows to `to`, or to the default folder of their kind.

    Raises:
        UserError: a file cannot be read, no row is usable, or an output file exists already.
    """
    if form not in ("auto", *chat_formats.FORMS):
        raise UserError(f"{form!r} is not a format; choose auto, {', '.join(chat_formats.FORMS)}.")
    rows = [row for path in _files(source) for row in _rows(path)]
    good, unfit = chat_formats.read(rows, None if form == "auto" else form)
    if not good:
        raise UserError(f"No row of {source} is a conversation or a pair; {reasons(unfit)}")
    pairs = [row for row in good if preference_formats.is_pair(row)]
    chats = [row for row in good if not preference_formats.is_pair(row)]
    if to is not None and pairs and chats:
        raise UserError(f"{source} holds conversations and pairs, which need separate folders; omit --to.")
    settings, name = config.load(), source.stem if source.is_file() else source.resolve().name
    homes = ((chats, settings.curate.user_data, "conversations"), (pairs, settings.pairs.human, "pairs"))
    outputs = [(part, (to or home) / f"{name}.jsonl", kind) for part, home, kind in homes if part]
    for _, path, _ in outputs:
        if path.parent.exists() and not path.parent.is_dir():
            raise UserError(f"{path.parent} is not a folder; give another one with --to.")
        if path.exists():
            raise UserError(f"{path} exists already; remove it or rename {source}.")
    for part, path, kind in outputs:
        _write(path, part)
        console.print(f"{path}: {len(part):,} {kind}", highlight=False)
    if unfit:
        rejects = outputs[0][1].with_suffix(".rejects.json")
        # ASCII, because a row may have been rejected for a character that cannot be encoded.
        rejects.write_text("".join(json.dumps(row) + "\n" for row in unfit), encoding="ascii")
    console.print(reasons(unfit), highlight=False)


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        files = [path for path in artifacts.files(source) if path.suffix in _READERS]
    else:
        files = [source] if source.is_file() and source.suffix in _READERS else []
    if not files:
        raise UserError(f"{source} is neither a file of type {', '.join(_READERS)} nor a folder with such files.")
    return files


def _rows(path: Path) -> list[Row]:
    try:
        return _READERS[path.suffix](path)
    except pa.ArrowException as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error


def _json(path: Path) -> list[Row]:
    """Read a list of rows or one row; a file of JSON Lines with the suffix .json is accepted too."""
    try:
        content = read_json(path)
    except UserError:
        return artifacts.read_rows(path)
    rows = content if isinstance(content, list) else [content]
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: expected a list of JSON objects.")
    return rows


def _table(path: Path) -> list[Row]:
    """Read Parquet; values that JSON does not support, such as dates, become strings."""
    return [json.loads(json.dumps(row, default=str)) for row in artifacts.read_table(path)]


def _write(path: Path, rows: list[Row]) -> None:
    """Write the rows atomically, because every file in the folder is used for training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    artifacts.write_rows(partial, rows)
    partial.replace(path)


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl": artifacts.read_rows,
    ".json": _json,
    ".parquet": _table,
}
