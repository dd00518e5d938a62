"""Whether two pictures are the same one: aligned, their tones matched, compared place by place.

A hash, or an embedding, says that two pictures are alike. Cartoons of one maker are all alike, and
a portrait with glasses is like the same portrait without. So what counts here is the worst place:
the largest difference in any small square, after everything that re-encoding, resizing, cropping
and brightening change has been undone.

- Alignment: affine, by the inverse compositional form of Lucas & Kanade's method, from coarse to
  fine, with gain and offset as two further unknowns (Baker & Matthews, "Lucas-Kanade 20 Years On",
  IJCV 56, 2004, sections 3.2 and 4).
- Tones: the brighter picture is predicted from the darker one by a gain and an offset for each
  channel, cut off at white, since brightening loses what becomes white. A grey picture is compared
  with the luminance of a coloured one.
- The difference is divided by the picture's own contrast, plus what a fraction of a pixel of
  misalignment makes of edges that both pictures have. An edge that only one has is not excused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGE = 64
"""Edge in pixels at which pictures are compared; larger ones are averaged to it."""
SQUARES = 16
"""Squares along an edge, of which the worst counts."""
DIFFERENT = 0.24
"""Up to this difference two pictures are the same: just below the least of 500 pairs of different
portraits and cartoons with near hashes, which was 0.246 (two cartoons; of portraits 0.43). How many
copies are found so, `lorgnette.audit.copies` says."""
STEPS = ((3.0, 6), (1.5, 6), (0.8, 6))
"""Blur in pixels, and steps of the alignment, from coarse to fine."""
REACH = 0.2
"""Parameters of the alignment stay so near those of no change; half the edge is 1."""
PIECE = 128
"""Pairs in memory at once."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_BLUR = 0.8
_EDGES = 2.0
_FLAT = 4.0
_WHITE = 250.0

Floats = NDArray[np.float32]


def thumbnails(pixels: NDArray[np.uint8]) -> Floats:
    """Pictures for `difference`: uint8 (n, H, W, C) to float32 (n, 64, 64, C) by areas."""
    if pixels.shape[1:3] == (EDGE, EDGE):
        return np.asarray(pixels, np.float32)
    down, across = areas(pixels.shape[1], EDGE), areas(pixels.shape[2], EDGE)
    found = np.einsum("as,nstc,bt->nabc", down, pixels.astype(np.float32), across, optimize=True)
    return np.asarray(found, np.float32)


def areas(size: int, edge: int) -> Floats:
    """(edge, size): the share that each of `size` pixels has in each of `edge` equal stretches."""
    bounds = np.linspace(0, size, edge + 1)
    place = np.arange(size)
    inside = np.minimum(bounds[1:, None], place + 1) - np.maximum(bounds[:-1, None], place)
    return np.asarray(inside.clip(0) * edge / size, np.float32)


def difference(a: Floats, b: Floats) -> Floats:
    """How much pictures differ at the worst place, pair by pair.

    Nearly all of the time goes into aligning (some 10 ms a pair on one core), so pairs that are the
    same as they are, or the same but for their tones, are not aligned.

    Args:
        a: (n, 64, 64, C), C = 1 or 3, in grey levels, as `thumbnails` makes them.
        b: likewise.

    Returns:
        float32 (n,): 0 for equal ones, in units of the picture's contrast; `DIFFERENT` is where
        copies end. Two blank pictures are compared in units of 4 grey levels.
    """
    found = np.zeros(len(a), np.float32)
    for start in range(0, len(a), PIECE):
        piece = slice(start, start + PIECE)
        # Little here is little in the whole comparison too, which matches tones first.
        plain = np.sqrt(((a[piece] - b[piece]) ** 2).mean(-1)) / _FLAT
        found[piece] = _squares(plain).max((1, 2))
        rest = start + np.flatnonzero(found[piece] > DIFFERENT)
        if len(rest):
            found[rest] = _worst(a[rest], b[rest], np.ones((len(rest), EDGE, EDGE), np.float32))
            rest = rest[found[rest] > DIFFERENT]
        if len(rest):
            moved, inside = _warp(b[rest], _align(_grey(a[rest]), _grey(b[rest])))
            found[rest] = np.minimum(found[rest], _worst(a[rest], moved, inside))
    return found


