"""Latent vectors: 512 standard-normal numbers of which a portrait is a function, as in a GAN.

What a vector says is read from it by projections onto fixed orthogonal directions, one for each
trait, so that traits are independent and each is standard normal again. The directions are rows of
a Hadamard matrix with shuffled and flipped columns. A projection is a sum of whole numbers, which
every machine adds up alike, whatever the order; so a vector means the same everywhere.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
from scipy.linalg import hadamard

DIMENSIONS = 512
"""Numbers in a latent vector."""

DECIMALS = 5
"""Digits after the point: a table of vectors gives back exactly the vectors that were drawn."""

BLOCK = 1024
"""Vectors that are drawn by one generator."""

_DIRECTIONS_SEED = 2021

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]


def vectors(seed: int, start: int, stop: int) -> Vectors:
    """The vectors number `start` to `stop` of an endless sequence; float32 (stop - start, 512).

    A vector depends on the seed and its number alone. Its values are standard normal, rounded to
    `DECIMALS`.
    """
    parts = []
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first = block * BLOCK
        drawn = np.random.default_rng([seed, block]).standard_normal((BLOCK, DIMENSIONS))
        parts.append(drawn[max(start - first, 0) : stop - first])
    if not parts:
        return np.empty((0, DIMENSIONS), np.float32)
    rounded: Vectors = (np.concatenate(parts).round(DECIMALS) + 0.0).astype(np.float32)  # no -0.0
    return rounded


def project(vectors: npt.NDArray[np.floating], first: int, stop: int) -> Numbers:
    """Projections onto the directions number `first` to `stop`, each standard normal.

    Args:
        vectors: shape (n, 512); digits beyond `DECIMALS` are ignored.
        first: a number from 0 to 511.
        stop: one more than the last.

    Returns:
        Shape (n, stop - first).
    """
    whole = np.rint(np.asarray(vectors, np.float64) * 10**DECIMALS)
    sums: Numbers = np.matmul(whole, _directions()[:, first:stop])
    projections: Numbers = sums / (10**DECIMALS * math.sqrt(DIMENSIONS))
    return projections


@functools.cache
def _directions() -> Numbers:
    """Orthogonal directions of ±1, one a column; shape (512, 512)."""
    rng = np.random.default_rng(_DIRECTIONS_SEED)
    signs = rng.choice(np.array([-1.0, 1.0]), (DIMENSIONS, 1))
    matrix: Numbers = hadamard(DIMENSIONS)[rng.permutation(DIMENSIONS)] * signs
    return matrix
