"""One shard: its files are read, decoded and written, in a worker."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lorgnette.config import PrepareConfig
from lorgnette.dataset.decode import Decoded, Rejected, decode
from lorgnette.dataset.phash import phash
from lorgnette.dataset.store import (
    ROW,
    array_length,
    array_name,
    read_facts,
    rows_name,
    write_array,
    write_rows,
)
from lorgnette.errors import StorageError
from lorgnette.sources.base import Unreadable as Unreadable
from lorgnette.sources.embedded import is_embedded, read_embedded
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from lorgnette.dataset.pieces import Piece

REMOTE_READS = 16
"""Files of an object store that one worker fetches at the same time."""


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What the dataset as a whole needs to know of a shard; kept in the metadata of its rows.

    Attributes:
        name: the file name without its extension.
        digest: SHA-256 of the records it was made from.
        counts: rows by status.
        labels: usable items by label.
        conflicts: duplicates whose label differs from the kept copy's.
        sums: of the pixels of the first size, by channel; empty for vectors.
        squares: of the squared pixels likewise.
    """

    name: str
    digest: str
    counts: dict[str, int]
    labels: dict[str, int]
    conflicts: int
    sums: list[int]
    squares: list[int]

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self.counts.values())

    @property
    def rejected(self) -> int:
        """Rows that are not usable items."""
        return self.rows - self.counts.get("ok", 0)


def shard_name(index: int) -> str:
    """The file name of a shard without its extension."""
    return f"{index:05d}"


def read_summary(storage: Storage, index: int, sizes: Sequence[int]) -> ShardSummary | None:
    """The summary of a shard that exists whole, else None."""
    name = shard_name(index)
    facts = read_facts(storage, rows_name(name))
    if facts is None:
        return None
    summary = ShardSummary(**facts)
    items = summary.counts.get("ok", 0)
    whole = all(array_length(storage, array_name(name, size, sizes)) == items for size in sizes)
    return summary if whole else None


def prepare_shard(piece: Piece, *, images: str, out: str, settings: dict[str, Any]) -> ShardSummary:
    """Read and decode the files of one piece and write the shard.

    Args:
        piece: the records.
        images: the location that their paths are relative to.
        out: the dataset's location.
        settings: a `PrepareConfig` as plain data.
    """
    config = PrepareConfig.model_validate(settings)
    records = pa.ipc.open_stream(piece.records).read_all()
    channels = 3 if config.color == "rgb" else 1
    arrays = {
        size: np.empty((len(records), size, size, channels), np.uint8) for size in config.size
    }
    rows: list[dict[str, Any]] = []
    items = 0
    paths = records["path"].to_pylist()
    for record, data in zip(
        records.select(["id", "path", "label", "group", "split"]).to_pylist(),
        read_files(Storage.at(images), paths),
        strict=True,
    ):
        row = {**record, "status": "ok", "error": None}
        rows.append(row)
        if isinstance(data, Unreadable):
            row |= {"status": data.status, "error": data.reason}
            continue
        row |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        try:
            decoded: Decoded = decode(
                data, config.size, config.color, config.fit, config.pixel_limit
            )
        except Rejected as rejected:
            row |= {"status": rejected.status, "error": rejected.reason}
            continue
        row |= {"width": decoded.width, "height": decoded.height}
        for size, pixels in zip(config.size, decoded.pixels, strict=True):
            arrays[size][items] = pixels
        items += 1
    arrays = {size: array[:items] for size, array in arrays.items()}
    hashes = iter(phash(arrays[config.size[0]]).tolist())
    for row in rows:
        if row["status"] == "ok":
            row["phash"] = next(hashes)
    table = pa.Table.from_pylist(rows, schema=ROW)
    return write_shard(Storage.at(out), shard_name(piece.index), piece.digest, table, arrays, 0)


