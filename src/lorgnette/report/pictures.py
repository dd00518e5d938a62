"""Prepared pixels as small pictures that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

EDGE = 128
"""The longest edge of a thumbnail, in pixels."""


def nearest_size(sizes: Iterable[int]) -> int:
    """Of the prepared sizes the largest up to `EDGE`, or else the smallest."""
    ordered = sorted(sizes)
    return max((size for size in ordered if size <= EDGE), default=ordered[0])


def thumbnail(pixels: NDArray[np.uint8]) -> str:
    """A picture as a `data:` URI.

    Args:
        pixels: uint8 (H, W, C), with one channel or three.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if max(image.size) > EDGE:
        image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
