"""Copies of items, exact and near, and what is wrong with them: other labels, other parts.

Three sources: files with the same bytes, which `prepare` set aside; items whose perceptual hashes
are near; items whose embeddings are nearest and all but equal. The last two only propose, and the
pixels decide (`lorgnette.audit.alignment`), since alike is not the same: of 2,000 real cartoons
4,305 pairs are within 8 bits, and none of them is a copy. Of vectors, proposed by their embeddings,
copies are those whose features are all but equal.

Of 465 changed copies (re-encoded, resized, cut by 2 to 5%, brighter, darker, more contrast, grey,
turned by 2 degrees) hashes and embeddings of small pictures find 454 among 500 portraits, 449 among
500 comics and 409 among 2,000 real cartoons; hashes alone 408, 417 and 386. No two different
pictures were put together. The bound on differences was set just below the least of any pair of
those cartoons, so that for them this is no independent test; the portraits and comics were others
than those that it was set on. What is missed is nearly all cut by 4% and more. Mirrored copies are
not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.audit.alignment import DIFFERENT, EDGE, difference, thumbnails
from lorgnette.audit.hashes import NEAREST, RADIUS, linked, near
from lorgnette.audit.neighbours import Neighbours
from lorgnette.dataset.split import PARTS
from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import DatasetError, EngineError
from lorgnette.progress import progress
from lorgnette.training.statistics import feature_statistics

COPIES: Any = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("cluster", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("of", pa.string(), nullable=False),
        pa.field("distance", pa.float32(), nullable=False),
        pa.field("given", pa.string()),
        pa.field("part", pa.string()),
        pa.field("conflict", pa.bool_(), nullable=False),
        pa.field("straddles", pa.bool_(), nullable=False),
    ]
)
"""The columns of duplicates.parquet."""
KINDS = ("exact", "hash", "embedding")
COMPARED = 300_000
"""Pairs of pictures that are compared at most, the nearest first: an hour on one core."""
LEADERS = 4
"""Different pictures with the same hash that others are compared with."""
TINY = 0.3
"""Neighbours in the embedding are candidates where their distance is at most this part of the
median distance to a 10th neighbour."""
EQUAL = 1e-3
"""Vectors are copies where no feature differs by more than this part of its deviation."""
PIECE = 512
"""Pairs that are compared in one go; fewer pairs than this are not sent to other processes."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """Pairs of items that are copies.

    Attributes:
        left: places, (P,).
        right: likewise.
        kind: place in `KINDS`, (P,).
        distance: bits of hashes, or 1 - cosine; 0 for the same bytes; (P,).
    """

    left: Ints
    right: Ints
    kind: NDArray[np.int8]
    distance: NDArray[np.float32]

    @classmethod
    def of(cls, left: Any, right: Any, kind: str, distance: Any) -> Links:
        """Links of one kind."""
        kinds = np.full(len(left), KINDS.index(kind), np.int8)
        pairs = np.asarray(left, np.int64), np.asarray(right, np.int64)
        return cls(*pairs, kinds, np.broadcast_to(np.asarray(distance, np.float32), kinds.shape))

    @classmethod
    def join(cls, parts: list[Links]) -> Links:
        """All together."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts])
              for name in ("left", "right", "kind", "distance"))
        )  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """Pairs of items on their way to a worker: their number among all pieces, and places, (m,)."""

    index: int
    left: Ints
    right: Ints


def find_copies(
    dataset: Dataset,
    parts: NDArray[np.int8],
    neighbours: Neighbours | None,
    engine: Engine,
    *,
    radius: int = RADIUS,
) -> pa.Table:
    """Clusters of items that are copies of each other.

    Args:
        dataset: the items.
        parts: the place in `PARTS` of each usable item, -1 for none; (N,).
        neighbours: of the embeddings; None: hashes alone, and of vectors exact copies alone.
        engine: where pictures are compared.
        radius: bits in which the hashes of candidates differ, at most.

    Returns:
        A row of schema `COPIES` for every item of a cluster, and for every exact copy that was set
        aside, which is in no part. Clusters are numbered from 0 in the order of their first items,
        and rows are in the order of clusters and items, set-aside copies last. `kind` and
        `distance` are those of the closest link that an item has within its cluster. A cluster has
        a `conflict` when its items are given several labels, and `straddles` when its items are in
        several parts. The metadata `lorgnette.pairs`, `lorgnette.left_out` and `lorgnette.radius`
        say how many pairs were compared, how many were too many, and the radius that was searched.

    Raises:
        DatasetError: there is not one part for each item.
        EngineError: pictures could not be compared.
    """
    n = len(dataset)
    if parts.shape != (n,):
        raise DatasetError(
            f"Every usable item needs a part or -1, and the {n:,} of {dataset.location} came with "
            f"parts of shape {parts.shape}: make the split of this dataset again."
        )
    table = _usable(dataset, parts)
    aside, exact = _exact(dataset, table["sha256"])
    found = [exact]
    facts = {"pairs": 0, "left_out": 0, "radius": radius}
    if not dataset.is_vectors:
        hashes = _by_hash(dataset, radius, engine, facts)
        found.append(hashes)
    if neighbours is not None:
        found.append(_by_embedding(dataset, neighbours, engine, facts))
    return _rows(pa.concat_tables([table, aside]), Links.join(found), n, facts)


