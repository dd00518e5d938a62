"""A square of pixels to draw on, 100 units wide, and the shapes that faces are made of.

Drawing is Skia's, on the processor. Points are worked out here in double precision and rounded to
single by Skia, which hides the last bit, where mathematical libraries differ; no other part of the
drawing depends on the machine.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from lorgnette.errors import MissingDependencyError

try:
    import skia
except ImportError as error:  # the wheel is there, but a slim machine may lack libGL or libEGL
    raise MissingDependencyError(
        f"Portraits are drawn by Skia, which does not load here ({error}): "
        "`pip install skia-python`, and on Linux also `apt-get install libgl1 libegl1`."
    ) from error

UNITS = 100.0
"""Width and height of a canvas."""

Point = tuple[float, float]
Colour = tuple[float, float, float]
"""Red, green and blue, each from 0 to 255."""

Paint = Colour | Any
"""What a shape is filled with: a colour or a gradient (`linear`, `radial`)."""


class Canvas:
    """Pixels, and the few ways of drawing that are in use."""

    def __init__(self, size: int) -> None:
        """A canvas of size × size pixels."""
        self.size = size
        self.pixels: npt.NDArray[np.uint8] = np.zeros((size, size, 4), np.uint8)
        self._surface = skia.Surface(self.pixels)
        self._canvas = self._surface.getCanvas()
        self._canvas.scale(size / UNITS, size / UNITS)

    @property
    def pixel(self) -> float:
        """The width of a pixel in units."""
        return UNITS / self.size

    def fill(self, path: Any, paint: Paint, alpha: float = 1.0, blur: float = 0.0) -> None:
        """Fill a path; blur is the deviation of a soft edge, in units."""
        self._canvas.drawPath(path, self._paint(paint, alpha, blur))

    def stroke(
        self, path: Any, paint: Paint, width: float, alpha: float = 1.0, blur: float = 0.0
    ) -> None:
        """Draw along a path with round ends; what is thinner than a pixel fades instead."""
        pen = self._paint(paint, alpha * min(1.0, width / self.pixel), blur)
        pen.setStyle(skia.Paint.kStroke_Style)
        pen.setStrokeWidth(max(width, self.pixel))
        pen.setStrokeCap(skia.Paint.kRound_Cap)
        pen.setStrokeJoin(skia.Paint.kRound_Join)
        self._canvas.drawPath(path, pen)

    def cover(self, shader: Any, alpha: float = 1.0, mode: str = "SrcOver") -> None:
        """Fill the whole canvas with a gradient or a tile, mixed in by a mode of Skia's."""
        paint = self._paint(shader, alpha, 0.0)
        paint.setBlendMode(getattr(skia.BlendMode, f"k{mode}"))
        self._canvas.drawPaint(paint)

    def enlarge(self, other: Canvas) -> None:
        """Fill this canvas with the picture of a smaller one, smoothly."""
        image = skia.Image.fromarray(other.pixels, copy=False)
        smooth = skia.SamplingOptions(skia.FilterMode.kLinear)
        self._canvas.drawImageRect(image, skia.Rect(0, 0, UNITS, UNITS), smooth)

    @contextmanager
    def inside(self, path: Any) -> Iterator[None]:
        """Draw only inside a path."""
        self._canvas.save()
        self._canvas.clipPath(path, doAntiAlias=True)
        yield
        self._canvas.restore()

    @contextmanager
    def turned(self, degrees: float, center: Point, scale: float = 1.0) -> Iterator[None]:
        """Draw turned clockwise and scaled around the origin, which lies at center."""
        cos, sin = (scale * f(math.radians(degrees)) for f in (math.cos, math.sin))
        self._canvas.save()
        self._canvas.concat(skia.Matrix.MakeAll(cos, -sin, center[0], sin, cos, center[1], 0, 0, 1))
        yield
        self._canvas.restore()

    @contextmanager
    def faded(self, alpha: float) -> Iterator[None]:
        """Draw as a layer of its own, then lay it over the rest with an opacity."""
        if alpha >= 1.0:
            yield
            return
        self._canvas.saveLayerAlpha(None, round(255 * alpha))
        yield
        self._canvas.restore()

    def _paint(self, paint: Paint, alpha: float, blur: float) -> Any:
        made = skia.Paint(AntiAlias=True)
        if isinstance(paint, tuple):
            made.setColor(argb(paint))
        else:
            made.setShader(paint)
            made.setDither(True)
        made.setAlpha(round(255 * min(max(alpha, 0.0), 1.0)))
        if blur > 0:
            made.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
        return made


