"""Batches of images or vectors: sliced from memory where they fit, streamed from shards where not.

The order of an epoch depends on the seed, the epoch and the rows alone, so that a training that is
taken up in the middle of an epoch sees the batches that are left and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device
from lorgnette.model import standardise
from lorgnette.training.feed import Batch as Batch
from lorgnette.training.feed import Cuttable
from lorgnette.training.feed import Feed as Feed
from lorgnette.training.feed import batch_sizes as batch_sizes
from lorgnette.training.feed import steps_per_epoch as steps_per_epoch

MIXED_SHARDS = 64
"""Shards whose images are mixed at least."""

GATHERED_BYTES = 4 * 2**20
"""Items that are copied out of memory at once, in their shuffled order."""

WHOLE = "all as one"
"""The order of feeds that permute all items at once; see `Feed.order`."""


@dataclass(frozen=True, eq=False)
class MemoryFeed:
    """All pixels in memory: the device's where they fit there, else the machine's.

    Attributes:
        pixels: uint8 (N, H, W, C), or vectors, float32 (N, F).
        labels: int64 (N,).
        device: where batches go.
        ready: whether the items are standardised already, which is done once for vectors.
    """

    pixels: Tensor
    labels: Tensor
    device: Device
    ready: bool = False

    @property
    def items(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def order(self) -> str:
        """See `Feed.order`: one permutation of all items."""
        return WHOLE

    def steps(self, batch_size: int) -> int:
        """See `Feed.steps`."""
        return steps_per_epoch(self.items, batch_size)

    def standardised(self, mean: Tensor, deviation: Tensor) -> MemoryFeed:
        """See `Feed.standardised`."""
        place = self.pixels.device
        inputs = standardise(self.pixels, mean.to(place), deviation.to(place))
        return replace(self, pixels=inputs, ready=True)

    def epoch(self, seed: int, epoch: int, batch_size: int, skip: int = 0) -> Iterator[Batch]:
        """See `Feed.epoch`."""
        yield from self.cut(seed, epoch, batch_sizes(self.items, batch_size).tolist(), skip)

    def cut(self, seed: int, epoch: int, sizes: list[int], skip: int = 0) -> Iterator[Batch]:
        """See `Cuttable.cut`."""
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(self.items))
        order = order.to(self.pixels.device)[sum(sizes[:skip]) :]
        largest = max(sizes, default=1)
        sizes = sizes[skip:]
        # Small batches are picked several at a time: one call for each would cost more than it.
        together = max(GATHERED_BYTES // max(largest * self.pixels[:1].nbytes, 1), 1)
        for first in range(0, len(sizes), together):
            parts = sizes[first : first + together]
            chosen, order = order[: sum(parts)], order[sum(parts) :]
            pixels = torch.split(self.pixels.index_select(0, chosen), parts)
            labels = torch.split(self.labels.index_select(0, chosen), parts)
            yield from (self._move(*batch) for batch in zip(pixels, labels, strict=True))

    def once(self, batch_size: int) -> Iterator[Batch]:
        """See `Feed.once`."""
        for pixels, labels in zip(
            torch.split(self.pixels, batch_size),
            torch.split(self.labels, batch_size),
            strict=True,
        ):
            yield self._move(pixels, labels)

    def _move(self, pixels: Tensor, labels: Tensor) -> Batch:
        return Batch(pixels.to(self.device.torch), labels.to(self.device.torch))


@dataclass(frozen=True, eq=False)
class MappedFeed:
    """Pixels in the system's page cache: read once per machine, shared by all its processes.

    Shards are mapped into memory and items copied out of them some batches at a time, in the same
    order as `MemoryFeed` has, so that figures do not depend on which of the two it was.

    Attributes:
        dataset: where the pixels are; local.
        size: which of the prepared sizes.
        rows: the items of this part, (N,).
        labels: int64 (N,) for these rows.
        device: where batches go.
    """

    dataset: Dataset
    size: int
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    device: Device

    @property
    def items(self) -> int:
        """N."""
        return len(self.rows)

    @property
    def ready(self) -> bool:
        """Never: what is mapped is what is stored."""
        return False

    @property
    def order(self) -> str:
        """See `Feed.order`: that of `MemoryFeed`."""
        return WHOLE

    def steps(self, batch_size: int) -> int:
        """See `Feed.steps`."""
        return steps_per_epoch(self.items, batch_size)

    def standardised(self, mean: Tensor, deviation: Tensor) -> MappedFeed:
        """See `Feed.standardised`: images are standardised in each step."""
        return self

    def epoch(self, seed: int, epoch: int, batch_size: int, skip: int = 0) -> Iterator[Batch]:
        """See `Feed.epoch`."""
        yield from self.cut(seed, epoch, batch_sizes(self.items, batch_size).tolist(), skip)

    def once(self, batch_size: int) -> Iterator[Batch]:
        """See `Feed.once`."""
        order = np.arange(self.items)
        yield from self._batches(order, [len(part) for part in _pieces(order, batch_size)])

    def cut(self, seed: int, epoch: int, sizes: list[int], skip: int = 0) -> Iterator[Batch]:
        """See `Cuttable.cut`."""
        order = np.random.default_rng([seed, epoch]).permutation(self.items)
        yield from self._batches(order[sum(sizes[:skip]) :], sizes[skip:])

    def _batches(self, order: NDArray[np.int64], sizes: list[int]) -> Iterator[Batch]:
        most = max(GATHERED_BYTES // max(max(sizes, default=1) * self._item_bytes, 1), 1)
        for first in range(0, len(sizes), most):
            parts = sizes[first : first + most]
            chosen, order = order[: sum(parts)], order[sum(parts) :]
            pixels = torch.from_numpy(self.dataset.read(self.rows[chosen], self.size))
            labels = torch.from_numpy(self.labels[chosen])
            for batch in zip(torch.split(pixels, parts), torch.split(labels, parts), strict=True):
                yield Batch(batch[0].to(self.device.torch), batch[1].to(self.device.torch))

    @property
    def _item_bytes(self) -> int:
        return self.dataset.item_bytes(self.size)


def _pieces(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


@dataclass(frozen=True, eq=False)
class StreamFeed:
    """Pixels stay on disk: shards in a shuffled order, their images mixed in a buffer.

    Shards are drawn in a random order, in windows of at least 64 (more, where the budget holds
    more): the images of a window are shuffled as one and read in parts that fill half the budget,
    the next part while one is trained on. A window holds many shards because one alone may hold a
    single class: sources are often sorted by class.

    Attributes:
        dataset: where the pixels are.
        size: which of the prepared sizes.
        rows: the items of this part, rising, (N,).
        labels: int64 (N,) for these rows.
        device: where batches go.
        budget: bytes of pixels that may be in memory.
    """

    dataset: Dataset
    size: int
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    device: Device
    budget: int

    @property
    def items(self) -> int:
        """N."""
        return len(self.rows)

    @property
    def ready(self) -> bool:
        """Never: what is read is what is stored."""
        return False

    @property
    def order(self) -> str:
        """See `Feed.order`: so many shards are mixed at a time."""
        return f"windows of {self._window} shards"

    def steps(self, batch_size: int) -> int:
        """See `Feed.steps`."""
        return steps_per_epoch(self.items, batch_size)

    def standardised(self, mean: Tensor, deviation: Tensor) -> StreamFeed:
        """See `Feed.standardised`: what is not in memory is standardised in each step."""
        return self

    def epoch(self, seed: int, epoch: int, batch_size: int, skip: int = 0) -> Iterator[Batch]:
        """See `Feed.epoch`."""
        yield from self.cut(seed, epoch, batch_sizes(self.items, batch_size).tolist(), skip)

    def cut(self, seed: int, epoch: int, sizes: list[int], skip: int = 0) -> Iterator[Batch]:
        """See `Cuttable.cut`."""
        orders = self._shuffled(seed, epoch, sum(sizes[:skip]))
        yield from self._batches(orders, sizes[skip:])

    def once(self, batch_size: int) -> Iterator[Batch]:
        """See `Feed.once`."""
        orders = (
            np.arange(start, min(start + self._most, self.items))
            for start in range(0, self.items, self._most)
        )
        sizes = [batch_size] * (self.items // batch_size)
        if rest := self.items % batch_size:
            sizes.append(rest)
        yield from self._batches(orders, sizes)

    @property
    def _most(self) -> int:
        """Items that half the budget holds: one half is trained on while the other is read."""
        return max(self.budget // 2 // self.dataset.item_bytes(self.size), 1)

    @property
    def _bounds(self) -> NDArray[np.int64]:
        """Where the rows of each shard begin, and after the last the end; (shards + 1,)."""
        return np.searchsorted(self.rows, self.dataset.offsets)

    @property
    def _window(self) -> int:
        """Shards that are mixed at a time."""
        return max(MIXED_SHARDS, self._most // max(int(np.diff(self._bounds).max()), 1))

    def _shuffled(self, seed: int, epoch: int, skip: int) -> Iterator[NDArray[np.int64]]:
        """Places in `rows` in the order of an epoch, in parts that half the budget holds.

        The first `skip` items are left out, without reading them.
        """
        shards = np.random.default_rng([seed, epoch]).permutation(len(self.dataset.info.shards))
        bounds, window = self._bounds, self._window
        held = np.diff(bounds)
        for start in range(0, len(shards), window):
            chosen = shards[start : start + window]
            if skip >= held[chosen].sum():
                skip -= int(held[chosen].sum())
                continue
            places = np.concatenate([np.arange(bounds[s], bounds[s + 1]) for s in chosen])
            order = np.random.default_rng([seed, epoch, start]).permutation(places)[skip:]
            skip = 0
            yield from (order[i : i + self._most] for i in range(0, len(order), self._most))

    def _batches(self, orders: Iterator[NDArray[np.int64]], sizes: list[int]) -> Iterator[Batch]:
        """Batches of these sizes over all parts in turn; the next part is read ahead."""
        pixels, labels = torch.empty(0), torch.empty(0)
        wanted = iter(sizes)
        size = next(wanted, None)
        with ThreadPoolExecutor(1) as pool:
            coming = [pool.submit(self._read, order) for order in islice(orders, 1)]
            while coming:
                read_pixels, read_labels = coming.pop().result()
                coming += [pool.submit(self._read, order) for order in islice(orders, 1)]
                if len(labels):
                    read_pixels = torch.cat([pixels, read_pixels])
                    read_labels = torch.cat([labels, read_labels])
                pixels, labels = read_pixels, read_labels
                del read_pixels, read_labels
                start = 0
                while size is not None and start + size <= len(labels):
                    chosen = slice(start, start + size)
                    place = self.device.torch
                    yield Batch(pixels[chosen].to(place), labels[chosen].to(place))
                    start += size
                    size = next(wanted, None)
                # A copy, so that what was handed out does not keep the whole part in memory.
                pixels, labels = pixels[start:].clone(), labels[start:].clone()

    def _read(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        pixels = self.dataset.read(self.rows[places], self.size)
        return torch.from_numpy(pixels), torch.from_numpy(self.labels[places])


def open_feed(
    dataset: Dataset,
    rows: NDArray[np.int64],
    labels: NDArray[np.int32],
    device: Device,
    budget: int,
    size: int | None = None,
    mapped: bool = False,
) -> Cuttable:
    """Some items of a dataset as a feed: in memory where their pixels fit a budget.

    Args:
        dataset: where the pixels are.
        rows: the items, rising, (N,).
        labels: class codes of these items, (N,).
        device: where batches go.
        budget: bytes.
        size: one of the prepared sizes; the first if not given.
        mapped: images on a local disk that fit are not copied into this process but left in the
            page cache, which all processes of the machine share; of no account on a GPU.
    """
    edge = size or dataset.info.prepare.size[0]
    codes = labels.astype(np.int64)
    if len(rows) * dataset.item_bytes(edge) > budget:
        return StreamFeed(dataset, edge, rows, codes, device, budget)
    on_cpu = device.torch.type == "cpu"
    if mapped and on_cpu and dataset.storage.is_local and not dataset.is_vectors:
        return MappedFeed(dataset, edge, rows, codes, device)
    pixels = torch.from_numpy(dataset.read(rows, edge))
    if not on_cpu and pixels.nbytes < device.free_bytes() // 2:
        pixels = pixels.to(device.torch)
    return MemoryFeed(pixels, torch.from_numpy(codes).to(pixels.device), device)