def _grey(pictures: Floats) -> Floats:
    """(n, H, W, C) to luminance (n, H, W)."""
    return pictures[..., 0] if pictures.shape[-1] == 1 else pictures @ _LUMINANCE


def _grid(height: int, width: int) -> Floats:
    """Homogeneous coordinates (3, H · W): x, y from -1 to 1, and 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)]).astype(np.float32)


def _warp(pictures: Floats, affine: Floats) -> tuple[Floats, Floats]:
    """Pictures (n, H, W[, C]) as seen through affine maps (n, 2, 3), and where there is something.

    Bilinear; the second value is 1 inside and 0 outside of the picture, (n, H, W).
    """
    n, height, width = pictures.shape[:3]
    flat = pictures.reshape(n, height * width, -1)
    to = affine @ _grid(height, width)
    x, y = (to[:, 0] + 1) * (width - 1) / 2, (to[:, 1] + 1) * (height - 1) / 2
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = x.clip(0, width - 1.001), y.clip(0, height - 1.001)
    left, top = x.astype(np.int64), y.astype(np.int64)
    across, down = (x - left)[..., None], (y - top)[..., None]
    corner = (top * width + left)[..., None]

    def at(offset: int) -> Any:
        return np.take_along_axis(flat, corner + offset, axis=1)

    upper = at(0) * (1 - across) + at(1) * across
    lower = at(width) * (1 - across) + at(width + 1) * across
    warped = (upper * (1 - down) + lower * down).reshape(pictures.shape)
    shape = (n, height, width)
    return warped.astype(np.float32), inside.reshape(shape).astype(np.float32)


def _align(a: Floats, b: Floats) -> Floats:
    """Affine maps (n, 2, 3) through which b looks most like a; both (n, H, W)."""
    from scipy.ndimage import gaussian_filter

    n, height, width = a.shape
    x, y = _grid(height, width)[:2].reshape(2, height, width)
    maps = np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1))
    least, most = np.eye(2, 3) - REACH, np.eye(2, 3) + REACH
    ridge = np.diag([1e-2] * 6 + [1e-5] * 2).astype(np.float32)
    for blur, steps in STEPS:
        target, moving = gaussian_filter(a, (0, blur, blur)), gaussian_filter(b, (0, blur, blur))
        gy, gx = np.gradient(target, axis=(1, 2))
        gy, gx = gy * (height - 1) / 2, gx * (width - 1) / 2
        columns = [gx * x, gx * y, gx, gy * x, gy * y, gy, target, np.ones_like(target)]
        jacobian = np.stack(columns, axis=-1).reshape(n, -1, 8)
        for _ in range(steps):
            seen, inside = _warp(moving, maps)
            weighted = np.swapaxes(jacobian * inside.reshape(n, -1, 1), 1, 2)
            solution = np.linalg.solve(
                weighted @ jacobian + ridge, weighted @ seen.reshape(n, -1, 1)
            )[..., 0]
            gain = np.where(np.abs(solution[:, 6:7]) < 0.2, 1, solution[:, 6:7])
            step = (solution[:, :6] / gain).clip(-0.1, 0.1).reshape(n, 2, 3)
            maps = (_square(maps) @ np.linalg.inv(_square(step + np.eye(2, 3))))[:, :2]
            maps = maps.clip(least, most).astype(np.float32)
    return maps


def _square(maps: NDArray[Any]) -> NDArray[Any]:
    """Affine maps (n, 2, 3) as (n, 3, 3)."""
    last = np.broadcast_to(np.array([[0, 0, 1]], maps.dtype), (len(maps), 1, 3))
    return np.concatenate([maps, last], axis=1)


def _worst(a: Floats, b: Floats, inside: Floats) -> Floats:
    """The largest difference of any square, (n,), where `inside` (n, H, W) is 1."""
    from scipy.ndimage import gaussian_filter

    inside = inside.copy()
    inside[:, [0, -1]] = inside[:, :, [0, -1]] = 0  # the border is half outside after a crop
    if a.shape[-1] == 3:
        a, b = _colourless(a, b)
    swap = ((a.sum(-1) - b.sum(-1)) * inside).sum((1, 2)) > 0
    dark = np.where(swap[:, None, None, None], b, a)
    bright = np.where(swap[:, None, None, None], a, b)
    mask = inside[..., None]
    predicted = _toned(dark, bright, mask)
    contrast = np.minimum(_deviation(bright, mask), _deviation(predicted, mask)).mean(-1)
    error = gaussian_filter((bright - predicted) * mask, (0, _BLUR, _BLUR, 0))
    error = np.sqrt((error**2).mean(-1))
    edges = np.minimum(_slope(_grey(predicted)), _slope(_grey(bright)))
    error = error / (np.maximum(contrast, _FLAT)[:, None, None] + _EDGES * edges) * inside
    covered = _squares(inside)
    worst = np.where(covered > 0.5, _squares(error) / np.maximum(covered, 0.5), 0).max((1, 2))
    return np.asarray(worst, np.float32)


def _colourless(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Pairs of which either has no colour, as luminance in all channels."""
    flat = [np.ptp(each, axis=-1).mean((1, 2)) < 3 for each in (a, b)]
    grey = (flat[0] | flat[1])[:, None, None, None]
    return np.where(grey, _grey(a)[..., None], a), np.where(grey, _grey(b)[..., None], b)


