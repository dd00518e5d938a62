"""Odd items: far from all others in the embedding, or unlike any picture of the collection.

Several measures are taken of every item: the distance to its 10th neighbour in the embedding
(Ramaswamy, Rastogi & Shim, "Efficient Algorithms for Mining Outliers from Large Data Sets", SIGMOD
2000), and of images a few facts of their pixels and the shape of the file. How far out a value is,
is told by a tail through the median and the 90th percentile, neither of which moves when a few
items in a hundred are foreign. The tail is a Weibull distribution's of shape 1.5, between the
exponential and the normal one: of clean collections the measures of images have such tails. An item
is flagged where less than half an item so far out is expected among all measures of all items,
as in Bonferroni's correction; the threshold rises with their number.

The shape was chosen on 500 portraits, as photographs and as comics, on 500 of a set of cartoons,
and on 633 real photographs, of which it flags 0, 0, 0 and 2. On as many other portraits, comics and
cartoons it flags none, and all 6 of noise, text and flat colour planted in each; of 50 other real
photographs 1. A cartoon among portraits, or a portrait among cartoons, is not flagged (0 of 12):
neither these measures nor an embedding of small pictures tell it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorgnette.audit.neighbours import Neighbours
from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import DatasetError, EngineError
from lorgnette.progress import progress

EXPECTED = 0.5
"""Items of a clean collection that are flagged, by the tail."""
SHAPE = 1.5
"""Of the tail: 1 is exponential; the normal distribution's is near 1.6 where it counts here."""
SPREADS = {
    "distance": 0.1, "contrast": 0.1, "brightness": 12.0, "grain": 0.1, "flatness": 0.05,
    "colour": 0.1, "aspect": 0.1,
}  # fmt: skip
"""What a measure's 90th percentile is away from its median at least: where all images but one have
the same shape, that one is not infinitely far out."""
FEWEST = 20
"""With fewer items nothing is flagged: there is no tail to speak of."""
EDGE = 32
PIECE = 1024
ALONE = 5_000
"""Up to so many items the work is done before the processes that would share it have started."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Outliers:
    """How odd each item is.

    Attributes:
        score: float32 (N,), the share of items that are less odd, 0 to 1.
        flagged: bool (N,), whether it is odd enough to look at.
        reason: of each flagged item, by its place, the measure that is furthest out: a key of
            `SPREADS`.
    """

    score: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    reason: dict[int, str]


def find_outliers(dataset: Dataset, neighbours: Neighbours, engine: Engine) -> Outliers:
    """Score every usable item.

    Args:
        dataset: images or vectors.
        neighbours: of their embeddings.
        engine: where pixels are measured.

    Raises:
        DatasetError: the neighbours are those of other items.
        EngineError: a shard could not be measured.
    """
    n = len(dataset)
    if len(neighbours.reach) != n:
        raise DatasetError(
            f"Outliers are told by the neighbours of the same items, and {dataset.location} has "
            f"{n:,} and the neighbours are of {len(neighbours.reach):,}: compute them again."
        )
    # Logarithms: a ratio of two distances says more than their difference.
    measures = {"distance": np.log(np.maximum(neighbours.reach, 1e-6))}
    sides = {"distance": (1,)}
    if not dataset.is_vectors:
        pixels = _pixels(dataset, engine)
        names = ("contrast", "brightness", "grain", "flatness", "colour")
        measures |= {name: pixels[:, place] for place, name in enumerate(names)}
        measures["aspect"] = _aspect(dataset)
    return judge(measures, {name: sides.get(name, (-1, 1)) for name in measures})


def judge(measures: dict[str, NDArray[np.floating]], sides: dict[str, tuple[int, ...]]) -> Outliers:
    """How odd items are by several measures.

    Args:
        measures: by name, a key of `SPREADS`; (N,).
        sides: by name, on which sides of the median being far out is odd: 1 above, -1 below.
    """
    n = len(next(iter(measures.values())))
    tails = [(name, side) for name in measures for side in sides[name]]
    odds = np.zeros((len(tails), n))
    for row, (name, side) in enumerate(tails):
        odds[row] = exceedance(side * measures[name], SPREADS[name])
    worst = odds.max(axis=0, initial=-np.inf)
    order = np.sort(worst)
    score = np.searchsorted(order, worst, side="left") / max(n, 1)
    flagged = worst > np.log(max(n, 1) * len(tails) / EXPECTED)
    flagged &= n >= FEWEST
    which = odds.argmax(axis=0) if n else np.empty(0, np.int64)
    reason = {int(place): tails[which[place]][0] for place in np.flatnonzero(flagged)}
    return Outliers(score.astype(np.float32), flagged, reason)


def exceedance(values: NDArray[np.floating], spread: float) -> NDArray[np.float64]:
    """-log of the probability that a value is at least so large, by a Weibull tail.

    log 2 + log 5 · u^SHAPE with u = (x - median) / (q90 - median), so that P(X > median) = 0.5 and
    P(X > q90) = 0.1; negative u counts as it does in u itself, for the ranking alone.

    Args:
        values: (N,).
        spread: q90 - median at the least.
    """
    if not len(values):
        return np.empty(0)
    median, high = np.quantile(values, [0.5, 0.9])
    u = (np.asarray(values, np.float64) - median) / max(high - median, spread)
    return np.asarray(np.log(2) + np.log(5) * np.where(u > 0, np.abs(u) ** SHAPE, u))


def _aspect(dataset: Dataset) -> NDArray[np.float64]:
    """The logarithm of width through height of each image's file, (N,); 0 where it is not known."""
    sizes = []
    for table in dataset.tables(["width", "height"]):
        width, height = (table[name].to_numpy().astype(np.float64) for name in ("width", "height"))
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes.append(np.log(width / height))
    aspect = np.concatenate([np.empty(0), *sizes])
    return np.where(np.isfinite(aspect), aspect, 0.0)


