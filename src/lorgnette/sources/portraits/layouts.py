"""What lies where, and what is written about it: the published file trees, one table entry each.

A layout says in which folder a portrait lies and how its file is called; `rows` says what is true
of every file. Labels are named as the source names them when it is read: after the folders, and
`glasses` and `no_glasses` for the 1 and 0 of train.csv.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lorgnette.sources.portraits import plan
from lorgnette.sources.portraits.latent import BLOCK, DIMENSIONS, Vectors, vectors
from lorgnette.sources.portraits.noise import Bools, LabelNoise, toss
from lorgnette.sources.portraits.wearing import Floats, Wearing, wearing
from lorgnette.sources.published import CLASSES, PAIRS_INSIDE, PORTRAITS_INSIDE, SIDES, TABLES

LayoutName = plan.LayoutName

TRUTH = "truth.parquet"


@dataclass(frozen=True)
class Layout:
    """A file tree.

    Attributes:
        labels: the two labels; the second is the one of glasses, or of comics.
        folders: where images of either label lie, in the same order.
        file: the name of an image; `{}` stands for the id.
        first: the id of the first portrait.
        pairs: whether each portrait is there in both styles, under one name in two folders.
        tables: the files beside the images.
    """

    labels: tuple[str, str]
    folders: tuple[str, str]
    file: str
    first: int
    pairs: bool
    tables: tuple[str, ...]

    @property
    def files_each(self) -> int:
        """Image files of one portrait."""
        return 2 if self.pairs else 1


_COMIC, _FACE = SIDES

LAYOUTS: dict[LayoutName, Layout] = {
    "glasses": Layout(
        labels=CLASSES,
        folders=(PORTRAITS_INSIDE, PORTRAITS_INSIDE),
        file="face-{}.png",
        first=1,
        pairs=False,
        tables=(*TABLES, "corrections.csv", TRUTH),
    ),
    "comics": Layout(
        labels=(_FACE, _COMIC),
        folders=(f"{PAIRS_INSIDE}/{_FACE}", f"{PAIRS_INSIDE}/{_COMIC}"),
        file="{}.jpg",
        first=0,
        pairs=True,
        tables=(TRUTH,),
    ),
    "folders": Layout(
        labels=CLASSES,
        folders=CLASSES,
        file="{}.png",
        first=1,
        pairs=False,
        tables=(TRUTH,),
    ),
}

_OF_FILES = {
    "id": pa.int64(),
    "path": pa.string(),
    "given": pa.string(),
    "true": pa.string(),
    "flip": pa.float64(),
}
_OF_GLASSES = {"undecidable": pa.bool_(), "frame": pa.string(), "faintness": pa.float64()}


def truth_schema(layout: Layout) -> pa.Schema:
    """The columns of truth.parquet: what can be said of a file in this layout."""
    return pa.schema(_OF_FILES if layout.pairs else _OF_FILES | _OF_GLASSES)


def blocks(portraits: int) -> Iterator[tuple[int, int]]:
    """The ranges of numbers in which portraits are dealt with, `BLOCK` at most in each."""
    for start in range(0, portraits, BLOCK):
        yield start, min(start + BLOCK, portraits)


def labelled_rows(portraits: int) -> int:
    """How many of the portraits stand in train.csv: all but the last tenth."""
    return portraits - portraits // 10


def given_labels(layout: Layout, noise: LabelNoise, seed: int, start: int, stop: int) -> Bools:
    """Whether the portraits are given the second label; of pairs, whether their files are swapped.

    Shape (stop - start,).
    """
    if layout.pairs:
        return toss(seed, start, stop) < noise.rate
    return noise.given(seed, start, wearing(vectors(seed, start, stop)))


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything that the tables say of some portraits.

    Attributes:
        truth: columns of `truth_schema`.
        train: lines of train.csv, without a header; `test` and `corrections` likewise. Empty in
            layouts that have no such table.
    """

    truth: pa.Table
    train: bytes = b""
    test: bytes = b""
    corrections: bytes = b""


