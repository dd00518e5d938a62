"""Vectors: tables whose columns are numbers, a row an item, read out of core.

The columns of numbers are named, listed as a range or matched by a pattern (`columns_of`). In a
Parquet table a column may also hold a list of F numbers in each row: `embedding` then stands for
the features `embedding_0` to `embedding_{F-1}`.
Labels, ids, groups and splits are columns as in a table of images (`lorgnette.sources.table`). An
item is its row: without an id column, its id is the number that a person gives to the row.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError, nearest
from lorgnette.sources.base import RECORD, Source
from lorgnette.sources.columns import Vectors
from lorgnette.sources.reader import entries, open_table
from lorgnette.sources.table import USUAL, TableSource, file_facts

RANGE = re.compile(r"(.*?)(\d+)\.\.(.*?)(\d+)")
NO_LISTS: Mapping[str, int] = MappingProxyType({})


class VectorSource(Source, Protocol):
    """A source whose items are vectors."""

    features: tuple[str, ...]
    """The columns of numbers, in their order."""

    def vectors(self) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """The batches of `records()`, each with its numbers: float32 (n, F), NaN for a missing one.

        Raises:
            SourceError: the table cannot be read, or a value is not a number.
        """
        ...


def columns_of(
    wanted: str, columns: Sequence[str], location: str, lists: Mapping[str, int] = NO_LISTS
) -> tuple[str, ...]:
    """The columns that a description names, in its order.

    >>> columns_of("v1..v3,age", ["id", "age", "v1", "v2", "v3"], "a.csv")
    ('v1', 'v2', 'v3', 'age')
    >>> columns_of("v*", ["id", "v1", "v2"], "a.csv")
    ('v1', 'v2')
    >>> columns_of("x", ["id", "x"], "a.parquet", {"x": 2})
    ('x_0', 'x_1')

    Args:
        wanted: names, ranges (`v1..v512`) and patterns (`v*`, `?x`), separated by commas.
        columns: those of the table.
        location: of the table, for messages.
        lists: the columns that hold lists of numbers, and how long these are.

    Raises:
        SourceError: a name is not there, a pattern matches nothing, or a column is named twice.
    """
    found: list[str] = []
    known = {*columns, *(entry for name in lists for entry in entries(name, lists[name]))}
    for part in filter(None, (each.strip() for each in wanted.split(","))):
        span = RANGE.fullmatch(part)
        if part in columns:
            names = [part]
        elif span and span[1] == span[3] and int(span[2]) <= int(span[4]):
            width = len(span[2]) if span[2].startswith("0") else 0
            numbers = range(int(span[2]), int(span[4]) + 1)
            names = [f"{span[1]}{number:0{width}d}" for number in numbers]
        else:
            names = fnmatch.filter(columns, part) if set("*?[") & set(part) else [part]
            if not names:
                raise SourceError(
                    f"The pattern '{part}' of --features matches no column of {location}; its "
                    f"columns: {_some(columns)}."
                )
        names = [entry for name in names for entry in entries(name, lists.get(name, 0))]
        for name in names:
            if name not in known:
                raise SourceError(
                    f"{location} has no column '{name}', which --features names: "
                    f"{nearest(name, columns)} Its columns: {_some(columns)}."
                )
        found += names
    twice = [name for name, count in Counter(found).items() if count > 1]
    if twice:
        raise SourceError(
            f"Each feature is a column once, and --features names '{min(twice)}' more than once: "
            "take one of them out."
        )
    if not found:
        raise SourceError("--features names no column: give names, a range (v1..v512) or v*.")
    return tuple(found)


class VectorTable(TableSource):
    """A CSV or Parquet table of vectors; see the module's documentation."""

    kind = "table"

    def __init__(self, config: SourceConfig, *, require_label: bool = True) -> None:
        """Find the columns; nothing is read but the header, and the first of each list.

        Args:
            config: the location, and which column is which.
            require_label: whether a table without a label column is refused.

        Raises:
            SourceError: a column is missing, or serves as a label and as a feature.
        """
        self.table = open_table(config.location)
        self.images = self.table.location
        self.name = self.images.rpartition("/")[2]
        self.columns = {
            role: column
            for role in USUAL
            if role != "path" and (column := self._column(role, getattr(config, role)))
        }
        if require_label and "label" not in self.columns:
            raise self._lacks("label")
        wanted = config.features or ""
        self.features = columns_of(wanted, self.table.columns, self.images, self.table.lists)
        for role, column in self.columns.items():
            if column in self.features:
                raise SourceError(
                    f"Column '{column}' of {self.images} is the {role}, and --features takes it "
                    "for a number too, which would give the answer away: narrow the features, or "
                    f'name another column with --{role} (--{role} "" for none).'
                )

    def records(self) -> Iterator[pa.RecordBatch]:
        """See `Source.records`; holds 8 bytes of each where there is an id column."""
        if "id" in self.columns:
            self._survey()
        rows = 0
        for row, columns, n in self._numbered():
            yield self._described(row, columns, n)
            rows += n
        if not rows:
            raise SourceError(f"{self.images} has a header and no rows.")

    def vectors(self) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """See `VectorSource.vectors`."""
        row = self.table.first_row
        for batch, numbers in self.table.numbers(list(self.columns.values()), self.features):
            columns = self._checked(row, batch)
            yield self._described(row, columns, len(numbers)), numbers
            row += len(numbers)

    def _otherwise(self) -> str:
        return 'none (--id ""), which numbers the rows'

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Batches as role -> strings, checked, with the number of their first row."""
        for row, columns, _ in self._numbered():
            yield row, columns

    def _numbered(self) -> Iterator[tuple[int, dict[str, Any], int]]:
        """The same with the number of rows."""
        row = self.table.first_row
        names = list(self.columns.values())
        # A column at least, or there would be no rows; one feature costs little.
        for batch, numbers in self.table.numbers(names, self.features[: 0 if names else 1]):
            n = len(numbers)
            yield row, self._checked(row, batch), n
            row += n

    def _described(self, row: int, columns: dict[str, Any], n: int) -> pa.RecordBatch:
        rows = pa.array(np.arange(row, row + n)).cast(pa.string())
        places = pc.binary_join_element_wise(f"{self.name} row", rows, " ")
        nothing = pa.nulls(n, pa.string())
        # Of a table in several files, a change of any one is a change of all rows.
        sizes, times = file_facts(self.table.storage, self.table.files)
        arrays = [
            columns.get("id", rows),
            places,
            columns.get("label", nothing),
            columns.get("group", nothing),
            columns.get("split", nothing),
            pa.array([pc.sum(sizes).as_py()] * n, pa.int64()),
            pa.array([pc.max(times).as_py()] * n, pa.int64()),
        ]
        return pa.record_batch(arrays, schema=RECORD)


def _some(columns: Sequence[str]) -> str:
    shown = list(columns) if len(columns) <= 8 else [*columns[:4], "…", *columns[-2:]]
    return ", ".join(shown)