def _usable(dataset: Dataset, parts: NDArray[np.int8]) -> pa.Table:
    """id, given, sha256 and part of every usable item."""
    rows = dataset.rows(["id", "label", "sha256"])
    names = pa.array(PARTS, pa.string()).take(pa.array(parts, mask=parts < 0))
    return rows.rename_columns(["id", "given", "sha256"]).append_column("part", names)


def _exact(dataset: Dataset, digests: pa.ChunkedArray) -> tuple[pa.Table, Links]:
    """The copies that were set aside, as rows, and which items they are copies of."""
    rows = dataset.rows(["id", "label", "sha256"], status="duplicate")
    aside = rows.rename_columns(["id", "given", "sha256"]).append_column(
        "part", pa.nulls(len(rows), pa.string())
    )
    wanted = pc.unique(aside["sha256"])
    places = np.flatnonzero(np.asarray(pc.is_in(digests, value_set=wanted)))
    kept = digests.take(pa.array(places)).combine_chunks()
    which = pc.index_in(aside["sha256"], value_set=kept)
    there = np.asarray(pc.is_valid(which))
    originals = places[np.asarray(which.drop_null(), np.int64)]
    return aside, Links.of(originals, len(dataset) + np.flatnonzero(there), "exact", 0.0)


def _by_hash(dataset: Dataset, radius: int, engine: Engine, facts: dict[str, int]) -> Links:
    """Pairs with near hashes that show the same."""
    if not len(dataset):
        return Links.of([], [], "hash", 0)
    column = dataset.rows(["phash"])["phash"]
    hashes = np.asarray(pc.fill_null(column, 0)).astype(np.uint64)
    found = near(hashes, radius, nearest=NEAREST)
    facts["radius"] = found.radius
    links = []
    # Of items with the same hash each is compared with the first; those that differ from it, with
    # the first of them, and so on: a million blank pictures are a million pairs, not their square.
    _, first = np.unique(found.of, return_index=True)
    leaders = [first.astype(np.int64)]
    waiting = np.flatnonzero(first[found.of] != np.arange(len(found.of)))
    leader = first.astype(np.int64)
    for _ in range(LEADERS):
        if not len(waiting):
            break
        left = leader[found.of[waiting]]
        same = _confirmed(dataset, left, waiting, engine, facts)
        links.append(Links.of(left[same], waiting[same], "hash", 0))
        waiting = waiting[~same]
        if len(waiting):
            leader = leader.copy()
            codes, places = np.unique(found.of[waiting], return_index=True)
            leader[codes] = waiting[places]
            leaders.append(leader)
            waiting = np.delete(waiting, places)
    order = np.argsort(found.bits, kind="stable")
    pairs, bits = [], []
    for own in leaders:
        for other in leaders:
            pairs.append(np.stack([own[found.left[order]], other[found.right[order]]], axis=1))
            bits.append(found.bits[order])
    both, distance = np.concatenate(pairs), np.concatenate(bits)
    both, place = np.unique(both, axis=0, return_index=True)
    nearest = np.argsort(distance[place], kind="stable")
    left, right = both[nearest].T
    distance = distance[place][nearest]
    same = _confirmed(dataset, left, right, engine, facts)
    links.append(Links.of(left[same], right[same], "hash", distance[same]))
    return Links.join(links)


def _by_embedding(
    dataset: Dataset, neighbours: Neighbours, engine: Engine, facts: dict[str, int]
) -> Links:
    """Pairs with embeddings all but equal that are the same."""
    if not len(dataset):
        return Links.of([], [], "embedding", 0)
    close = neighbours.distances <= TINY * float(np.median(neighbours.reach))
    left, rank = np.nonzero(close & (neighbours.closest >= 0))
    right = neighbours.closest[left, rank].astype(np.int64)
    distance = neighbours.distances[left, rank]
    both = np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1)
    both, place = np.unique(both, axis=0, return_index=True)
    order = np.argsort(distance[place], kind="stable")
    (left, right), distance = both[order].T, distance[place][order]
    confirm = _equal_vectors if dataset.is_vectors else _confirmed
    same = confirm(dataset, left, right, engine, facts)
    return Links.of(left[same], right[same], "embedding", distance[same])


