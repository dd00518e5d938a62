"""A perceptual hash: near-duplicates differ in few of its 64 bits."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

EDGE = 32
LOW = 8


@cache
def _basis() -> NDArray[np.float32]:
    """The first `LOW` rows of the orthogonal DCT-II matrix of `EDGE` points, (8, 32)."""
    k = np.arange(LOW)[:, None]
    n = np.arange(EDGE)[None, :]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * EDGE)).astype(np.float32)


def _resampling(edge: int) -> NDArray[np.float32]:
    """The matrix (32, edge) that averages an axis of `edge` pixels to 32 points."""
    bounds = np.linspace(0, edge, EDGE + 1)
    pixels = np.arange(edge)
    cover = np.minimum(bounds[1:, None], pixels + 1) - np.maximum(bounds[:-1, None], pixels)
    weights = np.clip(cover, 0, None)
    normalised: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return normalised.astype(np.float32)


def phash(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The DCT hash of each image.

    The luminance is averaged to 32 × 32; the 8 × 8 lowest frequencies of its DCT-II are compared
    with their median without the constant term (Zauner, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", 2010, section 3.2.1).

    Args:
        pixels: uint8 (n, H, W, C), C = 1 or 3, H = W.

    Returns:
        uint64 (n,); the constant term is the highest bit.
    """
    n, edge, _, channels = pixels.shape
    out = np.zeros(n, np.uint64)
    transform = _basis() @ _resampling(edge)  # (8, edge)
    weights = np.array([0.299, 0.587, 0.114] if channels == 3 else [1.0], np.float32)
    places = np.uint64(1) << np.arange(63, -1, -1, dtype=np.uint64)
    for start in range(0, n, 256):
        luminance = pixels[start : start + 256].astype(np.float32) @ weights
        low = (transform @ luminance @ transform.T).reshape(len(luminance), LOW * LOW)
        bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
        out[start : start + 256] = (bits * places).sum(axis=1, dtype=np.uint64)
    return out
