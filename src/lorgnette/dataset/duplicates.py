"""Exact duplicates: of files with the same bytes one stays an item, the others become rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.dataset.shard import ShardSummary, write_shard
from lorgnette.dataset.store import ROW, array_name, read_array, rows_name
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import EngineError
from lorgnette.progress import progress
from lorgnette.storage import Storage


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rows of one shard must say of duplicates.

    Attributes:
        index: the shard's place.
        digest: of the records it was made from.
        rows: row -> (is a duplicate, its sentence or None).
        conflicts: how many duplicates are labelled otherwise than the kept copy.
    """

    index: int
    digest: str
    rows: dict[int, tuple[bool, str | None]]
    conflicts: int


def mark_duplicates(
    storage: Storage, done: dict[int, ShardSummary], sizes: tuple[int, ...], engine: Engine
) -> dict[int, ShardSummary]:
    """Give duplicates their status, over all shards, and take their pixels out.

    The first copy in the source's order stays. The verdict depends on the files alone, so that
    marking continues after a kill and changes nothing when run again.

    Args:
        storage: the dataset; all its shards exist.
        done: their summaries by index.
        sizes: the prepared sizes.
        engine: where shards are rewritten.

    Returns:
        The summaries, new where a shard changed.
    """
    verdicts = [
        verdict for verdict in _verdicts(storage, done) if not _is_marked(storage, done, verdict)
    ]
    if not verdicts:
        return done
    marked = dict(done)
    task: Task[Verdict, ShardSummary] = Task.of(rewrite_shard, out=storage.root, sizes=sizes)
    with progress("Setting duplicates aside", len(verdicts), "shards") as meter:
        for outcome in engine.map(task, verdicts):
            if outcome.value is None:
                raise EngineError(
                    f"The duplicates in shard {outcome.item.index} could not be set aside "
                    f"({outcome.attempts} attempts): {outcome.error}"
                )
            marked[outcome.item.index] = outcome.value
            meter.advance(1)
    return marked


def _read_rows(storage: Storage, name: str, columns: list[str] | None = None) -> pa.Table:
    with storage.open(rows_name(name)) as file:
        return pq.read_table(file, columns=columns)


def _verdicts(storage: Storage, done: dict[int, ShardSummary]) -> list[Verdict]:
    """Find the copies: 8 bytes an item are held, and the rows of copies alone are read again."""
    prefixes, shards, places = _digests(storage, done)
    order = np.argsort(prefixes, kind="stable")
    equal = prefixes[order][1:] == prefixes[order][:-1]
    copies = np.zeros(len(order), bool)
    copies[order[1:]] |= equal
    copies[order[:-1]] |= equal
    rows: dict[str, list[tuple[int, int, str, str | None]]] = {}
    for index in np.unique(shards[copies]):
        table = _read_rows(storage, done[int(index)].name, ["id", "label", "sha256"])
        for place in places[copies & (shards == index)]:
            row = table.slice(int(place), 1).to_pylist()[0]
            entry = (int(index), int(place), row["id"], row["label"])
            rows.setdefault(row["sha256"], []).append(entry)
    found: dict[int, Verdict] = {}
    for first, *others in (entries for entries in rows.values() if len(entries) > 1):
        index, place, first_id, first_label = first
        conflicting = [entry for entry in others if entry[3] != first_label]
        note = None
        if conflicting:
            named = ", ".join(f"{entry[2]} ({_label(entry[3])})" for entry in conflicting[:3])
            note = (
                f"labelled {_label(first_label)}, but an exact copy is labelled otherwise: {named}"
            )
            _verdict(found, done, index).rows[place] = (False, note)
        for index, place, _, label in others:
            text = f"the same bytes as {first_id}"
            verdict = _verdict(found, done, index)
            if label != first_label:
                text += f", which is labelled {_label(first_label)} and this one {_label(label)}"
                found[index] = verdict = Verdict(
                    index, verdict.digest, verdict.rows, verdict.conflicts + 1
                )
            verdict.rows[place] = (True, text)
    return [found[index] for index in sorted(found)]


def _verdict(found: dict[int, Verdict], done: dict[int, ShardSummary], index: int) -> Verdict:
    return found.setdefault(index, Verdict(index, done[index].digest, {}, 0))


def _label(label: str | None) -> str:
    return "nothing" if label is None else f"'{label}'"


def _digests(
    storage: Storage, done: dict[int, ShardSummary]
) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int32]]:
    """Of every row that decodes: the first 64 bits of its digest, its shard, its place there."""
    prefixes, shards, places = [], [], []
    for index in sorted(done):
        table = _read_rows(storage, done[index].name, ["status", "sha256"])
        decodes = np.isin(table["status"].to_numpy(zero_copy_only=False), ["ok", "duplicate"])
        place = np.flatnonzero(decodes)
        digests = table["sha256"].take(place).to_pylist()
        prefixes.append(np.array([int(digest[:16], 16) for digest in digests], np.uint64))
        shards.append(np.full(len(place), index, np.int32))
        places.append(place.astype(np.int32))
    return np.concatenate(prefixes), np.concatenate(shards), np.concatenate(places)


def _is_marked(storage: Storage, done: dict[int, ShardSummary], verdict: Verdict) -> bool:
    """Whether a shard already says what the verdict says."""
    table = _read_rows(storage, done[verdict.index].name, ["status", "error"])
    return all(
        table["status"][row].as_py() == ("duplicate" if duplicate else "ok")
        and table["error"][row].as_py() == text
        for row, (duplicate, text) in verdict.rows.items()
    )


def rewrite_shard(verdict: Verdict, *, out: str, sizes: tuple[int, ...]) -> ShardSummary:
    """Write one shard anew with its duplicates marked and their pixels taken out."""
    storage = Storage.at(out)
    name = f"{verdict.index:05d}"
    rows: list[dict[str, Any]] = _read_rows(storage, name).to_pylist()
    before = np.array([row["status"] == "ok" for row in rows])
    for place, (duplicate, text) in verdict.rows.items():
        rows[place] |= {"status": "duplicate" if duplicate else "ok", "error": text}
    after = np.array([row["status"] == "ok" for row in rows])
    keep = after[before]
    arrays = {
        size: np.ascontiguousarray(read_array(storage, array_name(name, size, sizes))[keep])
        for size in sizes
    }
    table = pa.Table.from_pylist(rows, schema=ROW)
    return write_shard(storage, name, verdict.digest, table, arrays, verdict.conflicts)