def _toned(dark: Floats, bright: Floats, mask: Floats) -> Floats:
    """What the bright picture should be by the dark one: gain and offset for each channel."""
    lit = mask * ((dark < _WHITE) & (bright < _WHITE))
    few = lit.sum((1, 2), keepdims=True) < 0.1 * mask.sum((1, 2), keepdims=True)
    lit = np.where(few, mask, lit)
    count = np.maximum(lit.sum((1, 2), keepdims=True), 1)
    mean_dark = (dark * lit).sum((1, 2), keepdims=True) / count
    mean_bright = (bright * lit).sum((1, 2), keepdims=True) / count
    centred = (dark - mean_dark) * lit
    together = (centred * (bright - mean_bright)).sum((1, 2), keepdims=True)
    alone = np.maximum((centred**2).sum((1, 2), keepdims=True), 1e-3)
    gain = (together / alone).clip(0.67, 1.6)
    toned = ((dark - mean_dark) * gain + mean_bright).clip(0, 255)
    # Blank pictures have no tones to match: any grey would become any other.
    blank = (_deviation(dark, mask).mean(-1) < 2 * _FLAT)[:, None, None, None]
    return np.asarray(np.where(blank, dark, toned), np.float32)


def _deviation(pictures: Floats, mask: Floats) -> Floats:
    """Of each channel where the mask is 1; (n, C)."""
    count = np.maximum(mask.sum((1, 2), keepdims=True), 1)
    mean = (pictures * mask).sum((1, 2), keepdims=True) / count
    square = (((pictures - mean) * mask) ** 2).sum((1, 2), keepdims=True) / count
    return np.asarray(np.sqrt(square)[:, 0, 0], np.float32)


def _slope(grey: Floats) -> Floats:
    """Grey levels a pixel, (n, H, W)."""
    from scipy.ndimage import gaussian_filter

    down, across = np.gradient(gaussian_filter(grey, (0, _BLUR, _BLUR)), axis=(1, 2))
    return np.asarray(np.hypot(down, across), np.float32)


def _squares(values: Floats) -> Floats:
    """Means over the squares: (n, 64, 64) to (n, 16, 16)."""
    side = EDGE // SQUARES
    means = values.reshape(len(values), SQUARES, side, SQUARES, side).mean((2, 4))
    return np.asarray(means, np.float32)
