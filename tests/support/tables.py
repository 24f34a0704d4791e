"""Parquet files of rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import Row


def write_table(path: Path, rows: list[Row], schema: pa.Schema | None = None) -> None:
    """Write rows as Parquet; `schema` is required when `rows` may be empty."""
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")
