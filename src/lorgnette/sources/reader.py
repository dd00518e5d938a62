"""Rows of a CSV, TSV or Parquet table as text and numbers, a batch at a time.

A directory of Parquet files, as Spark and Ray write them, is one table: its files in the order of
their names, but for those that begin with a dot or an underscore.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from lorgnette.errors import SourceError
from lorgnette.sources.base import BATCH_ROWS
from lorgnette.sources.columns import (
    Vectors,
    holds_lists,
    matrix,
    plain_type,
    stored,
    text_batch,
    vector,
)
from lorgnette.storage import Storage, refusals

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")
"""What the names of tables end in; compared in lower case."""

PARQUET = (".parquet", ".pq")

_BLOCK = 1 << 20
"""Bytes read at once; no CSV row may be longer."""

_REMOTE_BLOCK = 8 << 20
"""Bytes of a Parquet column read at once from an object store, which answers late."""


class Table(Protocol):
    """A table of text."""

    location: str
    storage: Storage
    files: Sequence[str]
    """The names of its files in `storage`."""
    columns: Sequence[str]
    first_row: int
    """The number that a person gives to the first row of data."""

    @property
    def lists(self) -> Mapping[str, int]:
        """The columns with a list of numbers in each row, and how long the lists are."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """At most `BATCH_ROWS` rows of some columns, in the order of the file.

        Every column is a string: trimmed, null where nothing is left.

        Raises:
            SourceError: the file is not a table of its kind, or a column is not text or numbers.
        """
        ...

    def numbers(
        self, columns: Sequence[str], features: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """The same with numbers beside them: float32 (n, F), NaN where there is none.

        Args:
            columns: the columns of text.
            features: columns of numbers, or `entries` of columns with lists.

        Raises:
            SourceError: likewise, a value is not a number, or a list is longer or shorter than the
                others.
        """
        ...


def open_table(location: str, *, blank_rows: bool = False) -> Table:
    """The table at a local path or URL: Parquet by its name, CSV or TSV otherwise.

    Args:
        location: the file, or a directory of Parquet files.
        blank_rows: in a CSV of a single column, an empty line is a row without a value; it is no
            row otherwise.

    Raises:
        SourceError: there is no such file, or it is not a table.
    """
    folder = Storage.at(location)
    if folder.is_directory():
        return ParquetTable(folder, parquet_files(folder), folder.root)
    parent, _, name = folder.root.rpartition("/")
    storage = Storage.at(parent or "/")
    try:
        if name.lower().endswith(PARQUET):
            return ParquetTable(storage, [name], storage.locate(name))
        return CsvTable(storage, name, blank_rows=blank_rows)
    except FileNotFoundError as error:
        raise SourceError(f"There is no table at {storage.locate(name)}.") from error


class CsvTable:
    """Comma-, tab- or semicolon-separated values in UTF-8, with a header, perhaps compressed.

    Quoted fields may contain newlines. The separator is a tab for TSV, and otherwise the one that
    the header has most of.
    """

    first_row = 2  # the header is row 1, as in a spreadsheet
    lists: Mapping[str, int] = MappingProxyType({})

    def __init__(self, storage: Storage, name: str, *, blank_rows: bool = False) -> None:
        self.storage, self.name = storage, name
        self.files: Sequence[str] = [name]
        self.location = storage.locate(name)
        with (
            self._complaints(),
            # Escaped, so that a byte further down is left to be reported with its row.
            io.TextIOWrapper(self._stream(), "utf-8-sig", "surrogateescape", newline="") as text,
        ):
            numbered = enumerate(text)
            above, header = next((each for each in numbered if each[1].strip()), (0, ""))
            self.separator = self._separator(header)
            lines = _chain(header, text)
            self.columns: Sequence[str] = next(csv.reader(lines, delimiter=self.separator), [])
            "".join(self.columns).encode()
        if not self.columns:
            raise SourceError(
                f"{self.location} is empty: a table starts with a row that names its columns."
            )
        self._keep_blank = blank_rows and len(self.columns) == 1
        self._skipped = above if self._keep_blank else 0

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table.batches`."""
        for batch in self._read(columns):
            yield text_batch(batch, columns, self.location)

    def numbers(
        self, columns: Sequence[str], features: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """See `Table.numbers`."""
        for batch in self._read(columns, features):
            vectors = np.empty((len(batch), len(features)), np.float32)
            for place, name in enumerate(features):
                vectors[:, place] = vector(batch, name, self.location)
            yield text_batch(batch, columns, self.location), vectors

    def _read(
        self, columns: Sequence[str], features: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """At most `BATCH_ROWS` rows of columns of text and of columns of numbers."""
        types = dict.fromkeys(features, pa.float32()) | dict.fromkeys(columns, pa.string())
        with self._complaints(), self._stream() as stream:
            reader = pa.csv.open_csv(
                stream,
                # Without threads there is no read-ahead, and errors come with their row.
                read_options=pa.csv.ReadOptions(
                    use_threads=False, block_size=_BLOCK, skip_rows=self._skipped
                ),
                parse_options=pa.csv.ParseOptions(
                    delimiter=self.separator,
                    newlines_in_values=True,
                    ignore_empty_lines=not self._keep_blank,
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=list(types),
                    column_types=types,
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            for block in reader:
                for start in range(0, len(block), BATCH_ROWS):
                    yield block.slice(start, BATCH_ROWS)

    def _stream(self) -> Any:
        file = self.storage.open(self.name)
        return pa.CompressedInputStream(file, "gzip") if self.name.lower().endswith("gz") else file

    def _separator(self, header: str) -> str:
        if self.name.lower().removesuffix(".gz").endswith(".tsv"):
            return "\t"
        bare = re.sub(r'"[^"]*"', "", header)
        return max(",;\t", key=bare.count)

    @contextlib.contextmanager
    def _complaints(self) -> Iterator[None]:
        """Say in one sentence what pyarrow and the decoder complain about."""
        try:
            with refusals(self.location):
                yield
        except UnicodeEncodeError as error:
            raise self._not_utf8("") from error
        except csv.Error as error:
            raise SourceError(f"The header of {self.location} cannot be read: {error}.") from error
        except pa.ArrowInvalid as error:
            text = str(error).splitlines()[0]
            row = re.search(r"Row #(\d+)", text)
            place = f" (row {row[1]})" if row else ""
            if wrong := re.search(r"CSV column #(\d+).*conversion error.*'(.*)'", text):
                column = self.columns[int(wrong[1])] if int(wrong[1]) < len(self.columns) else "?"
                raise SourceError(
                    f"A feature is a column of numbers, and column '{column}' of {self.location} "
                    f"has '{wrong[2]}'{place}: correct it, or choose other columns with --features."
                ) from error
            if "invalid UTF8" in text:
                raise self._not_utf8(place) from error
            if ragged := re.search(r"Expected (\d+) columns, got (\d+)", text):
                raise SourceError(
                    f"Every row of {self.location} must have the {ragged[1]} columns of the "
                    f"header, and one has {ragged[2]}{place}: quote fields that contain "
                    f"{self.separator!r}."
                ) from error
            if "straddling" in text:
                raise SourceError(
                    f"{self.location} has a row longer than {_BLOCK >> 20} MiB: is a quote never "
                    "closed?"
                ) from error
            if "Empty CSV" not in text:  # a header without rows is simply no batches
                raise SourceError(f"{self.location} cannot be read: {text}") from error

    def _not_utf8(self, place: str) -> SourceError:
        return SourceError(
            f"{self.location} is not UTF-8{place}: save it as such, for example with "
            "`iconv -f LATIN1 -t UTF-8`."
        )


class ParquetTable:
    """Parquet files with the same columns, one after the other; numbers become text."""

    first_row = 1

    def __init__(self, storage: Storage, files: Sequence[str], location: str) -> None:
        """Read the footer of the first file.

        Args:
            storage: where the files are.
            files: their names, in the order of the rows.
            location: of the table as a whole.

        Raises:
            SourceError: there is no file, or the first is none.
        """
        if not files:
            raise SourceError(f"There is no Parquet file in {location}: write the table again.")
        self.storage, self.location = storage, location
        self.files: Sequence[str] = tuple(files)
        with self.open(self.files[0]) as file:
            self.schema = file.schema_arrow
        self.columns: Sequence[str] = self.schema.names

    @cached_property
    def lists(self) -> Mapping[str, int]:
        """See `Table.lists`; those without any list are left out."""
        names = [field.name for field in self.schema if holds_lists(field.type)]
        return {name: width for name in names if (width := self._width(name))}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table.batches`."""
        for file, _, batch in self.located(columns):
            yield text_batch(batch, columns, self.storage.locate(file))

    def numbers(
        self, columns: Sequence[str], features: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """See `Table.numbers`."""
        inside = {
            entry: (name, place)
            for name, width in self.lists.items()
            for place, entry in enumerate(entries(name, width))
            if entry not in self.columns
        }
        sources = [inside.get(feature, (feature, -1)) for feature in features]
        wanted = list(dict.fromkeys([*columns, *(name for name, _ in sources)]))
        for file, start, batch in self.located(wanted):
            where = self.storage.locate(file)
            lists = {
                name: matrix(batch.column(name), self.lists[name], f"'{name}' of {where}", start)
                for name, place in dict(sources).items()
                if place >= 0
            }
            vectors = np.empty((len(batch), len(features)), np.float32)
            for column, (name, place) in enumerate(sources):
                vectors[:, column] = (
                    lists[name][:, place] if place >= 0 else vector(batch, name, where)
                )
            yield text_batch(batch, columns, where), vectors

    def located(
        self, columns: Sequence[str], rows: int = BATCH_ROWS
    ) -> Iterator[tuple[str, int, pa.RecordBatch]]:
        """Batches as they are, each with its file and the place of its first row there, from 0.

        Args:
            columns: may be none.
            rows: at most so many in a batch.
        """
        for name in self.files:
            start = 0
            with self.open(name) as file:
                lacking = set(columns).difference(file.schema_arrow.names)
                if lacking:
                    raise SourceError(
                        f"The files of a table have the same columns, and "
                        f"{self.storage.locate(name)} lacks '{min(lacking)}': take it out of "
                        f"{self.location}, or write it again."
                    )
                for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
                    if len(batch):
                        yield name, start, batch
                        start += len(batch)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """One of the files as a `pyarrow.parquet.ParquetFile`."""
        with open_parquet(self.storage, name) as file:
            yield file

    def _width(self, name: str) -> int:
        """How long the first list of a column is; 0 if there is none."""
        kind = plain_type(self.schema.field(name).type)
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        for _, _, batch in self.located([name], rows=64):
            lengths = pc.list_value_length(stored(batch.column(name))).drop_null()
            if len(lengths):
                return int(lengths[0].as_py())
        return 0


@contextlib.contextmanager
def open_parquet(storage: Storage, name: str) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile` that reads no more than it is asked for.

    Raises:
        FileNotFoundError: there is no such file.
        SourceError: it is not Parquet, or damaged.
        StorageError: it cannot be read.
    """
    location = storage.locate(name)
    try:
        # Without a buffer, or with pre_buffer, whole column chunks are read at once.
        with (
            refusals(location),
            pq.ParquetFile(
                storage.open(name),
                buffer_size=_BLOCK if storage.is_local else _REMOTE_BLOCK,
                pre_buffer=False,
            ) as file,
        ):
            yield file
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{location} is not a Parquet file: {str(error).splitlines()[0]}"
        ) from error


def parquet_files(folder: Storage) -> list[str]:
    """The sorted names of the Parquet files in a directory, without those set aside by a mark."""
    return [
        name
        for name in folder.names()
        if name.lower().endswith(PARQUET) and not name.startswith((".", "_"))
    ]


def entries(name: str, width: int) -> list[str]:
    """What the numbers of a column with lists are called; of any other (width 0), its own name."""
    return [f"{name}_{place}" for place in range(width)] if width else [name]


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