def rows(
    layout: Layout, noise: LabelNoise, seed: int, start: int, stop: int, labelled: int
) -> Rows:
    """What the tables say of the portraits number `start` to `stop`.

    Args:
        layout: the file tree.
        noise: of the labels.
        seed: of the portraits.
        start: the first number, from 0.
        stop: one more than the last.
        labelled: portraits below this number are given a label, where a table gives it.
    """
    if layout.pairs:
        return Rows(_truth_of_pairs(layout, noise, seed, start, stop))
    latents = vectors(seed, start, stop)
    truth = wearing(latents)
    given = noise.given(seed, start, truth)
    ids = np.arange(start, stop) + layout.first
    if "train.csv" not in layout.tables:
        return Rows(_truth(layout, ids, truth, given, None, noise.chance(truth)))
    unlabelled = np.arange(start, stop) >= labelled
    border = int(np.count_nonzero(~unlabelled))
    labels = pa.array(truth.glasses.astype(np.int8), mask=truth.undecidable)
    return Rows(
        _truth(layout, ids, truth, given, unlabelled, noise.chance(truth)),
        _csv([*_columns(ids[:border], latents[:border]), pa.array(given[:border].astype(np.int8))]),
        _csv(_columns(ids[border:], latents[border:])),
        _csv([pa.array(ids), labels]),
    )


def headers() -> dict[str, bytes]:
    """The first lines of the glasses layout's CSV files."""
    latents = ",".join(f"v{number}" for number in range(1, DIMENSIONS + 1))
    return {
        "train.csv": f"id,{latents},glasses\n".encode(),
        "test.csv": f"id,{latents}\n".encode(),
        "corrections.csv": b"id,glasses\n",
    }


def _truth(
    layout: Layout,
    ids: npt.NDArray[np.int64],
    truth: Wearing,
    given: Bools,
    unlabelled: Bools | None,
    chance: Floats,
) -> pa.Table:
    numbers = ids.tolist()
    values = {
        "id": ids,
        "path": [
            f"{layout.folders[label]}/{layout.file.format(number)}"
            for number, label in zip(numbers, given.tolist(), strict=True)
        ],
        "given": _names(layout, given, unlabelled),
        "true": _names(layout, truth.glasses, truth.undecidable),
        "flip": pa.array(chance, mask=truth.undecidable),
        "undecidable": truth.undecidable,
        "frame": truth.frame,
        "faintness": truth.faintness,
    }
    return pa.table(values, schema=truth_schema(layout))


def _truth_of_pairs(
    layout: Layout, noise: LabelNoise, seed: int, start: int, stop: int
) -> pa.Table:
    """Two rows a pair, the one in the folder of faces first."""
    swapped = np.repeat(given_labels(layout, noise, seed, start, stop), 2)
    given = np.tile([False, True], stop - start)
    ids = np.repeat(np.arange(start, stop) + layout.first, 2)
    values = {
        "id": ids,
        "path": [
            f"{layout.folders[label]}/{layout.file.format(number)}"
            for number, label in zip(ids.tolist(), given.tolist(), strict=True)
        ],
        "given": _names(layout, given, None),
        "true": _names(layout, given ^ swapped, None),
        "flip": np.full(len(ids), noise.rate),
    }
    return pa.table(values, schema=truth_schema(layout))


def _names(layout: Layout, second: Bools, missing: Bools | None) -> pa.Array:
    """Labels by name, null where they are missing."""
    return pa.array(np.array(layout.labels)[second.astype(np.intp)], pa.string(), mask=missing)


def _columns(ids: npt.NDArray[np.int64], latents: Vectors) -> list[pa.Array]:
    return [pa.array(column) for column in (ids, *np.ascontiguousarray(latents.T))]


def _csv(columns: list[pa.Array]) -> bytes:
    """Lines of CSV; numbers as the shortest decimals that give them back, null as nothing."""
    table = pa.table(columns, [str(index) for index in range(len(columns))])
    sink = pa.BufferOutputStream()
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    pa.csv.write_csv(table, sink, options)
    data: bytes = sink.getvalue().to_pybytes()
    return data
