"""Data sets of others into the project: `gradus import`. JSON lines, JSON or Parquet, in any form of the field.

Conversations go to `curate.user_data`, pairs to `human` in `preferences.inputs`, both in TRL's format; rejected rows go
beside them with a reason. JSON is not read by `datasets`, which would take texts that look like
dates for dates, and rows of two forms for rows of both.
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
    """Read a file, or those of a folder, and write what can be learnt from to `to`, or else where its kind belongs.

    Raises:
        UserError: something cannot be read, nothing can be learnt from, or what would be written is there already.
    """
    if form not in ("auto", *chat_formats.FORMS):
        raise UserError(f"{form!r} is no form; it is auto, {', '.join(chat_formats.FORMS)}.")
    rows = [row for path in _files(source) for row in _rows(path)]
    good, unfit = chat_formats.read(rows, None if form == "auto" else form)
    if not good:
        raise UserError(f"No row of {source} is a conversation or a pair; {reasons(unfit)}")
    pairs = [row for row in good if preference_formats.is_pair(row)]
    chats = [row for row in good if not preference_formats.is_pair(row)]
    if to is not None and pairs and chats:
        raise UserError(f"{source} holds conversations and pairs, which belong into two folders; leave out --to.")
    settings, name = config.load(), source.stem if source.is_file() else source.resolve().name
    homes = ((chats, settings.curate.user_data, "conversations"), (pairs, settings.preferences.human, "pairs"))
    written = [(found, (to or home) / f"{name}.jsonl", kind) for found, home, kind in homes if found]
    for _, path, _ in written:
        if path.exists():
            raise UserError(f"{path} is there already; remove it, or give {source} another name.")
    for found, path, kind in written:
        _write(path, found)
        console.print(f"{path}: {len(found):,} {kind}", highlight=False)
    if unfit:
        beside = written[0][1].with_suffix(".rejects.json")
        # In ASCII: what broke a row may be a character that cannot be written.
        beside.write_text("".join(json.dumps(row) + "\n" for row in unfit), encoding="ascii")
    console.print(reasons(unfit), highlight=False)


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        files = [path for path in artifacts.files(source) if path.suffix in _READERS]
    else:
        files = [source] if source.is_file() and source.suffix in _READERS else []
    if not files:
        raise UserError(f"{source} is no file of {', '.join(_READERS)}, and no folder of some.")
    return files


def _rows(path: Path) -> list[Row]:
    try:
        return _READERS[path.suffix](path)
    except pa.ArrowException as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error


def _json(path: Path) -> list[Row]:
    """Read a list of rows, or one row; a file of several lines of JSON has the wrong name, and is read all the same."""
    try:
        found = read_json(path)
    except UserError:
        return artifacts.read_rows(path)
    rows = found if isinstance(found, list) else [found]
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: a list of JSON objects is expected.")
    return rows


def _table(path: Path) -> list[Row]:
    """Read Parquet; what JSON cannot hold, such as a date, becomes text."""
    return [json.loads(json.dumps(row, default=str)) for row in artifacts.read_table(path)]


def _write(path: Path, rows: list[Row]) -> None:
    """Write the rows at once: what lies in the folder is trained on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    artifacts.write_rows(aside, rows)
    aside.replace(path)


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl": artifacts.read_rows,
    ".json": _json,
    ".parquet": _table,
}
