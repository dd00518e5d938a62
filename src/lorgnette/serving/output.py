"""Tables of predictions as CSV, JSON lines or Parquet, written as they come."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from lorgnette.errors import ConfigError, nearest
from lorgnette.predictions import PREFIX
from lorgnette.storage import Storage, refusals

FORMATS = ("csv", "jsonl", "parquet")
_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def choose_format(format: str | None, out: str | None) -> str:
    """The format that was asked for, or that the output's name says; CSV otherwise.

    Raises:
        ConfigError: there is no such format, or it cannot go to standard output.
    """
    if format is None:
        format = _SUFFIXES.get(Path(out).suffix.lower(), "csv") if out else "csv"
    if format not in FORMATS:
        raise ConfigError(f"Predictions are written as csv, jsonl or parquet, not '{format}': "
                          f"{nearest(format, FORMATS)}")  # fmt: skip
    if format == "parquet" and out is None:
        raise ConfigError("Parquet is not for a terminal or a pipe: give --out FILE.parquet.")
    return format


def write_file(tables: Iterable[pa.Table], format: str, out: str) -> tuple[int, int]:
    """Write all tables to a file, which takes its name when the last row is in it.

    Returns:
        The number of rows, and of rows with an error.
    """
    where = Storage.at(str(Path(out).parent))
    with where.writing(Path(out).name) as path, refusals(out), open(path, "wb") as file:
        return write(tables, format, file)


def write(tables: Iterable[pa.Table], format: str, sink: BinaryIO) -> tuple[int, int]:
    """Write all tables to an open file; see `write_file`."""
    rows = errors = 0
    writer: Any = None
    try:
        for table in tables:
            rows += len(table)
            errors += len(table) - table["error"].null_count
            if format == "jsonl":
                sink.writelines(_line(row) for row in table.to_pylist())
            else:
                if writer is None:
                    kind = pq.ParquetWriter if format == "parquet" else _csv_writer
                    writer = kind(sink, table.schema)
                writer.write_table(table)
            sink.flush()
    finally:
        if writer is not None:
            writer.close()
    return rows, errors


def _csv_writer(sink: BinaryIO, schema: pa.Schema) -> Any:
    return pacsv.CSVWriter(sink, schema, write_options=pacsv.WriteOptions(quoting_style="needed"))


def _line(row: dict[str, Any]) -> bytes:
    chances = {
        key.removeprefix(PREFIX): row.pop(key) for key in list(row) if key.startswith(PREFIX)
    }
    nested = {
        "id": row["id"],
        "class": row["class"],
        "probabilities": chances if row["class"] is not None else None,
        "error": row["error"],
    }
    return (json.dumps(nested, ensure_ascii=False) + "\n").encode()
