"""Statistics of the training part, by which inputs are standardised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorgnette.dataset.store import Dataset

STATISTICS_ITEMS = 20_000
PIECE_ROWS = 4096

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation, a number for each channel or feature."""

Floats = NDArray[np.float64]


def statistics(
    dataset: Dataset,
    rows: NDArray[np.int64],
    seed: int,
    normalize: str,
    size: int | None = None,
) -> Statistics:
    """What inputs are standardised by: over the training part alone.

    Args:
        dataset: where the items are.
        rows: the training part, rising, (n,).
        seed: of the sample that stands for a large part of images.
        normalize: `standard` (zero mean, unit deviation) or `unit` (pixels divided by 255, vectors
            as they are).
        size: one of the prepared sizes; the first if not given.
    """
    width = dataset.item_shape()[-1]
    if normalize == "unit":
        scale = 1.0 if dataset.is_vectors else 255.0
        return (0.0,) * width, (scale,) * width
    if dataset.is_vectors:
        return feature_statistics(dataset, rows)
    return channel_statistics(dataset, rows, seed, size)


def channel_statistics(
    dataset: Dataset, rows: NDArray[np.int64], seed: int, size: int | None = None
) -> Statistics:
    """Mean and deviation of each channel over the training part, in grey levels.

    Of a large part, 20,000 random items stand for all.
    """
    if len(rows) > STATISTICS_ITEMS:
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(rows, STATISTICS_ITEMS, replace=False))
    total = np.zeros((2, dataset.info.channels))
    pixels = 0
    for part in np.array_split(rows, max(len(rows) // 1000, 1)):
        images = dataset.read(part, size).reshape(-1, dataset.info.channels).astype(np.float32)
        total += [images.sum(axis=0, dtype=np.float64), (images**2).sum(axis=0, dtype=np.float64)]
        pixels += len(images)
    mean = total[0] / pixels
    deviation = np.sqrt(np.maximum(total[1] / pixels - mean**2, 0))
    # A channel without any variation is left as it is rather than divided by zero.
    deviation = np.where(deviation < 1e-3, 1.0, deviation)
    return tuple(mean.round(4).tolist()), tuple(deviation.round(4).tolist())


class Moments(NamedTuple):
    """Of some rows: how many numbers each feature has, their mean, and their squared distances."""

    known: Floats
    mean: Floats
    squares: Floats

    def merge(self, other: Moments) -> Moments:
        """Of both together, without losing digits where the mean is large.

        Chan, Golub & LeVeque 1983, *Algorithms for Computing the Sample Variance*.
        """
        known = self.known + other.known
        share = other.known / np.maximum(known, 1)
        apart = other.mean - self.mean
        return Moments(
            known,
            self.mean + apart * share,
            self.squares + other.squares + apart**2 * self.known * share,
        )


def feature_statistics(dataset: Dataset, rows: NDArray[np.int64]) -> Statistics:
    """Mean and deviation (over n, as scikit-learn's) of each feature, in one pass over the shards.

    Shards are read in parallel and merged in their order, so the result does not depend on who was
    first. Missing numbers (NaN) do not count; a feature without variation has deviation 1.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        total = reduce(Moments.merge, pool.map(_moments, _pieces(dataset, rows)))
    deviation = np.sqrt(total.squares / np.maximum(total.known, 1))
    flat = deviation <= 10 * np.finfo(np.float64).eps * np.abs(total.mean)
    return tuple(total.mean.tolist()), tuple(np.where(flat, 1.0, deviation).tolist())


def _pieces(dataset: Dataset, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """The vectors of the rows, some thousand at a time."""
    bounds = np.searchsorted(rows, dataset.offsets)
    for index in range(len(dataset.info.shards)):
        places = rows[bounds[index] : bounds[index + 1]] - dataset.offsets[index]
        shard = dataset.shard(index) if len(places) else None
        for start in range(0, len(places), PIECE_ROWS):
            assert shard is not None
            yield shard[places[start : start + PIECE_ROWS]]


def _moments(vectors: NDArray[Any]) -> Moments:
    values = vectors.astype(np.float64)
    there = np.isfinite(values)
    known = there.sum(axis=0).astype(np.float64)
    mean = np.where(there, values, 0).sum(axis=0) / np.maximum(known, 1)
    squares = np.where(there, values - mean, 0) ** 2
    return Moments(known, mean, squares.sum(axis=0))
