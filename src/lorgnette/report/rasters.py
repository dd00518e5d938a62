"""Arrays as small pictures: mean images, heat over a picture, sheets of maps and filters.

All take and give NumPy arrays; `encode` makes the `data:` URI that a page can hold.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]

HEAT = "inferno"
"""Of evidence and feature maps: dark is none, bright is much; even in grey and to every eye."""
SIGNED = "RdBu_r"
"""Of differences and filters: blue below, red above, white at zero."""
GAP = 4
"""White pixels between the maps of a sheet."""


def encode(pixels: Pixels, least: int = 0, *, smooth: bool = True) -> str:
    """A picture as a `data:` URI.

    Args:
        pixels: uint8 (H, W, C) with one channel or three.
        least: enlarged to this edge where it is smaller, so that browsers do not blur it.
        smooth: whether enlarging interpolates, or shows each value as a square.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if max(image.size) < least:
        factor = least / max(image.size)
        method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        factor = factor if smooth else math.ceil(factor)
        image = image.resize((round(image.width * factor), round(image.height * factor)), method)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=84, method=4, lossless=not smooth)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def colored(values: Floats, name: str) -> Pixels:
    """Values from 0 to 1 through one of Matplotlib's colour maps: (H, W) to uint8 (H, W, 3)."""
    import matplotlib

    rgba: Pixels = matplotlib.colormaps[name](np.clip(values, 0, 1), bytes=True)
    return np.ascontiguousarray(rgba[..., :3])


def signed(values: Floats, limit: float) -> Pixels:
    """Values around zero, (H, W): blue at `-limit`, white at 0, red at `limit`."""
    return colored(values / (2 * limit or 1) + 0.5, SIGNED)


def gradient(name: str, steps: int = 9) -> str:
    """The stops of a colour map for a CSS `linear-gradient`."""
    stops = colored(np.linspace(0, 1, steps)[None], name)[0]
    return ", ".join(f"rgb({r} {g} {b})" for r, g, b in stops.tolist())


def enlarge(values: Floats, edge: tuple[int, int]) -> Floats:
    """A map (h, w) interpolated to (H, W), pixel centres on pixel centres."""
    from PIL import Image

    image = Image.fromarray(np.asarray(values, np.float32))
    resized = image.resize((edge[1], edge[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32)


def overlay(pixels: Pixels, heat: Floats, edge: int = 224) -> Pixels:
    """Evidence as colour over a greyed picture.

    Args:
        pixels: uint8 (H, W, C) with one channel or three.
        heat: (h, w) from 0 to 1.
        edge: of the result, at least; the picture's own where that is larger.

    Returns:
        uint8 (E, E, 3): the more evidence, the less of the picture's own grey.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
    side = max(edge, *image.size)
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    grey = np.repeat(np.asarray(image, np.float32)[..., None], 3, axis=2)
    strength = np.clip(enlarge(heat, (side, side)), 0, 1)
    # Never fully opaque: what the colour lies on has to stay recognisable.
    alpha = (0.15 + 0.55 * strength)[..., None]
    mixed = (1 - alpha) * grey + alpha * colored(strength, HEAT)
    return mixed.round().clip(0, 255).astype(np.uint8)


def sheet(tiles: Sequence[Pixels], columns: int, cell: int) -> Pixels:
    """Small pictures in rows, each enlarged by a whole factor towards `cell` pixels.

    Args:
        tiles: uint8 (h, w, 3) each, all of one size.
        columns: how many stand in a row.
        cell: the edge to enlarge to; nothing is made smaller.
    """
    factor = max(1, cell // max(tiles[0].shape[:2]))
    large = [tile.repeat(factor, axis=0).repeat(factor, axis=1) for tile in tiles]
    height, width = large[0].shape[:2]
    rows = -(-len(large) // columns)
    board = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for place, tile in enumerate(large):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        board[top : top + height, left : left + width] = tile
    return board
