"""Nearest neighbours of every item in an embedding, by cosine, without all pairs.

Up to `EXACT` items all pairs are compared, in pieces. Beyond, items are put into cells (k-means on
a sample), and compared with their own and the nearest cells only: an inverted file (Sivic &
Zisserman, "Video Google", ICCV 2003; Jégou, Douze & Schmid, "Product Quantization for Nearest
Neighbor Search", PAMI 33, 2011). Since all items ask, a cell asks at once, and a comparison is a
matrix product; memory is that of one such product, whatever N is. A graph index (HNSW) answers
sooner, but holds all vectors in memory, does not answer "nearest with another label", and, built
by several threads, is not the same twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.errors import DatasetError
from lorgnette.progress import progress

if TYPE_CHECKING:
    import torch

EXACT = 20_000
"""Up to so many items all pairs are compared."""
CELL = 512
"""Items of a cell that ask together; cells hold half as many on average."""
COMPARED = 16_384
"""Items that each item is compared with beyond `EXACT`: those of the nearest cells."""
SAMPLED = 100_000
"""Items that the cells are made from, at most."""
SHOWN = 4
"""Neighbours of each kind that are kept."""
VOTERS = 10
"""Labelled neighbours that vote, and the one whose distance tells outliers."""
LONG = 32
"""Neighbours of any label that are looked at before those of one label are searched for."""
OTHERS = 4096
"""Items that stand for a label where none of it is near."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """What is near each of N items.

    Distances are 1 - cosine, 0 to 2.

    Attributes:
        near: int32 (N, 2, 4), what `neighbours.npy` holds: the nearest items with the same label,
            then those with another, the nearest first, -1 for none. Of an item without a label both
            rows are the nearest labelled ones.
        closest: int32 (N, 4), the nearest items, labelled or not; -1 for none.
        distances: float32 (N, 4), how far those are; infinite for none.
        reach: float32 (N,), the distance to the 10th neighbour, or to the last where there are
            fewer; 0 for an item alone.
        votes: float32 (N, K), the share of each class among the 10 nearest labelled neighbours; all
            0 where there are none.
        exact: whether all pairs were compared.
    """

    near: NDArray[np.int32]
    closest: NDArray[np.int32]
    distances: NDArray[np.float32]
    reach: NDArray[np.float32]
    votes: NDArray[np.float32]
    exact: bool


def neighbours(
    embeddings: NDArray[Any], labels: NDArray[np.int32], classes: int, *, seed: int = 0
) -> Neighbours:
    """The nearest neighbours of every item, by the label that they are given.

    Args:
        embeddings: (N, D), float16 or float32, mapped from disk if large.
        labels: int32 (N,), -1 for unlabelled.
        classes: K.
        seed: of the cells, and of the items that stand for a label far away.

    Returns:
        See `Neighbours`; the same for the same arguments on the same machine.

    Raises:
        DatasetError: there is not one label for each embedding.
    """
    n = len(embeddings)
    if embeddings.ndim != 2 or labels.shape != (n,):
        raise DatasetError(
            f"Every embedding needs a label or -1, and embeddings of shape {embeddings.shape} came "
            f"with labels of shape {labels.shape}: compute the embeddings of this dataset again."
        )
    found = Neighbours(
        near=np.full((n, 2, SHOWN), -1, np.int32),
        closest=np.full((n, SHOWN), -1, np.int32),
        distances=np.full((n, SHOWN), np.inf, np.float32),
        reach=np.zeros(n, np.float32),
        votes=np.zeros((n, classes), np.float32),
        exact=n <= EXACT,
    )
    with progress("Comparing", n, "items") as meter:
        for asking, answering in _pieces(embeddings, seed):
            _compare(embeddings, labels, asking, answering, found)
            meter.advance(len(asking))
    _complete(embeddings, labels, found, seed)
    return found


def _pieces(embeddings: NDArray[Any], seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Who asks, and who answers: places of items, of everyone in the first exactly once."""
    n = len(embeddings)
    if n <= EXACT:
        everyone = np.arange(n)
        for start in range(0, n, CELL):
            yield everyone[start : start + CELL], everyone
        return
    centres, cell = _cells(embeddings, seed)
    order = np.argsort(cell, kind="stable")
    bounds = np.searchsorted(cell[order], np.arange(len(centres) + 1))
    near = np.argsort(-(centres @ centres.T), axis=1, kind="stable")
    for number in range(len(centres)):
        own = order[bounds[number] : bounds[number + 1]]
        # A cell of a million equal items is cut, or it would be compared with itself as a whole.
        for start in range(0, len(own), CELL):
            first = max(min(start + (CELL - COMPARED) // 2, len(own) - COMPARED), 0)
            answering = [own[first : first + COMPARED]]
            held = len(answering[0])
            for other in near[number]:
                if held >= COMPARED:
                    break
                if other != number:
                    answering.append(order[bounds[other] : bounds[other + 1]][: COMPARED - held])
                    held += len(answering[-1])
            yield own[start : start + CELL], np.sort(np.concatenate(answering))


def _cells(embeddings: NDArray[Any], seed: int) -> tuple[NDArray[np.float32], Ints]:
    """Centres of length 1, (cells, D), and the cell of each item, (N,)."""
    from sklearn.cluster import MiniBatchKMeans

    n = len(embeddings)
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(n, min(n, SAMPLED), replace=False))
    count = max(2, min(2 * n // CELL, 4096, len(sample) // 16))
    means = MiniBatchKMeans(
        count, init="random", n_init=1, batch_size=8 * CELL, max_iter=8, random_state=seed
    ).fit(_unit(embeddings[sample]).numpy())
    centres = _unit(means.cluster_centers_)
    cell = np.empty(n, np.int64)
    for start in range(0, n, 8 * CELL):
        piece = slice(start, start + 8 * CELL)
        cell[piece] = (_unit(embeddings[piece]) @ centres.T).argmax(1).numpy()
    return centres.numpy(), cell


def _unit(embeddings: NDArray[Any]) -> torch.Tensor:
    """Vectors (n, D) of length 1 in float32; one of length 0 stays so."""
    import torch

    x = torch.from_numpy(np.asarray(embeddings, np.float32))
    return torch.nn.functional.normalize(x, eps=1e-12)


def _compare(
    embeddings: NDArray[Any],
    labels: NDArray[np.int32],
    asking: Ints,
    answering: Ints,
    found: Neighbours,
) -> None:
    """Write down what is near the items that ask, out of those that answer."""
    import torch

    there = _unit(embeddings[answering])
    place = np.searchsorted(answering, asking)
    cosine = there[torch.from_numpy(place)] @ there.T
    cosine[torch.arange(len(asking)), torch.from_numpy(place)] = -torch.inf
    best, near = _best(cosine, answering, LONG)
    distance = (1 - best).clip(0)
    shown = min(SHOWN, near.shape[1])
    found.closest[asking, :shown] = near[:, :shown]
    found.distances[asking, :shown] = distance[:, :shown]
    others = (near >= 0).sum(1)
    last = np.minimum(others, VOTERS) - 1
    found.reach[asking] = np.where(last >= 0, distance[np.arange(len(asking)), last], 0)

    known, mine = labels[answering], labels[asking]
    theirs = np.where(near >= 0, labels[near], -1)
    labelled = np.flatnonzero(known >= 0)
    voters = _chosen(near, theirs >= 0, VOTERS)
    lacking = (voters < 0).any(1) & (near[:, -1] >= 0)  # more may be further away
    if lacking.any() and len(labelled):
        rows = torch.from_numpy(np.flatnonzero(lacking))
        part = cosine[rows][:, torch.from_numpy(labelled)]
        found_voters = _best(part, answering[labelled], VOTERS)[1]
        voters[lacking, : found_voters.shape[1]] = found_voters
    _vote(found.votes, asking, voters, labels)

    unlabelled = mine < 0
    found.near[asking[unlabelled]] = voters[unlabelled, None, :SHOWN]
    for row, same in enumerate((True, False)):
        wanted = (theirs >= 0) & ((theirs == mine[:, None]) == same)
        chosen = _chosen(near, wanted, SHOWN)
        short = (chosen[:, -1] < 0) & (near[:, -1] >= 0) & ~unlabelled
        for label in np.unique(mine[short]):
            lines = np.flatnonzero(short & (mine == label))
            columns = np.flatnonzero((known == label) if same else (known >= 0) & (known != label))
            if len(columns):
                part = cosine[torch.from_numpy(lines)][:, torch.from_numpy(columns)]
                more = _best(part, answering[columns], SHOWN)[1]
                chosen[lines, : more.shape[1]] = more
        found.near[asking[~unlabelled], row] = chosen[~unlabelled]


def _best(
    cosine: torch.Tensor, places: Ints, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The k largest of each row and whose they are, at most (n, k); -1 where there is none."""
    best, column = cosine.topk(min(k, cosine.shape[1]), dim=1)
    near = places[column.numpy()].astype(np.int32)
    return best.numpy(), np.where(np.isfinite(best.numpy()), near, -1).astype(np.int32)


def _chosen(near: NDArray[np.int32], wanted: NDArray[np.bool_], k: int) -> NDArray[np.int32]:
    """The first k wanted of each row (n, m); (n, k) with -1 for none."""
    wanted = wanted & (near >= 0)
    order = np.argsort(~wanted, axis=1, kind="stable")[:, :k]
    chosen = np.where(
        np.take_along_axis(wanted, order, 1), np.take_along_axis(near, order, 1), np.int32(-1)
    )
    return np.pad(chosen, ((0, 0), (0, k - chosen.shape[1])), constant_values=-1)


def _vote(
    votes: NDArray[np.float32],
    asking: Ints,
    voters: NDArray[np.int32],
    labels: NDArray[np.int32],
) -> None:
    rows, columns = np.nonzero(voters >= 0)
    counts = np.zeros((len(asking), votes.shape[1]), np.float32)
    np.add.at(counts, (rows, labels[voters[rows, columns]]), 1)
    votes[asking] = counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _complete(
    embeddings: NDArray[Any], labels: NDArray[np.int32], found: Neighbours, seed: int
) -> None:
    """Where no item of a kind was among those compared, a random sample of the kind is searched."""
    if found.exact:
        return
    rng = np.random.default_rng(seed)
    for label in np.unique(labels[labels >= 0]):
        mine = labels == label
        for row, kind in enumerate((mine, (labels >= 0) & ~mine)):
            short = np.flatnonzero(mine & (found.near[:, row, -1] < 0))
            pool = np.flatnonzero(kind)
            if not len(short) or not len(pool):
                continue
            pool = np.sort(rng.choice(pool, min(len(pool), OTHERS), replace=False))
            _fill(embeddings, short, pool, found, row)


def _fill(
    embeddings: NDArray[Any], asking: Ints, answering: Ints, found: Neighbours, row: int
) -> None:
    """Add to what a row lacks, behind what it has."""
    there = _unit(embeddings[answering])
    for start in range(0, len(asking), CELL):
        part = asking[start : start + CELL]
        near = _best(_unit(embeddings[part]) @ there.T, answering, 2 * SHOWN + 1)[1]
        have = found.near[part, row]
        fresh = (near != part[:, None]) & ~(near[:, :, None] == have[:, None, :]).any(2)
        both = np.concatenate([have, np.where(fresh, near, -1).astype(np.int32)], axis=1)
        found.near[part, row] = _chosen(both, both >= 0, SHOWN)