def _equal_vectors(
    dataset: Dataset, left: Ints, right: Ints, engine: Engine, facts: dict[str, int]
) -> NDArray[np.bool_]:
    """Which pairs of vectors are all but equal, (P,)."""
    facts["pairs"] += len(left)
    deviation = np.array(feature_statistics(dataset, np.arange(len(dataset)))[1], np.float32)
    same = np.zeros(len(left), np.bool_)
    for start in range(0, len(left), PIECE):
        piece = slice(start, start + PIECE)
        a, b = dataset.read(left[piece]), dataset.read(right[piece])
        missing = np.isnan(a) & np.isnan(b)
        same[piece] = (missing | (np.abs(a - b) <= EQUAL * deviation)).all(axis=1)
    return same


def _confirmed(
    dataset: Dataset, left: Ints, right: Ints, engine: Engine, facts: dict[str, int]
) -> NDArray[np.bool_]:
    """Which pairs of pictures show the same, (P,); what is beyond the bound counts as different."""
    same = np.zeros(len(left), np.bool_)
    most = min(len(left), max(COMPARED - facts["pairs"], 0))
    facts["left_out"] += len(left) - most
    facts["pairs"] += most
    with progress("Comparing pictures", most, "pairs") as meter:
        for piece, differences in _compared(dataset, left[:most], right[:most], engine):
            start = piece.index * PIECE
            same[start : start + len(differences)] = differences <= DIFFERENT
            meter.advance(len(differences))
    return same


def _compared(
    dataset: Dataset, left: Ints, right: Ints, engine: Engine
) -> Iterator[tuple[Pairs, NDArray[np.float32]]]:
    pieces = (
        Pairs(index, left[start : start + PIECE], right[start : start + PIECE])
        for index, start in enumerate(range(0, len(left), PIECE))
    )
    if len(left) <= PIECE:
        for piece in pieces:
            yield piece, _differences(dataset, piece)
        return
    for outcome in engine.map(Task.of(compare, location=dataset.location), pieces):
        if outcome.value is None:
            raise EngineError(
                f"Pictures of {dataset.location} could not be compared "
                f"({outcome.attempts} attempts): {outcome.error}"
            )
        yield outcome.item, outcome.value


def compare(pairs: Pairs, *, location: str) -> NDArray[np.float32]:
    """How much pictures differ, pair by pair, in a worker; (m,)."""
    return _differences(Dataset.load(location), pairs)


def _differences(dataset: Dataset, pairs: Pairs) -> NDArray[np.float32]:
    sizes = dataset.info.prepare.size
    size = min((size for size in sizes if size >= EDGE), default=max(sizes))
    items, places = np.unique(np.concatenate([pairs.left, pairs.right]), return_inverse=True)
    pictures = thumbnails(dataset.read(items, size))
    left, right = places[: len(pairs.left)], places[len(pairs.left) :]
    return difference(pictures[left], pictures[right])


def _rows(table: pa.Table, links: Links, usable: int, facts: dict[str, int]) -> pa.Table:
    """The clusters that the links make of the items, as `COPIES`."""
    cluster = linked(len(table), links.left, links.right)
    members = np.flatnonzero(cluster >= 0)
    # An exact copy that was set aside comes after all usable items, so the first is a usable one.
    members = members[np.argsort(cluster[members], kind="stable")]
    codes = cluster[members]
    _, first = np.unique(codes, return_index=True)
    kind = np.full(len(table), len(KINDS), np.int8)
    distance = np.full(len(table), np.inf, np.float32)
    order = np.lexsort((links.distance, links.kind))[::-1]  # the closest is written last
    for ends in (links.left, links.right):
        better = links.kind[order].astype(np.float64) * 1e6 + links.distance[order]
        current = kind[ends[order]].astype(np.float64) * 1e6 + distance[ends[order]]
        chosen = order[better <= current]
        kind[ends[chosen]], distance[ends[chosen]] = links.kind[chosen], links.distance[chosen]
    chosen = table.take(pa.array(members))
    ids = chosen["id"]
    found = pa.table(
        {
            "id": ids,
            "cluster": codes,
            "kind": pa.array(KINDS, pa.string()).take(pa.array(kind[members])),
            "of": ids.take(pa.array(first[codes])),
            "distance": distance[members],
            "given": chosen["given"],
            "part": chosen["part"],
            "conflict": _several(codes, chosen["given"]),
            "straddles": _several(codes, chosen["part"]),
        },
        schema=COPIES,
    )
    return found.replace_schema_metadata({f"lorgnette.{k}": str(v) for k, v in facts.items()})


def _several(codes: Ints, column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Of each row, whether its cluster has different values in the column; null is none."""
    values = np.asarray(pc.fill_null(pc.index_in(column, pc.unique(column).drop_null()), -1))
    pairs = np.unique(np.stack([codes, values], axis=1)[values >= 0], axis=0)
    counts = np.bincount(pairs[:, 0], minlength=int(codes.max(initial=-1)) + 1)
    return np.asarray(counts[codes] > 1)
