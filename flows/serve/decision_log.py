"""Durable appends to JSONL files, which can be undone while nothing else was written to the file."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.artifacts import Row
from pipelines.runtime.errors import UserError


@dataclass(frozen=True)
class Appended:
    """The byte range of rows that were appended to a file."""

    path: Path
    start: int
    end: int

    def undo(self, name: str) -> None:
        """Remove the rows, which are about `name`.

        Raises:
            UserError: the file was changed since, or is gone.
        """
        if not self.path.exists() or self.path.stat().st_size != self.end:
            raise UserError(f"{self.path} was changed since; remove {name!r} from it yourself.")
        os.truncate(self.path, self.start)


def append(path: Path, rows: Iterable[Row]) -> Appended:
    """Append rows to a JSONL file, which may be new or lack a final line feed; they are on disk on return.

    Raises:
        UserError: the file is not in UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        if (encoding := json.detect_encoding(file.read(4))) not in ("utf-8", "utf-8-sig"):
            raise UserError(f"{path} is in {encoding.upper()}, so nothing can be appended to it; save it as UTF-8.")
        start = file.seek(0, os.SEEK_END)
        file.seek(max(0, start - 1))
        lines = "" if file.read(1) in (b"", b"\n") else "\n"
        lines += "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())
    return Appended(path, start, start + len(lines.encode()))
