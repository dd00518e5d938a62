"""Decisions as CSV, out and in, and the labels in force as a table of corrections."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError, SourceError, nearest
from lorgnette.sources.labels import BLANK, Labels
from lorgnette.sources.published import CLASSES
from lorgnette.sources.reader import SUFFIXES
from lorgnette.storage import Storage, refusals

COLUMNS = ("id", "action", "to", "reason", "who")
"""What an import reads; the first two must be there."""
BESIDE = ("given", "by", "when")
"""What an export says besides, and an import passes over."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        rows: of the table.
        decided: decisions that were appended; the other rows said what stood already.
    """

    rows: int
    decided: int


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a table of corrections holds.

    Attributes:
        rows: items.
        changed: labels that differ from the given ones.
        blank: items that were dropped or that nobody can decide.
        columns: the header.
    """

    rows: int
    changed: int
    blank: int
    columns: tuple[str, str]


def export_decisions(dataset: Dataset, out: str) -> int:
    """Write the decisions that stand as CSV, one row an item; returns their number.

    Columns: id, action, to, reason, who, given, by, when. Imported into another copy of the dataset
    it gives the same labels in force.
    """
    ledger = dataset.ledger
    standings = ledger.standings()
    reasons = ledger.reasons(ledger.places(standings).tolist())
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([*COLUMNS, *BESIDE])
    writer = csv.writer(text, csv.unix_dialect)  # all quoted: a name may hold any character
    for (id_, one), reason in zip(standings.items(), reasons, strict=True):
        row = [id_, one.action, one.label, reason, one.who, one.given, one.by, one.when]
        writer.writerow(["" if value is None else value for value in row])
    _write(dataset, out, text.getvalue().encode())
    return len(standings)


def import_decisions(dataset: Dataset, table: str, who: str = "") -> Imported:
    """Decide what the rows of a CSV file say, all or nothing.

    Args:
        dataset: whose items they are about.
        table: columns id, action, to (of a relabel), reason and who; those of an export may be
            there too.
        who: whose the rows without a name are.

    Raises:
        SourceError: the file is not such a table.
        ConfigError: a row cannot be done; the sentence has its number, from 1 for the header.
    """
    rows = 0
    ledger, classes = dataset.ledger, dataset.info.classes

    def wanted() -> Iterator[Wanted]:
        nonlocal rows
        standings, met = ledger.standings(), set()
        for number, row in _rows(table):
            rows += 1
            id_, action, to = row["id"], row["action"].strip(), row.get("to") or None
            # Blanks at the ends are a person's, unless there is a name that has them.
            if id_ != id_.strip() and ledger.places([id_])[0] < 0:
                id_ = id_.strip()
            if to not in classes:
                to = (to or "").strip() or None
            standing = None if id_ in met else standings.get(id_)
            met.add(id_)
            if standing and (standing.action, standing.label) == (action, to):
                continue  # imported before
            yield Wanted(
                id_,
                action,
                to,
                row.get("reason", "").strip() or Path(table).name,
                row.get("who", "").strip() or who,
                "import",
                f"Row {number} of {table}",
            )

    decided = ledger.extend(wanted())
    return Imported(rows, decided)


def write_corrections(dataset: Dataset, out: str) -> Corrected:
    """Write the labels in force as CSV, in the order of ids; blank where an item is left out.

    Of the published glasses set this is the published format, columns id and glasses with 1 and 0,
    which `lorgnette prepare --corrections` reads; what was left out by earlier corrections stays
    so. Elsewhere the columns are id and the one that labels came from, or `label`. Items that never
    had a label and of which nothing was decided are not in it.

    Raises:
        SourceError: the earlier corrections cannot be read any more.
    """
    ids = dataset.rows(["id"])["id"].combine_chunks()
    fold, given = dataset.ledger.fold(), dataset.labels("given")
    labels = fold.labels
    there = (labels >= 0) | (given >= 0) | fold.decided
    changed = int(((labels >= 0) & (given >= 0) & (labels != given)).sum())
    if _is_published(dataset, ids):
        columns = ("id", "glasses")
        numbers = np.asarray(ids.cast(pa.int64()))
        codes = np.array([CLASSES.index(name) for name in dataset.info.classes] + [BLANK], np.int64)
        numbers, glasses = _with_earlier(dataset, numbers, numbers[there], codes[labels[there]])
        order = np.argsort(numbers, kind="stable")
        numbers, glasses = numbers[order], glasses[order]
        table = pa.table([pa.array(numbers), pa.array(glasses, mask=glasses < 0)], names=columns)
    else:
        columns = ("id", dataset.info.source.label or "label")
        chosen = ids.filter(pa.array(there))
        names = pa.array([*dataset.info.classes, None], pa.string())
        values = names.take(pa.array(labels[there] % len(names)))  # -1 is the last one, a null
        by_id = pc.sort_indices(chosen)
        table = pa.table([chosen.take(by_id), values.take(by_id)], names=["id", "label"])
    _write(dataset, out, _csv(table, columns))
    return Corrected(len(table), changed, table.column(1).null_count, columns)


