"""From the bytes of one image file to arrays of pixels, one per size.

What an image looks like is defined by Pillow: its full decode, turned upright by EXIF, over white
where it is transparent, as RGB or as luminance (ITU-R 601), cropped, padded or stretched to a
square, then `Image.resize` with its antialiased bicubic filter. What is done here is faster, and
agrees with that within a mean of one grey level (`tests/dataset/test_decode.py`):

- a JPEG is decoded at a half, a quarter or an eighth of its scale, in luminance alone where that is
  all that is asked for: its discrete cosine transform gives both nearly for nothing;
- an 8-bit PNG is decoded by kornia-rs, in about a third of the time that Pillow takes;
- whole blocks of pixels are averaged before the bicubic filter takes over.

Colour profiles are not applied, and damage in the middle of a JPEG that keeps its structure cannot
be seen: libjpeg repairs it as every viewer does.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lorgnette.dataset.formats import (
    Png,
    Rejected,
    check_pixels,
    check_png_pixels,
    check_whole,
    read_png,
    sniff,
)
from lorgnette.dataset.shortcuts import read_plain_png, read_text_pnm

__all__ = ["Decoded", "Rejected", "decode"]

Color = Literal["rgb", "gray"]
Fit = Literal["crop", "pad", "stretch"]

OVERSAMPLING = 3.0
"""How much larger than its target a picture stays for the bicubic filter.

At 2 the mean error on photographs reaches 1.7 grey levels, at 3 it stays below 0.8."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How EXIF's orientations are turned upright; those from 5 swap width and height."""


UNSUPPORTED = re.compile(
    "unsupported|not supported|unknown|unimplemented|not available|not installed", re.IGNORECASE
)
"""How Pillow says that a file may be whole, but nothing here reads its kind."""


