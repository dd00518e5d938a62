"""A portrait is drawn: the order of things, and the finish of a photograph.

The same vector, size and style give the same bytes on every machine (see `drawing.canvas`).
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from lorgnette.errors import ConfigError, nearest
from lorgnette.sources.portraits.drawing import canvas as c
from lorgnette.sources.portraits.drawing import features, glasses, hair, scene
from lorgnette.sources.portraits.drawing.brushes import Brush, ComicBrush, PhotoBrush
from lorgnette.sources.portraits.drawing.canvas import Canvas
from lorgnette.sources.portraits.drawing.face import Face, describe
from lorgnette.sources.portraits.latent import DIMENSIONS
from lorgnette.sources.portraits.plan import LARGEST, SMALLEST
from lorgnette.sources.portraits.traits import Traits
from lorgnette.sources.portraits.wearing import wearing

Style = Literal["photo", "comic"]
STYLES: tuple[Style, ...] = ("photo", "comic")

_TILE = 256
"""Edge of the tile of grain, in pixels."""


def draw(
    vector: npt.NDArray[np.floating], size: int, style: Style = "photo"
) -> npt.NDArray[np.uint8]:
    """The portrait of a latent vector.

    Args:
        vector: shape (512,).
        size: edge length in pixels, 16 to 4,096.
        style: "photo" (shaded, grainy) or "comic" (ink and flat colours) of the same person.

    Returns:
        RGB, uint8 of shape (size, size, 3).

    Raises:
        ConfigError: an argument is none of these.
        MissingDependencyError: Skia does not load.
    """
    vector = np.asarray(vector)
    if vector.shape != (DIMENSIONS,) or not np.isfinite(vector).all():
        raise ConfigError(
            f"A portrait is drawn of {DIMENSIONS} finite numbers, not of an array of shape "
            f"{vector.shape}{'' if np.isfinite(vector).all() else ' with values that are not'}."
        )
    if not SMALLEST <= size <= LARGEST:
        raise ConfigError(f"A portrait is {SMALLEST} to {LARGEST} pixels wide, not {size}.")
    if style not in STYLES:
        raise ConfigError(f"A portrait is a photo or a comic: {nearest(style, STYLES)}")
    traits = Traits(vector)
    face = describe(traits, wearing(vector[None, :]), comic=style == "comic")
    canvas = Canvas(size)
    if face.comic:
        _compose(canvas, face, ComicBrush(canvas, face))
    else:
        focus = 1 - 0.55 * max(0.0, traits.share("softness") - 0.6) / 0.4
        if focus < 0.97:  # out of focus: drawn smaller and enlarged
            small = Canvas(max(SMALLEST, round(size * focus)))
            _compose(small, face, PhotoBrush(small, face))
            canvas.enlarge(small)
        else:
            _compose(canvas, face, PhotoBrush(canvas, face))
        _expose(canvas, face)
        return _grain(canvas.pixels, traits)
    return np.ascontiguousarray(canvas.pixels[..., :3])


def _compose(canvas: Canvas, face: Face, brush: Brush) -> None:
    """Everything from back to front."""
    traits = face.traits
    scale = 1.2 + 0.07 * traits.normal("scale", 2.0)
    center = (50 + 2.5 * traits.normal("left", 2.0), 45 + 2.0 * traits.normal("up", 2.0))
    roll = 5.0 * traits.normal("roll", 2.0)
    scene.background(canvas, face)
    with canvas.turned(roll, center, scale):
        hair.behind(brush, face)
    x, y = face.at(0, face.chin, 2)
    tilt = math.radians(roll)
    chin = (center[0] + scale * (x - 0.6 * y * tilt), center[1] + scale * (y - 1.5))
    scene.body(brush, face, chin)
    with canvas.turned(roll, center, scale):
        features.ears(brush, face)
        outline = features.head(brush, face)
        features.wrinkles(brush, face)
        features.beard(brush, face, outline)
        features.eyes(brush, face)
        features.nose(brush, face)
        features.mouth(brush, face)
        hair.over(brush, face, outline)
        features.brows(brush, face)
        glasses.marks(brush, face)
        glasses.glasses(brush, face)
        hair.beside(brush, face)
        scene.hat(brush, face)


def _expose(canvas: Canvas, face: Face) -> None:
    """The lens and the film: a tint, more or less light, dark corners."""
    traits = face.traits
    warm, bright = traits.normal("tint") / 2.5, traits.normal("exposure") / 2.5
    level = 255.0 if bright > 0 else 0.0
    veil = c.mix((128 + 90 * warm, 128.0, 128 - 90 * warm), (level, level, level), abs(bright))
    thickness = 0.05 + 0.09 * abs(warm) + 0.13 * abs(bright)
    corner = c.mix(veil, (0.0, 0.0, 0.0), 0.8)
    alphas = (thickness, thickness, thickness + 0.5 * traits.share("vignette") ** 2)
    lens = c.radial((50 + 20 * face.light, 42), 80, veil, veil, corner, alphas=alphas)
    canvas.cover(lens)


def _grain(pixels: npt.NDArray[np.uint8], traits: Traits) -> npt.NDArray[np.uint8]:
    """RGB with the sensor's noise, the same over each tile but from another start."""
    strength = 0.02 + 0.2 * traits.share("grain") ** 3
    start = np.random.default_rng(traits.seed).integers(0, _TILE, 2).tolist()
    tile = np.roll(_grain_tile(), start, (0, 1))
    tile = np.rint(strength * tile).astype(np.int16)
    height, width, _ = pixels.shape
    result = np.empty((height, width, 3), np.uint8)
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            part = pixels[y : y + _TILE, x : x + _TILE, :3]
            noisy = part + tile[: part.shape[0], : part.shape[1]]
            result[y : y + _TILE, x : x + _TILE] = np.clip(noisy, 0, 255)
    return result


@functools.cache
def _grain_tile() -> npt.NDArray[np.int16]:
    """Bell-shaped noise around 0 with a deviation of 37, as the sum of four dice is."""
    dice = np.random.default_rng(1839).integers(0, 256, (4, _TILE, _TILE, 3), np.uint8)
    total = dice.sum(axis=0, dtype=np.int16)
    return np.asarray(total // 4 - 128, np.int16)
