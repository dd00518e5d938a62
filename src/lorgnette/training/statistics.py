"""Statistics of the training pixels, by which images are standardised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lorgnette.dataset.store import Dataset

STATISTICS_ITEMS = 20_000


def channel_statistics(
    dataset: Dataset, rows: NDArray[np.int64], seed: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel over the training part, in grey levels.

    Of a large part, 20,000 random items stand for all.
    """
    if len(rows) > STATISTICS_ITEMS:
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(rows, STATISTICS_ITEMS, replace=False))
    total = np.zeros((2, dataset.info.channels))
    pixels = 0
    for part in np.array_split(rows, max(len(rows) // 1000, 1)):
        images = dataset.read(part).reshape(-1, dataset.info.channels).astype(np.float32)
        total += [images.sum(axis=0, dtype=np.float64), (images**2).sum(axis=0, dtype=np.float64)]
        pixels += len(images)
    mean = total[0] / pixels
    deviation = np.sqrt(np.maximum(total[1] / pixels - mean**2, 0))
    # A channel without any variation is left as it is rather than divided by zero.
    deviation = np.where(deviation < 1e-3, 1.0, deviation)
    return tuple(mean.round(4).tolist()), tuple(deviation.round(4).tolist())
