"""Rows of a CSV, TSV or Parquet file as text, a batch at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from lorgnette.errors import SourceError
from lorgnette.sources.base import BATCH_ROWS
from lorgnette.storage import Storage, refusals

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")
"""What the names of tables end in; compared in lower case."""

_BLOCK = 1 << 20
"""Bytes read at once; no CSV row may be longer."""

_EXACT = float(1 << 53)
"""Whole floats below this are integers without loss."""


Vectors = npt.NDArray[np.float32]


class Table(Protocol):
    """A table of text."""

    location: str
    columns: Sequence[str]
    first_row: int
    """The number that a person gives to the first row of data."""

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
        """The same with columns of numbers beside them: float32 (n, F), NaN where there is none.

        Raises:
            SourceError: likewise, or a value is not a number.
        """
        ...


def open_table(location: str, *, blank_rows: bool = False) -> Table:
    """The table at a local path or URL: Parquet by its name, CSV or TSV otherwise.

    Args:
        location: the file.
        blank_rows: in a CSV of a single column, an empty line is a row without a value; it is no
            row otherwise.

    Raises:
        SourceError: there is no such file, or it is not a table.
    """
    parent, _, name = Storage.at(location).root.rpartition("/")
    storage = Storage.at(parent or "/")
    try:
        if name.lower().endswith((".parquet", ".pq")):
            return ParquetTable(storage, name)
        return CsvTable(storage, name, blank_rows=blank_rows)
    except FileNotFoundError as error:
        raise SourceError(f"There is no table at {storage.locate(name)}.") from error


class CsvTable:
    """Comma-, tab- or semicolon-separated values in UTF-8, with a header, perhaps compressed.

    Quoted fields may contain newlines. The separator is a tab for TSV, and otherwise the one that
    the header has most of.
    """

    first_row = 2  # the header is row 1, as in a spreadsheet

    def __init__(self, storage: Storage, name: str, *, blank_rows: bool = False) -> None:
        self.storage, self.name = storage, name
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
            yield _text_batch(batch, columns, self.location)

    def numbers(
        self, columns: Sequence[str], features: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """See `Table.numbers`."""
        for batch in self._read(columns, features):
            yield (
                _text_batch(batch, columns, self.location),
                _vectors(batch, features, self.location),
            )

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
    """One Parquet file; numbers and dictionaries become text."""

    first_row = 1

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage, self.name = storage, name
        self.location = storage.locate(name)
        with self._file() as file:
            self.columns: Sequence[str] = file.schema_arrow.names

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table.batches`."""
        with self._file() as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                yield _text_batch(batch, columns, self.location)

    def numbers(
        self, columns: Sequence[str], features: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """See `Table.numbers`."""
        wanted = list(dict.fromkeys([*columns, *features]))
        with self._file() as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
                yield (
                    _text_batch(batch, columns, self.location),
                    _vectors(batch, features, self.location),
                )

    @contextlib.contextmanager
    def _file(self) -> Iterator[Any]:
        try:
            # A buffer, or else whole column chunks are read at once.
            with (
                refusals(self.location),
                pq.ParquetFile(self.storage.open(self.name), buffer_size=_BLOCK) as file,
            ):
                yield file
        except pa.ArrowInvalid as error:
            raise SourceError(
                f"{self.location} is not a Parquet file: {str(error).splitlines()[0]}"
            ) from error


def text(column: Any) -> pa.StringArray:
    """A column as trimmed strings, null where nothing is left or a number is not a number.

    A whole float loses its fraction: where labels are missing, pandas turns the integer 1 into
    1.0, and it is still the class "1".

    Raises:
        pa.ArrowInvalid, pa.ArrowNotImplementedError: the type has no text form.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        whole = pc.and_(
            pc.equal(pc.floor(column), column), pc.less(pc.abs(column), pa.scalar(_EXACT))
        )
        integers = pc.if_else(whole, column, 0.0).cast(pa.int64()).cast(pa.string())
        numbers = pc.if_else(whole, integers, column.cast(pa.string()))
        column = pc.if_else(pc.is_nan(column), None, numbers)
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _vectors(batch: Any, features: Sequence[str], location: str) -> Vectors:
    """Columns of numbers side by side, NaN where there is none: float32 (n, F)."""
    vectors = np.empty((len(batch), len(features)), np.float32)
    for place, name in enumerate(features):
        column = batch.column(name)
        try:
            values = column.cast(pa.float32())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"A feature is a column of numbers, and column '{name}' of {location} holds "
                f"{column.type}: choose other columns with --features."
            ) from error
        vectors[:, place] = values.to_numpy(zero_copy_only=False)
    return vectors


def _text_batch(batch: Any, columns: Sequence[str], location: str) -> pa.RecordBatch:
    arrays = []
    for column in columns:
        try:
            arrays.append(text(batch.column(column)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"Column '{column}' of {location} must be text or numbers, "
                f"but it holds {batch.column(column).type}."
            ) from error
    return pa.record_batch(arrays, names=list(columns))


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
