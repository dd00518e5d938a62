"""The tables beside the portraits, in one pass and in flat memory, however many there are."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lorgnette.progress import progress
from lorgnette.sources.portraits.layouts import (
    LAYOUTS,
    TRUTH,
    Layout,
    LayoutName,
    Rows,
    blocks,
    headers,
    labelled_rows,
    rows,
    truth_schema,
)
from lorgnette.sources.portraits.noise import LabelNoise
from lorgnette.sources.portraits.plan import Counts, Table
from lorgnette.storage import Storage, refusals

_GROUP = 64
"""Blocks in a row group of truth.parquet."""

_THREADS = 8
"""At most; from there on the disk is what takes time."""

_SMALL = 2**26
"""Bytes of a table that is read again on every call, which takes a tenth of a second."""


def write_tables(
    storage: Storage,
    name: LayoutName,
    noise: LabelNoise,
    seed: int,
    portraits: int,
    threads: int,
    ready: Callable[[Counts, dict[str, Table]], None],
) -> None:
    """Write every table of a layout beside those that are there, which then are replaced.

    A failure leaves what was there. Killed between two replacements, it leaves tables of which some
    are not what `ready` was told, as `intact` sees.

    Args:
        storage: the directory.
        name: the layout.
        noise: of the labels.
        seed: of the portraits.
        portraits: how many.
        threads: how many blocks are computed at a time. Threads rather than the engine's processes:
            nearly all of the work is done without Python's lock, and the lines, which have to be
            put in order, need not travel.
        ready: called when all of them are whole, before the first is replaced.
    """
    layout = LAYOUTS[name]
    given: Counter[str] = Counter()
    wrong = undecidable = 0
    waiting: list[pa.Table] = []
    with refusals(storage.root), contextlib.ExitStack() as replacing:
        paths = {table: replacing.enter_context(storage.writing(table)) for table in layout.tables}
        with contextlib.ExitStack() as stack:
            write_truth = stack.enter_context(_truth(paths[TRUTH], layout))
            files: dict[str, Any] = {}
            for table, header in headers().items():
                if table in paths:
                    files[table] = stack.enter_context(open(paths[table], "wb"))
                    files[table].write(header)
            meter = stack.enter_context(progress("Writing tables", portraits, "rows"))
            for made in _in_order(layout, noise, seed, portraits, threads):
                for table, file in files.items():
                    file.write(getattr(made, table.removesuffix(".csv")))
                waiting.append(made.truth)
                if len(waiting) == _GROUP:
                    write_truth(waiting)
                    waiting = []
                for entry in made.truth["given"].value_counts().to_pylist():
                    if entry["values"] is not None:
                        given[entry["values"]] += entry["counts"]
                differs = pc.not_equal(made.truth["given"], made.truth["true"])
                wrong += pc.sum(differs).as_py() or 0
                torn = pc.and_(pc.is_valid(made.truth["given"]), pc.is_null(made.truth["true"]))
                undecidable += pc.sum(torn).as_py() or 0
                meter.advance(len(made.truth) // layout.files_each)
            if waiting:
                write_truth(waiting)
        counts = Counts(given=dict(sorted(given.items())), wrong=wrong, undecidable=undecidable)
        ready(counts, {table: _described(path) for table, path in paths.items()})


def intact(storage: Storage, tables: Mapping[str, Table], *, thoroughly: bool) -> bool:
    """Whether tables are there as they were written.

    Args:
        storage: the directory.
        tables: what was written.
        thoroughly: read also those that are large.
    """
    for name, table in tables.items():
        path = Path(storage.resolve(name))
        try:
            with refusals(str(path)):
                if not path.is_file() or path.stat().st_size != table.bytes:
                    return False
                if (thoroughly or table.bytes <= _SMALL) and _described(str(path)) != table:
                    return False
        except FileNotFoundError:
            return False
    return True


def _described(path: str) -> Table:
    """The size and the checksum of a file."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Table(bytes=os.fstat(file.fileno()).st_size, sha256=digest)


@contextlib.contextmanager
def _truth(path: str, layout: Layout) -> Iterator[Any]:
    """A function that adds tables to truth.parquet, at this path, as one row group."""
    schema = truth_schema(layout)
    with open(path, "wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield lambda tables: writer.write_table(pa.concat_tables(tables))


def _in_order(
    layout: Layout, noise: LabelNoise, seed: int, portraits: int, threads: int
) -> Iterator[Rows]:
    """The rows of all blocks, computed a few blocks ahead."""
    threads = min(threads, _THREADS)
    labelled = labelled_rows(portraits)
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Rows]] = deque()
        try:
            for start, stop in blocks(portraits):
                ahead.append(pool.submit(rows, layout, noise, seed, start, stop, labelled))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:  # where the disk is full, nothing more is computed
                future.cancel()
