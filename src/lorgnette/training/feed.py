"""What a training is fed with: batches, and the parts of batches that several processes share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Part(NamedTuple):
    """Which places of the whole batch these items have.

    Attributes:
        places: int64 (B,), on the CPU; B may be 0.
        whole: items of the batch over all processes.
    """

    places: Tensor
    whole: int


class Batch(NamedTuple):
    """Items and what they are, on the device.

    Attributes:
        items: uint8 (B, H, W, C) or float32 (B, F).
        labels: int64 class codes (B,).
        part: what these items are of a batch that several processes share; None where the batch is
            this process's own.
    """

    items: Tensor
    labels: Tensor
    part: Part | None = None

    @property
    def whole(self) -> int:
        """Items of the batch over all processes that share it."""
        return len(self.labels) if self.part is None else self.part.whole


class Feed(Protocol):
    """The items of one part of a dataset, as batches."""

    @property
    def items(self) -> int:
        """N."""
        ...

    @property
    def ready(self) -> bool:
        """Whether what it yields is standardised already."""
        ...

    @property
    def order(self) -> str:
        """What the order of an epoch depends on besides its arguments and the rows."""
        ...

    def steps(self, batch_size: int) -> int:
        """The number of batches of an epoch."""
        ...

    def standardised(self, mean: Tensor, deviation: Tensor) -> Feed:
        """The same with vectors in memory standardised once, and not in every step."""
        ...

    def epoch(self, seed: int, epoch: int, batch_size: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of a training epoch in its shuffled order, the first `skip` left out."""
        ...

    def once(self, batch_size: int) -> Iterator[Batch]:
        """All items in their given order."""
        ...


class Cuttable(Feed, Protocol):
    """A feed whose epochs can be cut into batches of any sizes."""

    def cut(self, seed: int, epoch: int, sizes: list[int], skip: int = 0) -> Iterator[Batch]:
        """An epoch in its shuffled order as batches of these sizes; some may be 0."""
        ...


def steps_per_epoch(items: int, batch_size: int) -> int:
    """The number of batches that an epoch is cut into, as equal as possible."""
    return -(-items // batch_size)


def batch_sizes(items: int, batch_size: int) -> NDArray[np.int64]:
    """Sizes of the batches of an epoch: none above `batch_size`, none much smaller than another.

    A short last batch would count each of its items more, and one of a single image breaks batch
    normalisation.
    """
    return even_sizes(items, steps_per_epoch(items, batch_size))


def even_sizes(items: int, steps: int) -> NDArray[np.int64]:
    """Sizes of so many batches, as equal as possible."""
    return np.full(steps, items // steps) + (np.arange(steps) < items % steps)
