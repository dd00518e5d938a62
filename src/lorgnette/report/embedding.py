"""Datasets as vectors and as class means, in one pass over the shards.

Vectors are what they are; images become 16 × 16 pixels, or what the last hidden layer of a trained
network makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import EngineError
from lorgnette.evaluation.hidden import EDGE as EDGE
from lorgnette.evaluation.hidden import PIECE, hidden_pieces, small_size
from lorgnette.evaluation.hidden import to_vectors as to_vectors
from lorgnette.progress import progress
from lorgnette.report.pictures import nearest_size
from lorgnette.report.projection import Moments
from lorgnette.rundir import Run
from lorgnette.training.statistics import feature_statistics

if TYPE_CHECKING:
    from lorgnette.model import Model

PICTURED = 24
"""Classes of which a mean picture is made."""
ALONE = 20_000
"""Up to so many items the work is done before the processes that would share it have started."""

Fill = tuple[float, ...] | None
"""What stands for a number that a vector lacks, by feature; None where nothing is missing."""


@dataclass
class ClassMeans:
    """Count, mean and squared deviations of every dimension in each class.

    Attributes:
        counts: (K,).
        means: (K, D) for vectors; (K, H, W, C) for images, in grey levels.
        squares: (K, D), the sum of squared deviations from the class's mean; None for images.
    """

    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    squares: NDArray[np.float64] | None

    def merge(self, other: ClassMeans) -> ClassMeans:
        """Both parts together."""
        counts = self.counts + other.counts
        tail = (slice(None),) + (None,) * (self.means.ndim - 1)
        share = (other.counts / np.maximum(counts, 1))[tail]
        step = other.means - self.means
        squares = None
        if self.squares is not None and other.squares is not None:
            weight = self.counts[tail] * share
            squares = self.squares + other.squares + step**2 * weight
        return ClassMeans(counts, self.means + step * share, squares)


@dataclass
class Pass:
    """What one pass over some items finds."""

    moments: Moments
    classes: ClassMeans

    def merge(self, other: Pass) -> Pass:
        """Both parts together."""
        return Pass(self.moments.merge(other.moments), self.classes.merge(other.classes))


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard on its way to a worker: its place, and its items' label codes, (n,)."""

    index: int
    labels: NDArray[np.int32]


def stand_in(dataset: Dataset) -> Fill:
    """What takes the place of numbers that vectors lack, (F,): the means; None if none can lack."""
    if not dataset.is_vectors or dataset.info.prepare.missing != "mean":
        return None
    return feature_statistics(dataset, np.arange(len(dataset)))[0]


def _filled(items: NDArray[Any], fill: Fill) -> NDArray[Any]:
    return items if fill is None else np.where(np.isnan(items), np.array(fill, np.float32), items)


def survey(dataset: Dataset, labels: NDArray[np.int32], engine: Engine) -> Pass:
    """Moments of all usable items and means of each class, shard by shard through the engine.

    Parts are merged in the order of the shards, so that the figures do not depend on who was
    first.
    """
    bounds, fill = dataset.offsets, stand_in(dataset)
    shards = [
        Shard(index, labels[bounds[index] : bounds[index + 1]])
        for index in range(len(dataset.info.shards))
        if bounds[index + 1] > bounds[index]
    ]
    whole: Pass | None = None
    with progress("Looking", len(dataset), "items") as meter:
        for shard, part in _parts(dataset, shards, engine, fill):
            whole = part if whole is None else whole.merge(part)
            meter.advance(len(shard.labels))
    if whole is None:
        empty = dataset.read(np.empty(0, np.int64), small_size(dataset))
        return _pass(empty, empty, np.empty(0, np.int32), len(dataset.info.classes))
    return whole


def _parts(
    dataset: Dataset, shards: list[Shard], engine: Engine, fill: Fill
) -> Iterator[tuple[Shard, Pass]]:
    if len(dataset) <= ALONE:
        for shard in shards:
            yield shard, _shard_pass(dataset, shard, fill)
        return
    task: Task[Shard, Pass] = Task.of(look, location=dataset.location, fill=fill)
    waiting: dict[int, tuple[Shard, Pass]] = {}
    order = [shard.index for shard in shards]
    due = 0
    for outcome in engine.map(task, shards):
        if outcome.value is None:
            raise EngineError(f"A shard of {dataset.location} cannot be read: {outcome.error}")
        waiting[outcome.item.index] = (outcome.item, outcome.value)
        while due < len(order) and order[due] in waiting:
            yield waiting.pop(order[due])
            due += 1