def argb(colour: Colour, alpha: float = 1.0) -> int:
    """A colour as Skia takes it; values beyond 0 to 255 are cut off."""
    red, green, blue = (round(min(max(value, 0.0), 255.0)) for value in colour)
    return round(255 * alpha) << 24 | red << 16 | green << 8 | blue


def mix(first: Colour, second: Colour, portion: float) -> Colour:
    """A colour between two, by the portion of the second."""
    red, green, blue = (a + (b - a) * portion for a, b in zip(first, second, strict=True))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """Darker for a factor below 1, lighter above; light colours go to white, not to neon."""
    if factor <= 1:
        return mix((0.0, 0.0, 0.0), colour, factor)
    return mix(colour, (255.0, 250.0, 240.0), 1 - 1 / factor)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour by hue, saturation and value, each from 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def linear(start: Point, end: Point, *colours: Colour, alphas: Sequence[float] = ()) -> Any:
    """A gradient along a line, through colours at equal distances."""
    return skia.GradientShader.MakeLinear([start, end], _stops(colours, alphas))


def radial(center: Point, radius: float, *colours: Colour, alphas: Sequence[float] = ()) -> Any:
    """A gradient from a centre outward, through colours at equal distances."""
    return skia.GradientShader.MakeRadial(center, radius, _stops(colours, alphas))


def tile(
    pixels: npt.NDArray[np.uint8], width: float, offset: Point, *, smooth: bool = False
) -> Any:
    """A picture of shape (n, n, 4), width units wide, that repeats over the whole plane."""
    scale = width / pixels.shape[1]
    matrix = skia.Matrix.MakeAll(scale, 0, offset[0], 0, scale, offset[1], 0, 0, 1)
    mode = skia.FilterMode.kLinear if smooth else skia.FilterMode.kNearest
    repeat = skia.TileMode.kRepeat
    image = skia.Image.fromarray(pixels)
    return image.makeShader(repeat, repeat, skia.SamplingOptions(mode), matrix)


def spline(points: Sequence[Point], closed: bool = True) -> Any:
    """A smooth path through points (a Catmull-Rom spline)."""
    path = skia.Path()
    n = len(points)
    path.moveTo(*points[0])
    for k in range(n if closed else n - 1):
        if closed:
            a, b, c, d = (points[(k + step) % n] for step in (-1, 0, 1, 2))
        else:
            a, b, c, d = (points[min(max(k + step, 0), n - 1)] for step in (-1, 0, 1, 2))
        path.cubicTo(
            b[0] + (c[0] - a[0]) / 6,
            b[1] + (c[1] - a[1]) / 6,
            c[0] - (d[0] - b[0]) / 6,
            c[1] - (d[1] - b[1]) / 6,
            *c,
        )
    if closed:
        path.close()
    return path


def polygon(points: Sequence[Point]) -> Any:
    """A closed path with straight sides."""
    path = skia.Path()
    path.addPoly([skia.Point(*point) for point in points], True)
    return path


def oval(x: float, y: float, rx: float, ry: float) -> Any:
    """An upright ellipse by its centre and radii."""
    path = skia.Path()
    path.addOval(skia.Rect(x - rx, y - ry, x + rx, y + ry))
    return path


def strands(lines: Sequence[tuple[Point, Point, Point]]) -> Any:
    """Many arcs as one path, each from a point past a second to a third."""
    path = skia.Path()
    for start, through, end in lines:
        path.moveTo(*start)
        path.quadTo(*through, *end)
    return path


def joined(*paths: Any) -> Any:
    """Several paths as one."""
    path = skia.Path()
    for part in paths:
        path.addPath(part)
    return path


def moved(path: Any, dx: float, dy: float) -> Any:
    """A copy of a path, shifted."""
    copy = skia.Path(path)
    copy.offset(dx, dy)
    return copy


def bounds(path: Any) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a path."""
    box = path.computeTightBounds()
    return box.left(), box.top(), box.right(), box.bottom()


def _stops(colours: Sequence[Colour], alphas: Sequence[float]) -> list[int]:
    return [argb(colour, alphas[k] if alphas else 1.0) for k, colour in enumerate(colours)]
