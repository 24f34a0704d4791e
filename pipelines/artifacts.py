"""The directories that tasks read and write.

Each task owns `artifacts/<task>/`. A directory is complete only once it holds `record.json`, which is written last;
reading from an incomplete directory raises an error. Outputs that no task reads are kept separately:
`artifacts/reports/<stage>.html` and `.md` for people, `artifacts/metrics/<stage>.json` for `dvc metrics`, and
`artifacts/plots/<stage>.csv` for `dvc plots`. Paths are relative to the project's root, which is the working directory
of every task.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.runtime.errors import UserError
from pipelines.user_files import each_row as each_row

ARTIFACTS = Path("artifacts")
CHECKPOINTS = Path("checkpoints")
RUNS = Path("runs")
REPORTS, METRICS, PLOTS = ARTIFACTS / "reports", ARTIFACTS / "metrics", ARTIFACTS / "plots"
RECORD = "record.json"
KEY = "GRADUS_STAGE_KEY"
"""Environment variable with the stage key, a hash of every input of its result. It does not affect the result."""

Row = dict[str, Any]


def fresh(task: str) -> Path:
    """Return an empty `artifacts/<task>/`."""
    directory = ARTIFACTS / task
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    return directory


def complete(directory: Path, record: Mapping[str, Any]) -> None:
    """Mark `directory` as complete: write its record last, atomically."""
    write_json(directory / RECORD, record)


def place(stage: str) -> Path | None:
    """Return the directory from which this execution of `stage` can resume; None when no flow has set its key."""
    key = os.environ.get(KEY)
    return CHECKPOINTS / stage / key if key else None


def read(task: str) -> Path:
    """Return `artifacts/<task>/`.

    Raises:
        UserError: the task has not finished there.
    """
    directory = ARTIFACTS / task
    if not (directory / RECORD).exists():
        raise UserError(
            f"{directory} is missing or incomplete; run the task {task.split('/')[0]!r} first (gradus run)."
        )
    return directory


def record(directory: Path) -> dict[str, Any]:
    """Return the record that the task wrote when it completed `directory`."""
    content: dict[str, Any] = read_json(directory / RECORD)
    return content


def read_json(path: Path) -> Any:
    """Parse a JSON file written by a task; files from users are read by `user_files.read_json`.

    Raises:
        ValueError: the file is damaged.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def made_from(record: Path, key: str) -> bool:
    """Return whether `record` exists and holds `key`, the hash of the inputs of a committed artifact."""
    return record.is_file() and bool(read_json(record)["key"] == key)


def write_json(path: Path, value: Any) -> None:
    """Write JSON deterministically (equal bytes for equal values), replacing `path` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    aside.replace(path)


def read_rows(path: Path, texts: Sequence[str] = ()) -> list[Row]:
    """Read a JSONL file in which every row must have non-empty text in the columns `texts`.

    Raises:
        UserError: the file is missing or not decodable, or a line is not a JSON object or lacks one of `texts`.
    """
    return list(each_row(path, texts))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSONL, one object per line, with keys in the given order."""
    _write_rows(path, rows, "w")


def add_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a JSONL file."""
    _write_rows(path, rows, "a")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; missing values are left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[Row]:
    """Read a Parquet file as rows."""
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def files(directory: Path) -> Iterator[Path]:
    """Yield the files below `directory` in a stable order."""
    yield from sorted(path for path in directory.rglob("*") if path.is_file())


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]], mode: str) -> None:
    with path.open(mode, encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
