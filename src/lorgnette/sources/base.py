"""What a source is: records in a fixed order, read out of core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

RECORD: Any = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # unique
        pa.field("path", pa.string(), nullable=False),  # relative to `images`, or absolute
        pa.field("label", pa.string()),  # null: unlabelled
        pa.field("group", pa.string()),  # null: the item is its own group
        pa.field("split", pa.string()),  # given split: train, val or test; null: not given
        pa.field("bytes", pa.int64()),  # file size; null where asking would cost a request
        pa.field("modified", pa.int64()),  # nanoseconds since 1970; null likewise
    ]
)
"""The columns of a record. Size and time are there so that a changed file is noticed."""

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Given names of splits and what they mean here; compared in lower case."""

BATCH_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image whose bytes could not be had."""

    status: str
    reason: str


class Source(Protocol):
    """Images and labels, wherever they come from; never written to."""

    kind: str
    images: str
    """The location that relative paths are relative to (see `lorgnette.storage.Storage`)."""

    def records(self) -> Iterator[pa.RecordBatch]:
        """Batches of at most `BATCH_ROWS` records of schema `RECORD`, always in the same order.

        Memory stays flat however many there are, but for what it takes to keep ids unique (at
        most 8 bytes an item) or to sort one directory.

        Raises:
            SourceError: the source cannot be read as described.
            StorageError: a disk or an object store refused.
        """
        ...
