"""Which rows each member of a gang reads, and batches of them.

Under `sync` members have contiguous ranges of the rows; where these fit into memory, every batch is
the batch that a single process would draw, each member computing the items that lie in its range.
Where members train by themselves, rows are dealt so that each has some of every class.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorgnette.training.batches import WHOLE, MemoryFeed
from lorgnette.training.feed import (
    Batch,
    Cuttable,
    Part,
    batch_sizes,
    even_sizes,
    steps_per_epoch,
)

SHARDS_PER_MEMBER = 4
"""With at least so many shards for each member, a range ends where a shard does."""
PIECES = 8
"""So many pieces of shards are dealt to each member, for every class."""

Rows = NDArray[np.int64]


def ranges(rows: Rows, offsets: Rows, members: int) -> list[tuple[int, int]]:
    """Contiguous parts of rows, as equal as possible: where each begins and ends.

    Args:
        rows: rising, (N,).
        offsets: where each shard begins among all items, and after the last the end; (shards + 1,).
        members: of the gang. With fewer rows than members some parts are empty.
    """
    cuts = np.linspace(0, len(rows), members + 1).round().astype(np.int64)
    ends = np.unique(np.searchsorted(rows, offsets))
    if len(ends) > SHARDS_PER_MEMBER * members:
        nearest = np.abs(ends[None] - cuts[:, None]).argmin(axis=1)
        cuts = ends[nearest]
    return [(int(a), int(b)) for a, b in itertools.pairwise(cuts)]


def deal(
    rows: Rows, labels: NDArray[np.int32], offsets: Rows, members: int, classes: int
) -> list[Rows]:
    """Rows for members that train by themselves: places in `rows`, rising, for each.

    Sources are often sorted by class, and a member must not get one class only: whole shards where
    there are many, else pieces of them, are sorted by their mean label and dealt back and forth.

    Args:
        rows: rising, (N,).
        labels: class codes of these rows, (N,).
        offsets: where each shard begins among all items, and after the last the end; (shards + 1,).
        members: of the gang.
        classes: how many classes there are.
    """
    bounds = np.searchsorted(rows, offsets)
    shards = [np.arange(a, b) for a, b in itertools.pairwise(bounds) if b > a]
    wanted = PIECES * members * max(classes, 2)
    cuts = -(-wanted // max(len(shards), 1))
    pieces = [piece for shard in shards for piece in np.array_split(shard, cuts) if len(piece)]
    order = sorted(range(len(pieces)), key=lambda i: (labels[pieces[i]].mean(), i))
    hands: list[list[Rows]] = [[] for _ in range(members)]
    for place, index in enumerate(order):
        there, back = divmod(place, members)
        hands[back if there % 2 == 0 else members - 1 - back].append(pieces[index])
    return [np.sort(np.concatenate(hand)) if hand else np.arange(0) for hand in hands]


@dataclass(frozen=True, eq=False)
class PartFeed:
    """A member's part of the batches that a single process would draw.

    Attributes:
        own: the member's rows.
        first: the place of the first of them among the rows of all members.
        whole: rows of all members, N.
    """

    own: MemoryFeed
    first: int
    whole: int

    @property
    def items(self) -> int:
        """N."""
        return self.whole

    @property
    def ready(self) -> bool:
        """Whether what it yields is standardised already."""
        return self.own.ready

    @property
    def order(self) -> str:
        """See `Feed.order`: that of one process with all rows in memory."""
        return WHOLE

    def steps(self, batch_size: int) -> int:
        """See `Feed.steps`."""
        return steps_per_epoch(self.whole, batch_size)

    def standardised(self, mean: Tensor, deviation: Tensor) -> PartFeed:
        """See `Feed.standardised`."""
        return replace(self, own=self.own.standardised(mean, deviation))

    def epoch(self, seed: int, epoch: int, batch_size: int, skip: int = 0) -> Iterator[Batch]:
        """See `Feed.epoch`; the batches are those of `MemoryFeed` over all rows."""
        order = np.random.default_rng([seed, epoch]).permutation(self.whole)
        ends = np.cumsum(batch_sizes(self.whole, batch_size))
        device = self.own.device.torch
        for batch in np.split(order, ends[:-1])[skip:]:
            places = np.flatnonzero((batch >= self.first) & (batch < self.first + self.own.items))
            chosen = torch.from_numpy(batch[places] - self.first).to(self.own.pixels.device)
            yield Batch(
                self.own.pixels.index_select(0, chosen).to(device),
                self.own.labels.index_select(0, chosen).to(device),
                Part(torch.from_numpy(places), len(batch)),
            )

    def once(self, batch_size: int) -> Iterator[Batch]:
        """The member's own rows in their order."""
        if self.own.items:
            yield from self.own.once(batch_size)


@dataclass(frozen=True, eq=False)
class ShareFeed:
    """A member's own rows, in as many batches as all other members have.

    Attributes:
        own: the member's rows; None for a process that trains nothing.
        counts: rows of each member.
        member: the place of this one in `counts`.
        joined: whether the batches of all members in a step are one batch of `batch_size`, cut in
            proportion to their rows; else each member has batches of that size by itself, a bit
            smaller where it has fewer rows than another.
        kind: how rows are held, the same for all members.
    """

    own: Cuttable | None
    counts: tuple[int, ...]
    member: int
    joined: bool
    kind: str

    @property
    def items(self) -> int:
        """Rows of all members, N."""
        return sum(self.counts)

    @property
    def ready(self) -> bool:
        """Whether what it yields is standardised already."""
        return self.own is not None and self.own.ready

    @property
    def order(self) -> str:
        """See `Feed.order`: it depends on who has which rows."""
        how = "joined" if self.joined else "single"
        return f"{len(self.counts)} {how} shares, {self.kind}"

    def steps(self, batch_size: int) -> int:
        """See `Feed.steps`; the same for all members."""
        if self.joined:
            return steps_per_epoch(self.items, batch_size)
        return min(steps_per_epoch(max(self.counts), batch_size), min(self.counts))

    def standardised(self, mean: Tensor, deviation: Tensor) -> ShareFeed:
        """See `Feed.standardised`."""
        if not isinstance(self.own, MemoryFeed):
            return self
        return replace(self, own=self.own.standardised(mean, deviation))

    def epoch(self, seed: int, epoch: int, batch_size: int, skip: int = 0) -> Iterator[Batch]:
        """See `Feed.epoch`; a joined batch may have nothing for this member."""
        if self.own is None:
            return
        steps = self.steps(batch_size)
        sizes = np.stack([even_sizes(count, steps) for count in self.counts])  # (members, steps)
        before, whole = sizes[: self.member].sum(axis=0), sizes.sum(axis=0)
        batches = self.own.cut(seed, epoch, sizes[self.member].tolist(), skip)
        for step, batch in enumerate(batches, start=skip):
            if not self.joined:
                yield batch
                continue
            places = torch.arange(len(batch.labels)) + int(before[step])
            yield batch._replace(part=Part(places, int(whole[step])))

    def once(self, batch_size: int) -> Iterator[Batch]:
        """The member's own rows in their order."""
        if self.own is not None and self.own.items:
            yield from self.own.once(batch_size)
