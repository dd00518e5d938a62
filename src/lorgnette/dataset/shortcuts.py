"""Faster readers than Pillow's, for two kinds of file that are common and plain.

Each returns None where it is not sure of its result; then Pillow decides.
"""

from __future__ import annotations

import re

import numpy as np
from kornia_rs.io import decode_image_png_u8
from PIL import Image

from lorgnette.dataset.formats import Png, check_pixels

FAST_PIXELS = 1 << 26
"""Larger pictures are left to Pillow: where memory ends it raises, and Rust aborts the process."""

MODES = {0: "mono", 2: "rgb", 6: "rgba"}
"""PNG's colour types that kornia-rs decodes as they are, and its names for them."""

TEXT_PNM = re.compile(rb"P([23])\s+(\d{1,9})\s+(\d{1,9})\s+(\d{1,3})\s")


def read_plain_png(data: bytes, png: Png) -> Image.Image | None:
    """An 8-bit gray, RGB or RGBA PNG that holds nothing but its pixels.

    kornia-rs takes about a third of Pillow's time, verifies checksums, and refuses a file with too
    few pixels, which Pillow completes with black.
    """
    if not png.plain or png.depth != 8 or png.color not in MODES:
        return None
    if png.width * png.height > FAST_PIXELS:
        return None
    try:
        pixels = np.asarray(
            decode_image_png_u8(data, (png.height, png.width), MODES[png.color]), np.uint8
        )
    except Exception:
        return None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which is no Exception
            raise
        return None
    return Image.fromarray(pixels[:, :, 0] if png.color == 0 else pixels)


def read_text_pnm(data: bytes, limit: int) -> Image.Image | None:
    """A gray or RGB portable anymap in ASCII digits, of at most 8 bits and without comments.

    Pillow reads them in Python, number by number, in nine times the time.

    Raises:
        Rejected: there are no pixels, or more than `limit`.
    """
    header = TEXT_PNM.match(data)
    if header is None or b"#" in data:
        return None
    kind, width, height, peak = (int(field) for field in header.groups())
    check_pixels(width, height, limit)
    shape = (height, width) if kind == 2 else (height, width, 3)
    try:
        values = np.fromstring(data[header.end() :], np.int32, sep=" ")
    except ValueError:  # something is not a number
        return None
    if values.size != np.prod(shape) or not 0 <= values.min() <= values.max() <= peak <= 255:
        return None
    scaled = values if peak == 255 else values * (255 / peak) + 0.5
    return Image.fromarray(scaled.astype(np.uint8).reshape(shape))
