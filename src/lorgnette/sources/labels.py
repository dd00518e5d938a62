"""Tables of ids and labels of the published glasses set, and the corrections over them.

Of a table with hundreds of columns only these two are read.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lorgnette.errors import SourceError, nearest
from lorgnette.sources.columns import Vectors
from lorgnette.sources.reader import open_table

BLANK, UNCORRECTED = -1, -2
"""Beside 0 and 1 in arrays of labels: an empty value; no row for this id."""

NO_VECTORS: Vectors = np.empty((0, 0), np.float32)

Ids = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]


class Labels:
    """A table with a column `id`, a column `glasses`, or both."""

    def __init__(self, location: str, *, blank_rows: bool = False) -> None:
        """Read the header.

        Args:
            location: a CSV or Parquet file.
            blank_rows: see `open_table`.

        Raises:
            SourceError: the table cannot be read, or one of the names is there twice.
        """
        self.table = open_table(location, blank_rows=blank_rows)
        self.location = self.table.location
        self.columns: dict[str, str] = {}
        for role in ("id", "glasses"):
            found = [name for name in self.table.columns if name.strip().lower() == role]
            if len(found) > 1:
                raise SourceError(
                    f"{self.location} has {len(found)} columns named {role}: rename all but one."
                )
            if found:
                self.columns[role] = found[0]

    def need(self, role: str) -> None:
        """Complain if a column is missing."""
        if role not in self.columns:
            names = list(self.table.columns)
            shown = ", ".join(names if len(names) <= 6 else [*names[:3], "…", names[-1]])
            raise SourceError(
                f"{self.location} must begin with the names of its columns, '{role}' among them, "
                f"and it begins with {shown}: {nearest(role, names)}"
            )

    def rows(self) -> Iterator[tuple[int, Ids, Codes]]:
        """The number of the first row, ids (n,), labels (n,): 0, 1 or `BLANK`; in batches.

        Without a column `id` the k-th row has id k, without `glasses` all labels are `BLANK`.

        Raises:
            SourceError: an id is not a whole number, or a label neither 0, 1 nor blank.
        """
        for row, ids, codes, _ in self.vectors(()):
            yield row, ids, codes

    def vectors(self, features: Sequence[str]) -> Iterator[tuple[int, Ids, Codes, Vectors]]:
        """The same with columns of numbers: float32 (n, F), NaN where there is none."""
        row = self.table.first_row
        texts = list(self.columns.values())
        batches: Iterator[tuple[pa.RecordBatch, Vectors]] = (
            self.table.numbers(texts, features)
            if features
            else ((batch, NO_VECTORS) for batch in self.table.batches(texts))
        )
        for batch, numbers in batches:
            ids = np.arange(len(batch), dtype=np.int64) + (row - self.table.first_row + 1)
            codes = np.full(len(batch), BLANK, np.int8)
            if "id" in self.columns:
                ids = self._ids(batch.column(self.columns["id"]), row)
            if "glasses" in self.columns:
                codes = self._codes(batch.column(self.columns["glasses"]), row)
            yield row, ids, codes, numbers
            row += len(batch)

    def _ids(self, column: Any, row: int) -> Ids:
        whole = pc.replace_substring_regex(column, r"\.0*$", "")
        right = pc.fill_null(pc.match_substring_regex(whole, "^[0-9]{1,18}$"), False)
        wrong = pc.index(right, False).as_py()
        if wrong >= 0:
            value = column[wrong].as_py()
            raise SourceError(
                f"Ids are whole numbers, and row {row + wrong} of {self.location} has "
                f"{'none' if value is None else repr(value)}: correct it there."
            )
        return np.asarray(whole.cast(pa.int64()))

    def _codes(self, column: Any, row: int) -> Codes:
        # pandas writes 1 as 1.0 where the column has blanks
        whole = pc.replace_substring_regex(column, r"\.0*$", "")
        codes = pc.index_in(whole, pa.array(["0", "1"]))
        wrong = pc.index(pc.and_(codes.is_null(), column.is_valid()), True).as_py()
        if wrong >= 0:
            raise SourceError(
                f"In column '{self.columns['glasses']}' 1 is glasses, 0 is none and blank is not "
                f"known, and row {row + wrong} of {self.location} has "
                f"{column[wrong].as_py()!r}: correct it there."
            )
        return np.asarray(pc.fill_null(codes, BLANK), np.int8)


def known_ids(tables: Sequence[Labels]) -> Ids:
    """Check every row of tables that follow each other; their sorted ids, (n,).

    Raises:
        SourceError: there are no rows, a row is wrong, or an id occurs twice.
    """
    ids = array("q")
    for table in tables:
        for _, some, _ in table.rows():
            ids.frombytes(some.tobytes())
    if not ids:
        where = " and ".join(table.location for table in tables)
        raise SourceError(f"There is a header and no row in {where}: complete the download.")
    known = np.frombuffer(ids, np.int64)
    known.sort()
    twice = np.flatnonzero(known[1:] == known[:-1])
    if twice.size:
        raise _repeated(known[twice[0]], tables)
    return known


def places_of(ids: Ids, known: Ids) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where ids (n,) are among the known ones, and whether they are there at all, (n,) each."""
    places = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return places, known[places] == ids


def verdicts(known: Ids, corrections: Labels) -> tuple[Codes, int]:
    """What a table of corrections says of each id.

    Corrections of ids that the set does not have are passed over and counted: the table of the
    whole set corrects an incomplete download. Without ids nothing but the number of rows tells
    that a table belongs to the set, so there it must be right.

    Args:
        known: the sorted ids of the set, (n,).
        corrections: a table with the columns id and glasses, or without id.

    Returns:
        For each id 0, 1, `BLANK` or `UNCORRECTED`, (n,); and how many were passed over.

    Raises:
        SourceError: an id occurs twice, the table is that of another set, or nothing is left.
    """
    found = np.full(len(known), UNCORRECTED, np.int8)
    where = corrections.location
    strange = read = 0
    for _, ids, codes in corrections.rows():
        read += len(ids)
        places, here = places_of(ids, known)
        strange += int((~here).sum())
        places = places[here]
        again = (found[places] != UNCORRECTED) | _seen_before(places)
        if again.any():
            raise _repeated(known[places[again][0]], [corrections])
        found[places] = codes[here]
    if "id" not in corrections.columns and (strange or read != len(known)):
        raise SourceError(
            f"Without a column id, row k of corrections is id k, and {where} has {read:,} rows for "
            f"{len(known):,} ids from {known[0]} to {known[-1]}: add the column, or complete the "
            "download."
        )
    if strange == read:
        raise SourceError(
            f"None of the {read:,} rows of {where} has an id of the set, {known[0]} to "
            f"{known[-1]}: give the corrections of this one."
        )
    if (found == BLANK).all():
        raise SourceError(
            f"Blank corrections leave images out, and {where} is blank for all {len(known):,}: "
            "give a table with 0 and 1 in its column glasses."
        )
    return found, strange


def _repeated(id_: int, tables: Sequence[Labels]) -> SourceError:
    """Where an id stands that occurs more than once."""
    found = [
        f"row {row + int(place)} of {table.location}"
        for table in tables
        for row, ids, _ in table.rows()
        for place in np.flatnonzero(ids == id_)
    ]
    return SourceError(
        f"An id stands for one image, and {id_} is in {' and in '.join(found[:3])}: remove all "
        "of these rows but one."
    )


def _seen_before(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which values occurred before in the same array, (n,)."""
    again = np.ones(len(values), bool)
    again[np.unique(values, return_index=True)[1]] = False
    return again
