"""A small source to try things on: circles, squares and triangles on cluttered backgrounds.

The shapes differ in colour, place, size and rotation, some are squeezed and some faint, and every
picture has a textured background, stray lines and grain, so that neither colour nor brightness
gives the class away; the outline does.
"""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lorgnette.errors import ConfigError

CLASSES = ("circle", "square", "triangle")

_SCALE = 4
"""Shapes are drawn this much larger and then reduced, which smooths their edges."""

Colour = tuple[int, int, int]


def draw_shapes(
    out: Path,
    n: int = 600,
    size: int = 96,
    seed: int = 0,
    wrong: float = 0.0,
    *,
    broken: bool = False,
) -> list[str]:
    """Draw a folder source, `out/<class>/00000.png`, half PNG and half JPEG.

    The same arguments give the same files, and files that are already right are left alone, so a
    dataset prepared from them stays valid.

    Args:
        out: the folder to draw into; made if need be.
        n: number of pictures, divided evenly among `CLASSES`.
        size: edge length in pixels.
        seed: fixes every picture, and which ones get a wrong label.
        wrong: fraction of pictures that are put into the folder of another class.
        broken: also leave what scrapers and cameras leave behind: a truncated picture, an empty
            file, a text that calls itself a picture, and two copies of one picture, the second
            under another label.

    Returns:
        The paths, relative to `out`, of the pictures that lie in a wrong folder on purpose.

    Raises:
        ConfigError: a number is out of range.
    """
    if n < len(CLASSES) or size < 16 or not 0 <= wrong <= 1:
        raise ConfigError(
            f"Shapes need n >= {len(CLASSES)}, size >= 16 and 0 <= wrong <= 1, "
            f"got n={n}, size={size}, wrong={wrong}."
        )
    for name in CLASSES:
        (out / name).mkdir(parents=True, exist_ok=True)
    mislabelled = set(np.random.default_rng([seed, n]).permutation(n)[: round(wrong * n)].tolist())
    moved = []
    for index in range(n):
        rng = np.random.default_rng([seed, index])  # a picture does not depend on the others
        shape = CLASSES[index % len(CLASSES)]
        label = CLASSES[(index + 1) % len(CLASSES)] if index in mislabelled else shape
        path = f"{label}/{index:05d}.{'jpg' if rng.random() < 0.5 else 'png'}"
        if label != shape:
            moved.append(path)
        _write(out / path, _encode(draw_shape(shape, size, rng), path))
    if broken:
        for path, data in _broken(size, np.random.default_rng([seed, n, 1])):
            _write(out / path, data)
    return moved


def draw_shape(shape: str, size: int, rng: np.random.Generator) -> Image.Image:
    """One picture of a shape, RGB, `size` × `size` pixels."""
    background, colour = _two_colours(rng)
    canvas = _texture(background, size, rng).resize((size * _SCALE,) * 2, Image.Resampling.BICUBIC)
    for _ in range(int(rng.integers(2, 6))):
        _stray_line(canvas, colour, rng)

    radius = size * _SCALE * rng.uniform(0.16, 0.34)
    center = rng.uniform(radius, size * _SCALE - radius, 2)
    outline = _outline(shape, rng) * radius + center
    layer = canvas.copy()
    points = [(float(x), float(y)) for x, y in outline]
    draw = ImageDraw.Draw(layer)
    if rng.random() < 0.75:
        draw.polygon(points, fill=colour)
    else:
        draw.line([*points, *points[:2]], colour, int(radius * rng.uniform(0.1, 0.25)), "curve")
    canvas = Image.blend(canvas, layer, rng.uniform(0.6, 1.0))

    picture = canvas.resize((size, size), Image.Resampling.LANCZOS)
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, size / 120)))
    grain = rng.normal(0.0, rng.uniform(2.0, 14.0), (size, size, 3))
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def _outline(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Corners of a shape in a circle of radius 1, squeezed a little and turned; shape (k, 2)."""
    corners = {"circle": 72, "square": 4, "triangle": 3}[shape]
    angles = np.arange(corners) * (2 * math.pi / corners)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    turn = rng.uniform(0, 2 * math.pi, 2)
    squeeze = np.array([1.0, rng.uniform(0.8, 1.0)])
    turned: np.ndarray = (points @ _rotation(turn[0]) * squeeze) @ _rotation(turn[1])
    return turned


def _rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _two_colours(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """A background and a colour that can be told from it."""
    while True:
        first, second = (_colour(rng) for _ in range(2))
        if math.dist(first, second) > 90:
            return first, second


def _colour(rng: np.random.Generator) -> Colour:
    hue, saturation, value = rng.random(), rng.uniform(0.15, 0.75), rng.uniform(0.3, 0.95)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)


def _texture(colour: Colour, size: int, rng: np.random.Generator) -> Image.Image:
    """A background around a colour: a gradient, and clouds of a few sizes."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    shade = rng.uniform(0, 30) * (x * math.cos(angle) + y * math.sin(angle))
    for cells in (3, 7, 17):
        clouds = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
        shade = shade + rng.uniform(2, 12) * np.asarray(
            clouds.resize((size, size), Image.Resampling.BICUBIC)
        )
    pixels = np.array(colour) + shade[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _stray_line(canvas: Image.Image, near: Colour, rng: np.random.Generator) -> None:
    """A thin line across the picture, half of the time in the colour of the shape."""
    ends = rng.uniform(-0.1, 1.1, 4) * canvas.width
    colour = near if rng.random() < 0.5 else _colour(rng)
    width = max(1, int(canvas.width * rng.uniform(0.004, 0.015)))
    ImageDraw.Draw(canvas).line([float(end) for end in ends], colour, width)


def _broken(size: int, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Files that must end as rows with a reason."""
    picture = _encode(draw_shape("circle", size, rng), "truncated.jpg")
    yield "circle/truncated.jpg", picture[: len(picture) // 2]
    yield "square/empty.png", b""
    yield "triangle/not-an-image.jpg", b"<html><title>404 Not Found</title></html>\n"
    copy = _encode(draw_shape("square", size, rng), "copy.png")
    yield "square/original.png", copy
    yield "triangle/copy.png", copy


def _encode(picture: Image.Image, path: str) -> bytes:
    buffer = io.BytesIO()
    if path.endswith(".png"):
        picture.save(buffer, "PNG")
    else:
        picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)