def look(shard: Shard, *, location: str, fill: Fill) -> Pass:
    """One shard's part of the survey, in a worker."""
    return _shard_pass(Dataset.load(location), shard, fill)


def _shard_pass(dataset: Dataset, shard: Shard, fill: Fill) -> Pass:
    size = small_size(dataset)
    shown = None if size is None else nearest_size(dataset.info.prepare.size)
    small = dataset.shard(shard.index, size)
    large = small if shown == size else dataset.shard(shard.index, shown)
    whole: Pass | None = None
    for start in range(0, len(small), PIECE):
        piece = slice(start, start + PIECE)
        part = _pass(
            _filled(np.asarray(small[piece]), fill),
            _filled(np.asarray(large[piece]), fill),
            shard.labels[piece],
            len(dataset.info.classes),
        )
        whole = part if whole is None else whole.merge(part)
    assert whole is not None  # empty shards are left out
    return whole


def _pass(
    small: NDArray[Any], large: NDArray[Any], labels: NDArray[np.int32], classes: int
) -> Pass:
    """Moments of vectors, and class means of vectors or of pictures to look at."""
    vectors = large.ndim == 2
    shown = classes if vectors else min(classes, PICTURED)
    shape = (shown, *large.shape[1:])
    counts, means = np.zeros(shown, np.int64), np.zeros(shape)
    squares = np.zeros(shape) if vectors else None
    for code in np.unique(labels[(labels >= 0) & (labels < shown)]):
        members = large[labels == code].astype(np.float64)
        counts[code], means[code] = len(members), members.mean(axis=0)
        if squares is not None:
            squares[code] = ((members - means[code]) ** 2).sum(axis=0)
    return Pass(Moments.of(to_vectors(small)), ClassMeans(counts, means, squares))


def sample_vectors(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Chosen items as vectors, (n, D)."""
    fill = stand_in(dataset)
    parts = [
        to_vectors(_filled(dataset.read(rows[start : start + PIECE], small_size(dataset)), fill))
        for start in range(0, max(len(rows), 1), PIECE)
    ]
    return np.concatenate(parts)


def held_out(run: Run, dataset: Dataset) -> NDArray[np.int64]:
    """The items of a dataset that a run did not train on, (n,); all where it is another dataset."""
    record = run.read("run.json")
    if run.locate(record.get("dataset", "")) != dataset.location:
        return np.arange(len(dataset))
    with run.storage.open("split.parquet") as file:
        table = pq.read_table(file, columns=["id", "split"])
    trained = table["id"].filter(pc.equal(pc.fill_null(table["split"], ""), "train"))
    ids = dataset.rows(["id"])["id"]
    seen = np.asarray(pc.is_in(ids, value_set=pa.array(trained.to_pylist(), pa.string())), bool)
    return np.flatnonzero(~seen)


def hidden(
    model: Model, dataset: Dataset, rows: NDArray[np.int64], keep: NDArray[np.bool_]
) -> tuple[Moments, NDArray[np.float32]]:
    """What the last hidden layer of a network makes of some items.

    Args:
        model: trained on items of the dataset's kind.
        dataset: where the items are.
        rows: which of them, (n,).
        keep: (n,) which of their vectors are returned.

    Returns:
        The moments of all of them, and the kept vectors, (m, D): the input of the network's last
        dense layer.

    Raises:
        DatasetError: the dataset's items are not what the model takes.
    """
    moments: Moments | None = None
    kept: list[NDArray[np.float32]] = []
    done = 0
    for x in hidden_pieces(model, dataset, rows):
        part = Moments.of(x)
        moments = part if moments is None else moments.merge(part)
        kept.append(x[keep[done : done + len(x)]])
        done += len(x)
    assert moments is not None  # a run holds out at least one item
    return moments, np.concatenate(kept)
