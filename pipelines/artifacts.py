"""Where tasks read and write.

A task owns `artifacts/<task>/`. The directory is complete only when its `record.json` is there, which is
written last; reading from a directory without one is refused. What no task reads lies apart from them:
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

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.runtime.errors import UserError
from pipelines.user_files import each_row as each_row

ARTIFACTS = Path("artifacts")
CHECKPOINTS = Path("checkpoints")
RUNS = Path("runs")
REPORTS, METRICS, PLOTS = ARTIFACTS / "reports", ARTIFACTS / "metrics", ARTIFACTS / "plots"
RECORD = "record.json"
KEY = "GRADUS_STAGE_KEY"
"""Names, to a task, the key of its stage: a hash of all that decides its result. It changes no result itself."""

Row = dict[str, Any]


def fresh(task: str) -> Path:
    """Return an empty `artifacts/<task>/`."""
    directory = ARTIFACTS / task
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    return directory


def complete(directory: Path, record: Mapping[str, Any]) -> None:
    """Mark `directory` as complete: write its record, last and at once."""
    write_json(directory / RECORD, record)


def place(stage: str) -> Path | None:
    """Return where this execution of `stage` keeps what it can go on from; None when no flow has named its key."""
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
    """Return what the task recorded when it finished `directory`."""
    found: dict[str, Any] = read_json(directory / RECORD)
    return found


def read_json(path: Path) -> Any:
    """Parse a JSON file that a task wrote; a user's is read by `user_files.read_json`.

    Raises:
        ValueError: it is damaged.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def made_from(record: Path, key: str) -> bool:
    """Tell whether `record` is there and names `key`, the hash of what something committed was made from."""
    return record.is_file() and bool(read_json(record)["key"] == key)


def write_json(path: Path, value: Any) -> None:
    """Write JSON that is equal for equal values, replacing `path` at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    aside.replace(path)


def read_rows(path: Path, texts: Sequence[str] = ()) -> list[Row]:
    """Read a JSONL file whose columns `texts` hold text in every row.

    Raises:
        UserError: the file is missing, not in its encoding, a line is not a JSON object, or lacks one of `texts`.
    """
    return list(each_row(path, texts))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSONL, one object a line, keys in the order given."""
    _write_rows(path, rows, "w")


def add_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSONL behind what is there."""
    _write_rows(path, rows, "a")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; what a row lacks is left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[Row]:
    """Read a Parquet file as rows."""
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def write_table(path: Path, rows: list[Row], schema: pa.Schema | None = None) -> None:
    """Write rows as Parquet; `schema` is needed when there may be none."""
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def files(directory: Path) -> Iterator[Path]:
    """Yield the files below `directory` in a stable order."""
    yield from sorted(path for path in directory.rglob("*") if path.is_file())


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]], mode: str) -> None:
    with path.open(mode, encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