def _pixels(dataset: Dataset, engine: Engine) -> NDArray[np.float64]:
    """What `measure_pixels` finds of all items, (N, 5), shard by shard."""
    found = np.zeros((len(dataset), 5))
    offsets = dataset.offsets
    shards = [index for index in range(len(offsets) - 1) if offsets[index + 1] > offsets[index]]
    with progress("Measuring pixels", len(dataset), "images") as meter:
        if len(dataset) <= ALONE:
            for index in shards:
                found[offsets[index] : offsets[index + 1]] = _shard(dataset, index)
                meter.advance(dataset.info.shards[index].items)
            return found
        for outcome in engine.map(Task.of(measure_shard, location=dataset.location), shards):
            if outcome.value is None:
                raise EngineError(
                    f"The pixels of shard {outcome.item} of {dataset.location} could not be "
                    f"measured ({outcome.attempts} attempts): {outcome.error}"
                )
            found[offsets[outcome.item] : offsets[outcome.item + 1]] = outcome.value
            meter.advance(len(outcome.value))
    return found


def measure_shard(index: int, *, location: str) -> NDArray[np.float64]:
    """The measures of one shard's pixels, in a worker; (n, 5)."""
    return _shard(Dataset.load(location), index)


def _shard(dataset: Dataset, index: int) -> NDArray[np.float64]:
    sizes = dataset.info.prepare.size
    size = min((size for size in sizes if size >= EDGE), default=max(sizes))
    pixels = dataset.shard(index, size)
    pieces = range(0, len(pixels), PIECE)
    return np.concatenate(
        [measure_pixels(np.asarray(pixels[start : start + PIECE])) for start in pieces]
    )


def measure_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A few facts about pictures.

    Args:
        pixels: uint8 (n, H, W, C), C = 1 or 3.

    Returns:
        (n, 5): the logarithm of the luminance's standard deviation; its mean; the logarithm of the
        mean difference of neighbours by that deviation (large for noise and text); the share of
        neighbours that are equal within one grey level (large for drawings and screens, none for
        noise); the logarithm of the mean distance of the channels from grey (0 for one channel).
    """
    wide = pixels.astype(np.float32)
    grey = wide[..., 0] if wide.shape[-1] == 1 else wide @ _LUMINANCE
    deviation = grey.std(axis=(1, 2))
    across = np.abs(np.diff(grey, axis=2)).reshape(len(grey), -1)
    down = np.abs(np.diff(grey, axis=1)).reshape(len(grey), -1)
    steps = np.concatenate([across, down], axis=1)
    colour = (
        np.abs(wide - grey[..., None]).mean((1, 2, 3)) if wide.shape[-1] == 3 else 0 * deviation
    )
    return np.stack(
        [
            np.log(deviation + 2),  # 2 grey levels: below, a picture is blank whatever they are
            grey.mean(axis=(1, 2)),
            np.log((steps.mean(1) + 1) / (deviation + 2)),
            (steps <= 1).mean(1),
            np.log(colour + 4),
        ],
        axis=1,
    ).astype(np.float64)
