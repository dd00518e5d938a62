"""The tables beside the portraits, in one pass and in flat memory, however many there are."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lorgnette.config import Settings
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
from lorgnette.storage import Storage, refusals

_GROUP = 64
"""Blocks in a row group of truth.parquet."""

_THREADS = 8
"""At most; from there on the disk is what takes time."""


class Counts(Settings):
    """What the tables say, added up."""

    given: dict[str, int]
    """Files by the label that they are given."""
    wrong: int
    """Files whose given label is not the true one."""
    undecidable: int
    """Files that have no true label."""


def write_tables(
    storage: Storage, name: LayoutName, noise: LabelNoise, seed: int, portraits: int, threads: int
) -> Counts:
    """Write every table of a layout, each whole or not at all.

    Args:
        storage: the directory.
        name: the layout.
        noise: of the labels.
        seed: of the portraits.
        portraits: how many.
        threads: how many blocks are computed at a time. Threads rather than the engine's processes:
            nearly all of the work is done without Python's lock, and the lines, which have to be
            put in order, need not travel.
    """
    layout = LAYOUTS[name]
    given: Counter[str] = Counter()
    wrong = undecidable = 0
    waiting: list[pa.Table] = []
    with refusals(storage.root), contextlib.ExitStack() as stack:
        write_truth = stack.enter_context(_truth(storage, layout))
        files: dict[str, Any] = {}
        for table, header in headers().items():
            if table in layout.tables:
                path = stack.enter_context(storage.writing(table))
                files[table] = stack.enter_context(open(path, "wb"))
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
            undecidable += made.truth["true"].null_count
            meter.advance(len(made.truth) // layout.files_each)
        if waiting:
            write_truth(waiting)
    return Counts(given=dict(sorted(given.items())), wrong=wrong, undecidable=undecidable)


@contextlib.contextmanager
def _truth(storage: Storage, layout: Layout) -> Iterator[Any]:
    """A function that adds tables to truth.parquet as one row group."""
    schema = truth_schema(layout)
    with (
        storage.writing(TRUTH) as path,
        open(path, "wb") as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
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
