"""Parquet tables that hold the images themselves, as encoded bytes in a column.

The column is binary, or a struct with a field `bytes` as Hugging Face writes it. A row's path, and
its id where there is no column of ids, is `FILE.parquet#ROW` with rows from 0; where a column is
not the one that would be found by itself, the path names it: `FILE.parquet#COLUMN/ROW`. Workers
read the bytes through such paths (`read_embedded`), a few rows at a time.

Labels, groups and splits are columns as in a table of paths (`lorgnette.sources.table`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lorgnette.config import SourceConfig
from lorgnette.errors import LorgnetteError, SourceError, nearest
from lorgnette.sources.base import RECORD, Unreadable
from lorgnette.sources.columns import text_batch
from lorgnette.sources.reader import ParquetTable, Table, open_parquet
from lorgnette.sources.table import USUAL, TableSource
from lorgnette.storage import Storage, refusals

CONTENT = ("content", "image", "bytes")
"""Names of columns that are taken for the images; compared in lower case."""

ADDRESS = re.compile(r"(.+\.(?:parquet|pq))#(?:(.+)/)?(\d+)", re.IGNORECASE | re.DOTALL)

READ_ROWS = 16
"""Rows whose bytes are in memory at once."""


class Address(NamedTuple):
    """Where the bytes of an image are."""

    file: str
    column: str | None
    """None: the one that is found by itself."""
    row: int
    """From 0, in the file."""


def is_embedded(path: str) -> bool:
    """Whether a path leads into a table rather than to a file of its own."""
    return ADDRESS.fullmatch(path) is not None


def content_column(schema: Any, named: str | None, location: str) -> str | None:
    """The column of a Parquet schema that holds images; None if there is none.

    Args:
        schema: a `pyarrow.Schema`.
        named: the column that somebody named; one of the names in `CONTENT` if not given.
        location: of the table, for messages.

    Raises:
        SourceError: the named column is not there or holds something else, or there are several.
    """
    if named:
        if named not in schema.names:
            raise SourceError(
                f"{location} has no column '{named}' for the images: {nearest(named, schema.names)}"
            )
        if not _holds_bytes(kind := schema.field(named).type):
            raise SourceError(
                f"A column of images holds their encoded bytes, and column '{named}' of "
                f"{location} holds {kind}: name another one with --content NAME."
            )
        return named
    found = [
        field.name
        for field in schema
        if field.name.strip().lower() in CONTENT and _holds_bytes(field.type)
    ]
    if len(found) > 1:
        raise SourceError(
            f"In {location} more than one column could be the images ({', '.join(found)}): say "
            "which one with --content NAME."
        )
    return found[0] if found else None


def holds_images(table: Table, config: SourceConfig) -> bool:
    """Whether a table is to be read for the images in it rather than for their paths.

    Raises:
        SourceError: both were named, or a CSV file is to hold images.
    """
    if config.content and config.path:
        raise SourceError(
            f"Images are in a table or at paths, and both were named for {table.location} "
            f"({config.content} and {config.path}): leave one out."
        )
    if not isinstance(table, ParquetTable):
        if config.content:
            raise SourceError(
                f"Only a Parquet table holds images, and {table.location} is none: leave "
                "--content out, or give such a table."
            )
        return False
    if config.content:
        return True
    paths = [
        field.name
        for field in table.schema
        if field.name.strip().lower() in USUAL["path"] and not _holds_bytes(field.type)
    ]
    if config.path or paths:
        return False
    return content_column(table.schema, None, table.location) is not None


class EmbeddedTable(TableSource):
    """Images in a Parquet table; see the module's documentation."""

    def __init__(self, config: SourceConfig, table: Table, *, require_label: bool = True) -> None:
        """Find the columns; read nothing.

        Args:
            config: which column is which.
            table: one for which `holds_images` is true.
            require_label: whether a table without a label column is refused.

        Raises:
            SourceError: a column is missing, could be either of two, or has the wrong type.
        """
        assert isinstance(table, ParquetTable)
        self.table: ParquetTable = table
        self.content: str | None = content_column(table.schema, config.content, table.location)
        self.columns = {
            role: column
            for role in USUAL
            if role != "path" and (column := self._column(role, getattr(config, role)))
        }
        if require_label and "label" not in self.columns:
            raise self._lacks("label")
        self.storage = table.storage
        self.images = self.storage.root
        self._named: str = f"{self.content}/" if config.content and self._is_unusual() else ""

    def records(self) -> Iterator[pa.RecordBatch]:
        """See `Source.records`; holds 8 bytes of each where there is an id column.

        Size and time are those of the file that a row is in, so that its change is noticed.
        """
        if "id" in self.columns:
            self._survey()
        empty = True
        for _, columns in self._rows():
            empty = False
            nothing = pa.nulls(len(columns["path"]), pa.string())
            arrays = [
                columns.get("id", columns["path"]),
                columns["path"],
                *(columns.get(role, nothing) for role in ("label", "group", "split")),
                columns["bytes"],
                columns["modified"],
            ]
            yield pa.record_batch(arrays, schema=RECORD)
        if empty:
            raise SourceError(f"{self.table.location} has columns and no rows.")

    def _otherwise(self) -> str:
        return 'none (--id ""), which numbers the rows'

    def _is_unusual(self) -> bool:
        """Whether the column of images is not found by itself."""
        try:
            return content_column(self.table.schema, None, "") != self.content
        except SourceError:
            return True

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Batches as role -> values, checked, with the number of their first row."""
        row = self.table.first_row
        names = list(dict.fromkeys(self.columns.values()))
        facts: dict[str, tuple[int | None, int | None]] = {}
        for file, start, batch in self.table.located(names):
            n = len(batch)
            columns = self._checked(row, text_batch(batch, names, self.table.location))
            places = pa.array(np.arange(start, start + n)).cast(pa.string())
            columns["path"] = pc.binary_join_element_wise(f"{file}#{self._named}", places, "")
            if file not in facts:
                facts[file] = self._facts(file)
            for name, fact in zip(("bytes", "modified"), facts[file], strict=True):
                columns[name] = pa.array([fact] * n, pa.int64())
            yield row, columns
            row += n

    def _facts(self, file: str) -> tuple[int | None, int | None]:
        """Size in bytes and time of modification of a file of the table."""
        with refusals(self.storage.locate(file)):
            info = self.storage.filesystem.get_file_info(self.storage.resolve(file))
        return info.size, info.mtime_ns


def read_embedded(storage: Storage, paths: Sequence[str]) -> Iterator[bytes | Unreadable]:
    """The bytes of images in tables, in the order of their paths; a few at a time are in memory.

    Rows that follow each other are read in one go. What lies before a row in its row group has to
    be read too, so going back and forth is slow.
    """
    with contextlib.ExitStack() as stack:
        column: Column | None = None
        whose: tuple[str, str | None] | None = None
        for path in paths:
            address = _address(path)
            try:
                if column is None or whose != address[:2]:
                    stack.close()
                    column = None
                    file = stack.enter_context(open_parquet(storage, address.file))
                    column = Column(file, address.column, storage.locate(address.file))
                    whose = address[:2]
                with refusals(storage.locate(address.file)):
                    data = column.read(address.row)
            except FileNotFoundError:
                found: bytes | Unreadable = Unreadable("missing", "there is no file at this path")
            except (LorgnetteError, pa.ArrowException) as error:
                reason = str(error).splitlines()[0]
                found = Unreadable("corrupt", f"the table could not be read: {reason}")
                column = None
            else:
                nothing = Unreadable("missing", "there is no image in this row")
                found = nothing if data is None else data
            yield found


class Column:
    """The images of one file, read forward a few rows at a time."""

    def __init__(self, file: Any, named: str | None, location: str) -> None:
        """Find the column in the footer.

        Args:
            file: a `pyarrow.parquet.ParquetFile`.
            named: the column; the one that is found by itself if not given.
            location: of the file, for messages.
        """
        schema = file.schema_arrow
        name = content_column(schema, named, location)
        if name is None:
            raise SourceError(f"{location} has no column of images.")
        # Of a struct nothing but the bytes is read.
        self.name = f"{name}.bytes" if pa.types.is_struct(schema.field(name).type) else name
        groups = [
            file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)
        ]
        self.starts = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])
        self.file = file
        self.group = -1
        self.begin = self.end = 0
        self.batches: Iterator[Any] = iter(())
        self.values: Any = pa.array([], pa.binary())

    def read(self, row: int) -> bytes | None:
        """The bytes in a row; None if there are none, or no such row."""
        if row >= self.starts[-1]:
            return None
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        if group != self.group or row < self.begin:
            self.group = group
            self.begin = self.end = int(self.starts[group])
            self.batches = self.file.iter_batches(
                READ_ROWS, row_groups=[group], columns=[self.name], use_threads=False
            )
        while row >= self.end:
            self.values = next(self.batches).column(0)
            self.begin, self.end = self.end, self.end + len(self.values)
        values = self.values
        if pa.types.is_struct(values.type):
            values = pc.struct_field(values, "bytes")
        data: bytes | None = values[row - self.begin].as_py()
        return data


def _address(path: str) -> Address:
    match = ADDRESS.fullmatch(path)
    assert match is not None
    return Address(match[1], match[2], int(match[3]))


def _holds_bytes(kind: Any) -> bool:
    """Whether a type is that of encoded images: bytes, or a struct with a field of them."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
