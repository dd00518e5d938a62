"""The records of a source, cut into the pieces that workers turn into shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from lorgnette.errors import SourceError
from lorgnette.sources import VectorSource
from lorgnette.sources.base import RECORD, Source


@dataclass(frozen=True, slots=True)
class Piece:
    """The records of one shard, on their way to a worker.

    Attributes:
        index: the shard's place, from 0.
        records: the records as an Arrow IPC stream.
        digest: SHA-256 over the records' values.
        vectors: float32 (n, F) where items are vectors.
        drop: whether rows that lack a number are set aside.
    """

    index: int
    records: bytes
    digest: str
    vectors: NDArray[np.float32] | None = None
    drop: bool = False


def vector_pieces(source: VectorSource, shard_items: int, missing: str) -> Iterator[Piece]:
    """Cut a source of vectors into pieces of `shard_items`, the last one shorter.

    Raises:
        SourceError: a row lacks a number and `missing` is `error`.
    """
    batches = source.vectors()
    records, vectors = RECORD.empty_table(), np.empty((0, len(source.features)), np.float32)
    for index in range(10**9):
        tables, arrays = [records], [vectors]
        have = len(records)
        while have < shard_items and (batch := next(batches, None)) is not None:
            tables.append(pa.Table.from_batches([batch[0]]))
            arrays.append(batch[1])
            have += len(batch[1])
            if missing == "error" and not np.isfinite(batch[1]).all():
                raise _lacking(batch[0], batch[1], source.features)
        joined, stacked = pa.concat_tables(tables).combine_chunks(), np.concatenate(arrays)
        if not len(joined):
            return
        head, records = joined.slice(0, shard_items), joined.slice(shard_items)
        numbers, vectors = stacked[:shard_items], stacked[shard_items:]
        if missing == "mean":  # an infinite number says as little as none
            numbers = np.where(np.isfinite(numbers), numbers, np.float32("nan"))
        yield Piece(index, *_packed(head), vectors=numbers, drop=missing == "drop")


def _lacking(
    records: pa.RecordBatch, vectors: NDArray[np.float32], features: tuple[str, ...]
) -> SourceError:
    row, column = np.argwhere(~np.isfinite(vectors))[0]
    value = vectors[row, column]
    found = "none" if np.isnan(value) else f"{value}"
    return SourceError(
        f"Every row needs a number in each feature, and {records['path'][int(row)]} has {found} in "
        f"column '{features[int(column)]}': correct it there, or use --set prepare.missing=drop "
        "(set such rows aside) or mean (let the mean of the training part stand in)."
    )


def image_pieces(source: Source, shard_items: int) -> Iterator[Piece]:
    """Cut the source's records into pieces of `shard_items`, the last one shorter."""
    rows: Iterator[pa.Table] = (pa.Table.from_batches([batch]) for batch in source.records())
    rest = RECORD.empty_table()
    for index in range(10**9):
        parts = [rest]
        have = len(rest)
        while have < shard_items and (table := next(rows, None)) is not None:
            parts.append(table)
            have += len(table)
        joined = pa.concat_tables(parts).combine_chunks()
        if not len(joined):
            return
        head, rest = joined.slice(0, shard_items), joined.slice(shard_items)
        yield Piece(index, *_packed(head))


def _packed(records: pa.Table) -> tuple[bytes, str]:
    """Records as an Arrow stream, and their digest."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, RECORD) as stream:
        stream.write_table(records)
    return sink.getvalue().to_pybytes(), hashlib.sha256(canonical(records)).hexdigest()


def canonical(records: pa.RecordBatch | pa.Table) -> memoryview:
    """Records as bytes that depend on their values alone.

    Arrow's own buffers do not: what lies under a null is undefined there.
    """
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(records, sink, pa.csv.WriteOptions(include_header=False))
    return memoryview(sink.getvalue())
