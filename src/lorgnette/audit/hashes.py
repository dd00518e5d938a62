"""Near-equal 64-bit hashes without comparing all pairs.

Multi-index hashing: the bits are dealt to m parts, and of two hashes that differ in at most r bits
one part differs in at most r // m. So each part is a table, and each hash looks up its own value
there with every pattern of so few bits flipped: 696 lookups for r = 8 and 21-bit parts, where all
pairs of a million hashes are 5e11. After Norouzi, Punjani & Fleet, "Fast Search in Hamming Space
with Multi-Index Hashing", CVPR 2012; here all lookups of one pattern are a few passes over sorted
arrays, as the hashes are searched for among themselves.

Where hashes crowd, the radius gives way, and not time or memory: see `Near.radius`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.errors import ConfigError

BITS = 64
RADIUS = 8
"""Bits: of portraits and cartoons re-encoded, resized or brightened 99% are within it, and of those
with 2% cut off each side 95%; of different portraits one pair in 3,000 is, of the alike cartoons
one in 500."""
LARGEST = 11
"""No larger radius is taken: the lookups multiply, and of what they find ever less is a copy."""
NEAREST = 8
"""Pairs that are kept of a hash that has more."""
BUDGET = 2_000_000_000
"""Comparisons, at most: three minutes where nearly all of them are pairs, less elsewhere."""
CROWDED = 64
"""Hashes with more than so many to compare with are compared in rectangles."""
CELLS = 1 << 20
"""Comparisons of a rectangle at once."""
PIECE = 1 << 21
"""Pairs that are held before the farthest are dropped, at least."""

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Near:
    """Which hashes are near each other.

    Attributes:
        distinct: the different hashes, rising; (U,).
        of: which of them each item has, (N,).
        left: places in `distinct`, (P,).
        right: likewise; `left < right`, no pair twice, sorted by both.
        bits: in how many bits the two differ, 1 to `radius`; (P,).
        radius: up to which distance pairs were looked for: the wanted radius, or the largest whose
            comparisons are within the budget.
    """

    distinct: Hashes
    of: Ints
    left: Ints
    right: Ints
    bits: NDArray[np.uint8]
    radius: int


def near(
    hashes: Hashes, radius: int = RADIUS, *, nearest: int | None = NEAREST, budget: int = BUDGET
) -> Near:
    """All pairs of different hashes within a Hamming radius.

    Equal hashes are one: a million blank pictures are a single entry of `distinct`.

    Args:
        hashes: uint64 (N,).
        radius: bits, 0 to 11.
        nearest: how many pairs of a hash are certain to be kept, the nearest ones; of two hashes
            that both have more, the pair may be left out. None: all pairs, whatever memory they
            take.
        budget: comparisons, at most: where hashes crowd so much that more are needed, the radius
            shrinks until they are not.

    Raises:
        ConfigError: the radius is not allowed.
    """
    if not 0 <= radius <= LARGEST:
        raise ConfigError(f"The radius must be from 0 to {LARGEST} bits, got {radius}.")
    distinct, of = np.unique(np.ascontiguousarray(hashes, np.uint64), return_inverse=True)
    width = _parts(len(distinct))
    keys = [_part(distinct, width, part) for part in range(width)]
    few = width * len(distinct) ** 2 / 2 <= budget
    while radius and not few and _comparisons(keys, radius) > budget:
        radius -= 1
    found = _Pairs(nearest)
    if radius and len(distinct) > 1:
        for part in range(width):
            for left, right in _same_part(distinct, keys, part, radius):
                found.add(left, right, np.bitwise_count(distinct[left] ^ distinct[right]))
    left, right, bits = found.all()
    return Near(distinct, of.astype(np.int64), left, right, bits, radius)


def clusters(near: Near) -> Ints:
    """Items that are linked by pairs of near hashes, chains included; (N,), -1 for one alone.

    Numbers are from 0 in the order of each cluster's first item.
    """
    return linked(len(near.of), *_links(near))


def _links(near: Near) -> tuple[Ints, Ints]:
    """Pairs of items that stand for all pairs: first items of near hashes, each item and its first.

    A hash of many items is a star and not a clique.
    """
    _, first = np.unique(near.of, return_index=True)
    return (
        np.concatenate([np.arange(len(near.of)), first[near.left]]),
        np.concatenate([first[near.of], first[near.right]]),
    )


def linked(n: int, left: NDArray[Any], right: NDArray[Any]) -> Ints:
    """Connected components of n items by pairs, (n,); -1 for an item alone.

    Numbers are from 0 in the order of each component's first item.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(n, n))
    _, codes = connected_components(graph, directed=False)
    _, first, inverse, counts = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    numbers = np.full(len(first), -1, np.int64)
    several = np.flatnonzero(counts > 1)
    numbers[several[np.argsort(first[several])]] = np.arange(len(several))
    return np.asarray(numbers[inverse], np.int64)