def prepare_vectors(piece: Piece, *, out: str, features: list[str]) -> ShardSummary:
    """Write a shard of vectors; a row that lacks a number is set aside where that was asked for.

    Args:
        piece: the records and their vectors.
        out: the dataset's location.
        features: the names of the columns, (F,).
    """
    assert piece.vectors is not None
    vectors = piece.vectors
    lacking = ~np.isfinite(vectors) if piece.drop else np.zeros(vectors.shape, bool)
    kept: NDArray[np.bool_] = np.logical_not(lacking.any(axis=1))
    records = pa.ipc.open_stream(piece.records).read_all()
    rows: list[dict[str, Any]] = []
    for place, record in enumerate(
        records.select(["id", "path", "label", "group", "split"]).to_pylist()
    ):
        row = {**record, "status": "ok", "error": None, "bytes": vectors[place].nbytes}
        if not kept[place]:
            name = features[int(np.argmax(lacking[place]))]
            row |= {"status": "missing", "error": f"there is no number in column '{name}'"}
        else:
            row["sha256"] = hashlib.sha256(vectors[place].tobytes()).hexdigest()
        rows.append(row)
    table = pa.Table.from_pylist(rows, schema=ROW)
    arrays = {0: np.ascontiguousarray(vectors[kept])}
    return write_shard(Storage.at(out), shard_name(piece.index), piece.digest, table, arrays, 0)


def write_shard(
    storage: Storage,
    name: str,
    digest: str,
    rows: pa.Table,
    arrays: dict[int, NDArray[Any]],
    conflicts: int,
) -> ShardSummary:
    """Write a shard's arrays, then its rows, which make it valid; and sum it up.

    Args:
        storage: the dataset.
        name: the shard.
        digest: of the records it was made from.
        rows: of schema `ROW`; as many with status `ok` as the arrays have rows.
        arrays: by size, the first size first; uint8 (n, size, size, C), or float32 (n, F).
        conflicts: duplicates whose label differs from the kept copy's.
    """
    sizes = list(arrays)
    statuses = rows["status"].to_pylist()
    labels = Counter(
        label
        for label, status in zip(rows["label"].to_pylist(), statuses, strict=True)
        if status == "ok" and label is not None
    )
    sums, squares = _moments(arrays[sizes[0]]) if arrays[sizes[0]].ndim == 4 else ([], [])
    summary = ShardSummary(
        name=name,
        digest=digest,
        counts=dict(sorted(Counter(statuses).items())),
        labels=dict(sorted(labels.items())),
        conflicts=conflicts,
        sums=sums,
        squares=squares,
    )
    for size, array in arrays.items():
        write_array(storage, array_name(name, size, sizes), array)
    write_rows(storage, rows_name(name), rows, asdict(summary))
    return summary


def _moments(array: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Exact sums and sums of squares of an array (n, H, W, C) by channel, from a histogram."""
    levels = np.arange(256, dtype=np.int64)
    counts = [np.bincount(array[..., c].ravel(), minlength=256) for c in range(array.shape[-1])]
    return (
        [int(levels @ count) for count in counts],
        [int(levels**2 @ count) for count in counts],
    )


def read_files(storage: Storage, paths: Sequence[str]) -> Iterator[bytes | Unreadable]:
    """The bytes of each image in order; a few at a time are in memory.

    A path is that of a file, or leads into a table (see `lorgnette.sources.embedded`).
    """
    for embedded, some in groupby(paths, key=is_embedded):
        read = read_embedded if embedded else _read_plain
        yield from read(storage, list(some))


def _read_plain(storage: Storage, paths: Sequence[str]) -> Iterator[bytes | Unreadable]:
    """The bytes of each file in order.

    Object stores answer late, so several files are asked for at once there.
    """
    if storage.is_local:
        for path in paths:
            yield _read(storage, path)
        return
    with ThreadPoolExecutor(REMOTE_READS) as pool:
        waiting: deque[Future[bytes | Unreadable]] = deque()
        for path in paths:
            waiting.append(pool.submit(_read, storage, path))
            if len(waiting) >= 2 * REMOTE_READS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(storage: Storage, path: str) -> bytes | Unreadable:
    try:
        return storage.read(path)
    except FileNotFoundError:
        return Unreadable("missing", "there is no file at this path")
    except (StorageError, ValueError) as error:
        cause = error.__cause__
        if isinstance(cause, IsADirectoryError):
            return Unreadable("missing", "this path is a directory, not a file")
        reason = getattr(cause, "strerror", None) or str(error)
        return Unreadable("corrupt", f"the file could not be read: {reason}")
