"""Many dimensions as two: principal components in one pass, and t-SNE on a sample.

Memory is that of one covariance matrix whatever N is. Sources:
    Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm for computing sample
        variances (1979): how the moments of two parts become those of the whole.
    van der Maaten & Hinton, Visualizing data using t-SNE. JMLR 9 (2008).
    Kobak & Berens, The art of using t-SNE for single-cell transcriptomics. Nature Communications
        10 (2019): starting from the principal components, the learning rate N / 12.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.engines.base import Engine, Task
from lorgnette.errors import EngineError

Floats = NDArray[np.float64]

EXACT = 2048
"""Up to so many dimensions the covariance matrix is taken over all items (32 MiB at this size);
above it the components are those of the sample."""
COMPONENTS = 50
"""Components that are kept: two are drawn, all are what the second t-SNE begins from."""
NEIGHBOURS = 10
PERPLEXITY = 30.0
SHARED = 1000
"""From so many points on, several t-SNEs run in processes beside each other."""
FEWEST = 12
"""With fewer points than this a t-SNE shows nothing but its own randomness."""


@dataclass
class Moments:
    """Count, mean and scatter matrix of vectors, over any number of parts.

    Attributes:
        n: vectors so far.
        mean: (D,).
        scatter: (D, D), the sum of `(x - mean)(x - mean)'`; (D,), its diagonal, where
            D > `EXACT`.
    """

    n: int
    mean: Floats
    scatter: Floats

    @classmethod
    def of(cls, x: NDArray[np.floating]) -> Moments:
        """The moments of some vectors, (n, D)."""
        x = x.astype(np.float64)
        mean = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
        centred = x - mean
        small = x.shape[1] <= EXACT
        scatter = centred.T @ centred if small else (centred**2).sum(axis=0)
        return cls(len(x), mean, scatter)

    def merge(self, other: Moments) -> Moments:
        """The moments of both parts together."""
        n = self.n + other.n
        if n == 0:
            return self
        step = other.mean - self.mean
        weight = self.n * other.n / n
        between = np.outer(step, step) if self.scatter.ndim == 2 else step**2
        return Moments(
            n, self.mean + step * (other.n / n), self.scatter + other.scatter + weight * between
        )

    @property
    def deviation(self) -> Floats:
        """The standard deviation of each dimension, (D,); 1 where nothing varies."""
        diagonal = np.diag(self.scatter) if self.scatter.ndim == 2 else self.scatter
        deviation = np.sqrt(diagonal / max(self.n, 1))
        return np.where(deviation > 1e-9 * np.maximum(np.abs(self.mean), 1), deviation, 1.0)


@dataclass(frozen=True)
class Components:
    """The directions in which vectors vary most.

    Attributes:
        mean: subtracted first, (D,).
        scale: divided by then, (D,).
        directions: (k, D), of length 1, the one of most variance first.
        shares: (k,), each one's share of the whole variance.
        items: how many vectors they were found on.
    """

    mean: Floats
    scale: Floats
    directions: Floats
    shares: Floats
    items: int

    def standardise(self, x: NDArray[np.floating]) -> Floats:
        """Vectors (n, D) centred and scaled."""
        return (x - self.mean) / self.scale

    def project(self, x: NDArray[np.floating]) -> Floats:
        """Vectors (n, D) to their components, (n, k)."""
        return self.standardise(x) @ self.directions.T


def principal(moments: Moments, sample: NDArray[np.floating], *, standardised: bool) -> Components:
    """The principal components of all items, by the eigenvectors of their covariance.

    Args:
        moments: of all items.
        sample: (n, D), used where D > `EXACT`, by its singular values.
        standardised: whether each dimension is divided by its deviation first, as where units
            differ; pixels share one.
    """
    D = len(moments.mean)
    scale = moments.deviation if standardised else np.ones(D)
    if moments.scatter.ndim == 2:
        from scipy.linalg import eigh

        k = min(COMPONENTS, D, max(moments.n - 1, 1))
        matrix = moments.scatter / np.outer(scale, scale)
        values, columns = eigh(matrix, subset_by_index=[D - k, D - 1])
        values, directions = values[::-1].clip(0), columns.T[::-1]
        total, items = float(np.trace(matrix)), moments.n
    else:
        centred = (sample - sample.mean(axis=0)) / scale
        k = min(COMPONENTS, D, max(len(sample) - 1, 1))
        directions, values = _largest(centred, k)
        total, items = float((centred**2).sum()), len(sample)
    # A direction may point either way: its largest entry is made positive, so that it is one.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    return Components(moments.mean, scale, directions, values / (total or 1.0), items)


def _largest(x: Floats, k: int) -> tuple[Floats, Floats]:
    """The first k right singular vectors of (n, D), and their squared values."""
    from sklearn.utils.extmath import randomized_svd

    _, values, directions = randomized_svd(x, k, n_iter=7, random_state=0)
    return directions, values**2


def tsne(x: Floats, seed: int) -> Floats | None:
    """Vectors (n, D) as points (n, 2) with like beside like; None with fewer than `FEWEST`.

    By openTSNE where it is installed, else by scikit-learn; see `tsne_tool`.
    """
    n = len(x)
    if n < FEWEST:
        return None
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    start = x - x.mean(axis=0)
    if tsne_tool() == "openTSNE":
        tool: Any = importlib.import_module("openTSNE")
        found = tool.TSNE(perplexity=perplexity, random_state=seed, n_jobs=-1).fit(start)
        return np.asarray(found, np.float64)
    from sklearn.manifold import TSNE

    method = "barnes_hut" if n > 100 else "exact"
    model = TSNE(perplexity=perplexity, init="pca", random_state=seed, method=method)
    return np.asarray(model.fit_transform(start.astype(np.float32)), np.float64)


@dataclass(frozen=True, slots=True)
class Points:
    """Vectors on their way to a worker, and which of several they are."""

    index: int
    x: Floats


def tsne_each(spaces: Sequence[Floats], seed: int, engine: Engine) -> list[Floats | None]:
    """`tsne` of several sets of vectors, beside each other where they are worth a process.

    Raises:
        EngineError: one failed.
    """
    if len(spaces) < 2 or len(spaces[0]) < SHARED:
        return [tsne(x, seed) for x in spaces]
    found: list[Floats | None] = [None] * len(spaces)
    points = [Points(index, x) for index, x in enumerate(spaces)]
    for outcome in engine.map(Task.of(tsne_points, seed=seed), points):
        if outcome.error is not None:
            raise EngineError(f"A t-SNE of {len(outcome.item.x):,} points failed: {outcome.error}")
        found[outcome.item.index] = outcome.value
    return found


def tsne_points(points: Points, *, seed: int) -> Floats | None:
    """One t-SNE, in a worker."""
    return tsne(points.x, seed)


def tsne_tool() -> str:
    """What draws t-SNE on this machine."""
    return "openTSNE" if importlib.util.find_spec("openTSNE") else "scikit-learn"


def agreement(x: Floats, labels: NDArray[np.int32]) -> tuple[float, float] | None:
    """How often near neighbours share a label, and how often any two items do.

    Args:
        x: (n, D); distances are Euclidean.
        labels: (n,) codes; items with -1 are left out.

    Returns:
        Both as shares; None with too few labelled items.
    """
    x, labels = x[labels >= 0], labels[labels >= 0]
    n = len(x)
    if n <= NEIGHBOURS:
        return None
    from sklearn.neighbors import NearestNeighbors

    _, near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(x).kneighbors()
    counts = np.bincount(labels).astype(float)
    chance = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    return float((labels[near] == labels[:, None]).mean()), chance