def _parts(n: int) -> int:
    """Into how many parts the bits are dealt: parts of about log2(n) bits cost least."""
    return 3 if n > 300_000 else 4 if n > 5_000 else 6


def _part(hashes: Hashes, width: int, part: int) -> NDArray[np.int32]:
    """Every `width`-th bit from bit `part` on, packed; (n,).

    Neighbouring bits are neighbouring frequencies and say much the same, so they are dealt out.
    """
    key = np.zeros(len(hashes), np.int32)
    for place, bit in enumerate(range(part, BITS, width)):
        key |= ((hashes >> np.uint64(bit)) & np.uint64(1)).astype(np.int32) << place
    return key


def _size(width: int, part: int) -> int:
    return len(range(part, BITS, width))


def _patterns(size: int, flips: int) -> Iterator[int]:
    """Numbers of `size` bits of which 0 to `flips` are set."""
    for count in range(flips + 1):
        for places in combinations(range(size), count):
            yield sum(1 << place for place in places)


def _flips(width: int, part: int, radius: int) -> int:
    """How many bits of a part can differ where no earlier part is within its own number.

    The numbers plus one sum to radius + 1, so that not all parts can be beyond theirs; -1 for none.
    """
    return (radius + 1) // width + (part < (radius + 1) % width) - 1


def _comparisons(keys: list[NDArray[np.int32]], radius: int) -> int:
    """How many pairs share a part within its flips, exactly.

    How many pairs of items have keys that differ by a pattern is the autocorrelation of the
    histogram of keys under XOR, for all patterns at once by two Walsh-Hadamard transforms.
    """
    total = 0.0
    for part, key in enumerate(keys):
        size, flips = _size(len(keys), part), _flips(len(keys), part, radius)
        if flips < 0:
            continue
        counts = np.bincount(key, minlength=1 << size).astype(np.float64)
        pairs = _hadamard(_hadamard(counts) ** 2) / (1 << size)
        chosen = np.bitwise_count(np.arange(1 << size)) <= flips
        total += float(pairs[chosen].sum()) / 2
    return round(total)


def _hadamard(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Walsh-Hadamard transform of 2^k numbers, not normalised."""
    step = 1
    while step < len(x):
        pairs = x.reshape(-1, 2, step)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).ravel()
        step *= 2
    return x


def _same_part(
    hashes: Hashes, keys: list[NDArray[np.int32]], part: int, radius: int
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs within the radius whose first part within its flips is this one, piece by piece."""
    width = len(keys)
    size, flips = _size(width, part), _flips(width, part, radius)
    if flips < 0:
        return
    order = np.argsort(keys[part], kind="stable")
    key, sorted_hashes = keys[part][order], hashes[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=1 << size))])
    for pattern in _patterns(size, flips):
        if pattern:
            # of two keys that differ by the pattern, the one without its highest bit asks
            asking = np.flatnonzero(key & (1 << (pattern.bit_length() - 1)) == 0)
            begin, end = starts[key[asking] ^ pattern], starts[(key[asking] ^ pattern) + 1]
        else:
            asking = np.arange(len(key))
            begin, end = asking + 1, starts[key + 1]
        crowded = end - begin > CROWDED
        pairs = _step(sorted_hashes, asking[~crowded], begin[~crowded], end[~crowded], radius)
        blocks = _block(sorted_hashes, asking[crowded], begin[crowded], end[crowded], radius)
        for first, second in chain(pairs, blocks):
            left, right = order[first], order[second]
            fresh = _not_before(keys, left, right, part, radius)
            yield left[fresh], right[fresh]