class Quiet:
    """No warnings while any thread is inside: odd metadata beside good pixels is nobody's business.

    Python's own `catch_warnings` is not meant for threads: two that overlap can leave the filters
    of the first in force for good.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.caught = warnings.catch_warnings(action="ignore")
                self.caught.__enter__()

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.caught.__exit__(None, None, None)


QUIET = Quiet()


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image that could be read.

    Attributes:
        pixels: for each size an array (size, size, channels) of uint8, possibly read-only.
        width, height: of the whole image as a person sees it (after orientation), in pixels.
    """

    pixels: tuple[NDArray[np.uint8], ...]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, opaque, in mode `L` or `RGB`, on its way to its sizes.

    Attributes:
        image: the pixels, possibly at a reduced scale, not yet turned upright.
        extent: the width and height of the picture in `image`, whose last row and column are
            partly covered where a scale does not divide the full size.
        full: width and height at full scale.
        orientation: EXIF's, 1 to 8.
    """

    image: Image.Image
    extent: tuple[float, float]
    full: tuple[int, int]
    orientation: int = 1


def decode(data: bytes, sizes: Sequence[int], color: Color, fit: Fit, pixel_limit: int) -> Decoded:
    """Decode an image file once and resize it to each of `sizes`.

    Args:
        data: the whole file; its content decides what it is.
        sizes: edge lengths of the square results, in pixels.
        color: three channels, or luminance alone.
        fit: cut out the central square, add white, or give up the aspect.
        pixel_limit: images with more pixels are refused by their header. Above 178,956,970 it also
            raises Pillow's own limit, which holds for the whole process.

    Raises:
        Rejected: the bytes are not an image that can be read; no other exception leaves here.
    """
    name, largest = sniff(data), max(sizes)
    try:
        picture = _read(name, data, largest, color, fit, pixel_limit)
        pixels = tuple(_resize(picture, size, color, fit) for size in sizes)
    except Rejected:
        raise
    except MemoryError:
        raise Rejected("unsupported", f"The {name} file needs more memory than there is.") from None
    except Image.DecompressionBombError:
        raise Rejected(
            "unsupported", f"The {name} file holds more pixels than the pixel limit allows."
        ) from None
    except Exception as error:  # whatever a decoder makes of damaged bytes
        raise _verdict(name, error) from None
    width, height = picture.full
    if picture.orientation >= 5:
        width, height = height, width
    return Decoded(pixels, width, height)


def _verdict(name: str, error: Exception) -> Rejected:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, NotImplementedError) or UNSUPPORTED.search(text):
        return Rejected("unsupported", f"The {name} file is of a kind that is not read: {text}.")
    if "not identified" in text:
        text = "its header makes no sense"
    return Rejected("corrupt", f"The {name} file is damaged: {text}.")


def _read(name: str, data: bytes, size: int, color: Color, fit: Fit, limit: int) -> Picture:
    """Decode with the fastest decoder that gives the right pixels at `size`."""
    with QUIET:
        png = read_png(data, limit) if name == "PNG" else None
        if png is not None:
            image = read_plain_png(data, png)
        else:
            check_whole(name, data, limit)
            image = read_text_pnm(data, limit) if name == "PPM" else None
        if image is not None:
            return Picture(_opaque(image), image.size, image.size)
        if png is not None:
            check_png_pixels(data, png)
        return _read_with_pillow(name, data, png, size, color, fit, limit)


def _read_with_pillow(
    name: str, data: bytes, png: Png | None, size: int, color: Color, fit: Fit, limit: int
) -> Picture:
    if Image.MAX_IMAGE_PIXELS is not None and limit > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=(name,))
    except UnidentifiedImageError:
        # `open` hides why; the format's own reader says it.
        factory, _ = Image.OPEN[name]
        image = factory(BytesIO(data), "")
    check_pixels(*image.size, limit)
    full = image.size
    extent: tuple[float, float] = full
    if name == "JPEG":
        scaled = _draft(image, size, color, fit)
        extent = scaled or extent
    image.load()
    if name != "JPEG":  # some formats know their size, or turn themselves, only now
        check_pixels(*image.size, limit)
        full = extent = image.size
    if png is not None:
        _mend_transparent_color(image, png)
    return Picture(_opaque(image), extent, full, _orientation(image))


def _draft(image: Image.Image, size: int, color: Color, fit: Fit) -> tuple[float, float] | None:
    """Have a JPEG decoded at the smallest scale that leaves `OVERSAMPLING` for `size`."""
    width, height = image.size
    edge = max(width, height) if fit == "pad" else min(width, height)
    scale = next((s for s in (8, 4, 2) if edge >= s * OVERSAMPLING * size), 1)
    asked = (max(1, width // scale), max(1, height // scale))
    drafted = image.draft("L" if color == "gray" else "RGB", asked)
    return None if drafted is None else (drafted[1][2], drafted[1][3])


def _mend_transparent_color(image: Image.Image, png: Png) -> None:
    """Bring a PNG's transparent colour to the depth that Pillow brings its samples to."""
    key = image.info.get("transparency")
    if png.color == 2 and png.depth == 16 and isinstance(key, tuple):
        image.info["transparency"] = tuple(sample >> 8 for sample in key)
    elif png.color == 0 and png.depth in (2, 4) and isinstance(key, int):
        image.info["transparency"] = key * (255 // (2**png.depth - 1))


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata says nothing about the pixels
        return 1
    return orientation if orientation in TURNS else 1


def _opaque(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as `L` or `RGB`, over white."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image)
    if image.mode in ("La", "RGBa"):  # alpha is multiplied in
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return _over_white(image.convert("RGBA"))
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _over_white(image: Image.Image) -> Image.Image:
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=alpha)
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    """Samples of more than eight bits, scaled; Pillow's own conversion clips them at 255."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # TIFF's
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        peak = 1.0 if high <= 1 else 255.0
    else:
        bits = tags.get(258, (16,))[0]
        peak = 2.0**bits - 1 if bits < 16 else 65535.0
    if not (low >= 0 and high <= peak):  # not a number is neither
        raise Rejected(
            "unsupported",
            f"The image's samples run from {low:g} to {high:g}, a scale without a known white.",
        )
    scaled = (values * np.float32(255 / peak) + np.float32(0.5)).astype(np.uint8)
    if tags.get(262) == 0:  # TIFF: white is zero
        scaled = 255 - scaled
    if "transparency" in image.info:
        scaled[values == image.info["transparency"]] = 255
    return Image.fromarray(scaled)


def _resize(picture: Picture, size: int, color: Color, fit: Fit) -> NDArray[np.uint8]:
    """The picture as an upright square, (size, size, channels)."""
    width, height = picture.extent
    box, target = (0.0, 0.0, width, height), (size, size)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        full_width, full_height = picture.full
        longer = max(full_width, full_height)
        target = (
            max(1, round(full_width / longer * size)),
            max(1, round(full_height / longer * size)),
        )
    image = picture.image
    if color == "gray" and image.mode != "L":
        image = image.convert("L")
    image = image.resize(target, Image.Resampling.BICUBIC, box, OVERSAMPLING)
    if picture.orientation in TURNS:
        image = image.transpose(TURNS[picture.orientation])
    if image.size != (size, size):
        square = Image.new(image.mode, (size, size), (255,) * len(image.getbands()))
        square.paste(image, (round((size - image.width) / 2), round((size - image.height) / 2)))
        image = square
    if color == "rgb" and image.mode == "L":
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return pixels[:, :, None] if color == "gray" else pixels