def _is_published(dataset: Dataset, ids: Any) -> bool:
    """Whether this is the published glasses set, or one in its layout."""
    source = dataset.info.source
    is_table = source.location.lower().endswith(SUFFIXES)
    return (
        (source.kind == "kaggle" or (source.kind == "auto" and not is_table))
        and set(dataset.info.classes) <= set(CLASSES)
        and bool(pc.all(pc.match_substring_regex(ids, "^[0-9]{1,18}$")).as_py())
    )


def _with_earlier(
    dataset: Dataset, known: NDArray[np.int64], ids: NDArray[np.int64], codes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and codes with those of the dataset's own corrections that are not among its items."""
    if not dataset.info.source.corrections:
        return ids, codes
    all_ids, all_codes = [ids], [codes]
    for _, some, verdicts in Labels(dataset.info.source.corrections, blank_rows=True).rows():
        strange = ~np.isin(some, known)
        all_ids.append(some[strange])
        all_codes.append(verdicts[strange].astype(np.int64))
    return np.concatenate(all_ids), np.concatenate(all_codes)


def _rows(table: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file by the number that a person gives them, the header being row 1."""
    try:
        with (
            refusals(table),
            open(Path(table).expanduser(), encoding="utf-8-sig", newline="") as file,
        ):
            reader = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            _check_header(header, table)
            for number, values in enumerate(reader, 2):
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(header):
                    raise SourceError(
                        f"Row {number} of {table} has {len(values)} values and its header "
                        f"{len(header)}: correct the row."
                    )
                yield number, dict(zip(header, values, strict=True))
    except FileNotFoundError:
        raise SourceError(f"There is no table of decisions at {table}.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{table} is no CSV file in UTF-8 ({error}): save it as one.") from error


def _check_header(header: list[str], table: str) -> None:
    known = (*COLUMNS, "from", *BESIDE)
    for name in header:
        if name not in known:
            raise SourceError(
                f"Decisions have the columns {', '.join(COLUMNS)}, and row 1 of {table} has "
                f"'{name}': {nearest(name, known)}"
            )
        if header.count(name) > 1:
            raise SourceError(f"Row 1 of {table} has the column '{name}' twice: rename one.")
    for name in COLUMNS[:2]:
        if name not in header:
            raise SourceError(
                f"Decisions have the columns {', '.join(COLUMNS)}, and row 1 of {table} has no "
                f"'{name}': add it."
            )


def _csv(table: pa.Table, columns: tuple[str, str]) -> bytes:
    import pyarrow.csv

    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(columns)
    buffer = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, buffer, pyarrow.csv.WriteOptions(include_header=False))
    return header.getvalue().encode() + bytes(buffer.getvalue())


def _write(dataset: Dataset, out: str, data: bytes) -> None:
    """Write a file whole or not at all; into a device or a pipe, as it comes.

    Raises:
        ConfigError: the file is the dataset's own, such as its ledger.
    """
    path = Path(out).expanduser()
    with refusals(out):
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
            return
    own = dataset.storage.is_local and path.resolve().is_relative_to(
        Path(dataset.storage.resolve("")).resolve()
    )
    if own and path.exists() and path.suffix.lower() != ".csv":
        raise ConfigError(
            f"A table is written to a file of its own, and {out} is one of the dataset's: choose "
            "another name."
        )
    Storage.at(str(path.parent)).write(path.name, data)