def _step(
    hashes: Hashes, asking: Ints, begin: Ints, end: Ints, radius: int
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of `asking` and `begin` to `end` within the radius, all that ask at once."""
    while len(asking):
        live = begin < end
        if not live.all():
            asking, begin, end = asking[live], begin[live], end[live]
        close = np.bitwise_count(hashes[asking] ^ hashes[begin]) <= radius
        if close.any():
            yield asking[close], begin[close]
        begin = begin + 1


def _block(
    hashes: Hashes, asking: Ints, begin: Ints, end: Ints, radius: int
) -> Iterator[tuple[Ints, Ints]]:
    """The same where many answer: those that ask the same ones are a rectangle of comparisons."""
    bounds = np.flatnonzero(np.diff(end, prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        # where a bucket is compared with itself, the first to ask has the most to compare with
        low, high = int(begin[start]), int(end[start])
        rows = max(CELLS // (high - low), 1)
        for row in range(start, stop, rows):
            mine = slice(row, min(row + rows, stop))
            far = np.bitwise_count(hashes[asking[mine], None] ^ hashes[None, low:high])
            first, second = np.nonzero(far <= radius)
            first, second = asking[mine][first], second + low
            if begin[start] != begin[stop - 1]:  # a bucket with itself
                first, second = first[first < second], second[first < second]
            if len(first):
                yield first, second


def _not_before(
    keys: list[NDArray[np.int32]], left: Ints, right: Ints, part: int, radius: int
) -> NDArray[np.bool_]:
    """Which pairs no earlier part finds."""
    fresh = np.ones(len(left), np.bool_)
    for earlier in range(part):
        key = keys[earlier]
        flips = _flips(len(keys), earlier, radius)
        fresh &= np.bitwise_count(key[left] ^ key[right]).astype(np.int64) > flips
    return fresh


class _Pairs:
    """Pairs as they come; where there are many, the farthest of hashes that have more are dropped.

    Args:
        nearest: as in `near`.
    """

    def __init__(self, nearest: int | None) -> None:
        self.nearest = nearest
        self.kept: list[tuple[Ints, Ints, NDArray[np.uint8]]] = []
        self.held = 0
        self.limit = PIECE

    def add(self, left: Ints, right: Ints, bits: NDArray[np.uint8]) -> None:
        """Keep pairs."""
        self.kept.append((np.minimum(left, right), np.maximum(left, right), bits))
        self.held += len(left)
        if self.nearest is not None and self.held > self.limit:
            self._prune(self.nearest)
            self.limit = max(PIECE, 2 * self.held)

    def all(self) -> tuple[Ints, Ints, NDArray[np.uint8]]:
        """Every pair that was kept, sorted."""
        if self.nearest is not None and self.held:
            self._prune(self.nearest)
        left, right, bits = self._joined()
        order = np.lexsort((right, left))
        return left[order], right[order], bits[order]

    def _joined(self) -> tuple[Ints, Ints, NDArray[np.uint8]]:
        if not self.kept:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8)
        left, right, bits = (np.concatenate(column) for column in zip(*self.kept, strict=True))
        self.kept = [(left, right, bits)]
        return left, right, bits

    def _prune(self, nearest: int) -> None:
        """Keep what is among the `nearest` pairs of either of its hashes."""
        left, right, bits = self._joined()
        pairs = len(left)
        # one number to sort by: whose pair, how far, then to whom, so that order of arrival is moot
        ends = np.concatenate([left, right])
        far = np.concatenate([bits, bits])
        order = np.lexsort((np.concatenate([right, left]), far, ends))
        sorted_ends = ends[order]
        begins = np.flatnonzero(np.concatenate([[True], sorted_ends[1:] != sorted_ends[:-1]]))
        lengths = np.diff(np.concatenate([begins, [len(sorted_ends)]]))
        rank = np.arange(len(sorted_ends)) - np.repeat(begins, lengths)
        keep = np.zeros(pairs, np.bool_)
        keep[order[rank < nearest] % pairs] = True
        self.kept = [(left[keep], right[keep], bits[keep])]
        self.held = int(keep.sum())
