"""Two ways of painting the same shapes: as a photograph and as a comic."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from lorgnette.sources.portraits.drawing import canvas as c
from lorgnette.sources.portraits.drawing.canvas import Canvas, Colour
from lorgnette.sources.portraits.drawing.face import Face

INK: Colour = (22, 18, 24)


class Brush(Protocol):
    """How shapes become pixels. Paths and lengths are in units, relief and alpha from 0 to 1."""

    canvas: Canvas
    comic: bool

    def shape(
        self, path: Any, colour: Colour, relief: float = 0.25, ink: float = 1.0, alpha: float = 1.0
    ) -> None:
        """A solid thing: lit from the side; `ink` is how bold an outline it gets, if any."""

    def soft(self, path: Any, colour: Colour, alpha: float, blur: float) -> None:
        """A shadow or a sheen without an edge."""

    def line(self, path: Any, colour: Colour, width: float, alpha: float = 1.0) -> None:
        """A thin line: a fold, a lash, a seam."""

    def hairs(self, path: Any, colour: Colour, width: float, alpha: float) -> None:
        """Many strands at once."""


class PhotoBrush:
    """Gradients for roundness, soft shadows, fine lines."""

    comic = False

    def __init__(self, canvas: Canvas, face: Face) -> None:
        self.canvas, self.face = canvas, face
        self.strength = face.traits.between("light_strength", 0.6, 1.5)

    def shape(
        self, path: Any, colour: Colour, relief: float = 0.25, ink: float = 1.0, alpha: float = 1.0
    ) -> None:
        """See `Brush.shape`: a gradient from the lit side to the far one."""
        left, top, right, bottom = c.bounds(path)
        width, height = right - left, bottom - top
        relief *= self.strength
        center = (
            (left + right) / 2 + 0.38 * self.face.light * width,
            (top + bottom) / 2 + 0.36 * self.face.light_height * height,
        )
        lit = c.radial(
            center,
            0.8 * max(width, height, 0.1),
            c.shade(colour, 1 + 0.45 * relief),
            colour,
            c.shade(colour, max(0.1, 1 - 1.3 * relief)),
        )
        self.canvas.fill(path, lit, alpha)

    def soft(self, path: Any, colour: Colour, alpha: float, blur: float) -> None:
        """See `Brush.soft`."""
        self.canvas.fill(path, colour, alpha, blur)

    def line(self, path: Any, colour: Colour, width: float, alpha: float = 1.0) -> None:
        """See `Brush.line`."""
        self.canvas.stroke(path, colour, width, alpha)

    def hairs(self, path: Any, colour: Colour, width: float, alpha: float) -> None:
        """See `Brush.hairs`."""
        self.canvas.stroke(path, colour, width, alpha)


class ComicBrush:
    """Flat colours, one hard shadow (plain or of dots), and ink."""

    comic = True

    def __init__(self, canvas: Canvas, face: Face) -> None:
        self.canvas, self.face = canvas, face
        self.pen = face.traits.between("ink", 0.55, 1.15)
        self.dots = face.traits.has("halftone", 0.45)

    def shape(
        self, path: Any, colour: Colour, relief: float = 0.25, ink: float = 1.0, alpha: float = 1.0
    ) -> None:
        """See `Brush.shape`: the shadow is what the lit part, shifted to the light, leaves over."""
        flat = poster(colour)
        left, top, right, bottom = c.bounds(path)
        side = 1 if self.face.light > 0 else -1
        dx, dy = 0.13 * side * (right - left), -0.05 * (bottom - top)
        if relief > 0.1:
            dark = c.shade(flat, 0.72)
            self.canvas.fill(path, flat if self.dots else dark, alpha)
            if self.dots:
                self.canvas.fill(path, halftone(self.canvas, dark, 1.6), alpha)
            with self.canvas.inside(path):
                self.canvas.fill(c.moved(path, dx, dy), flat, alpha)
        else:
            self.canvas.fill(path, flat, alpha)
        if ink > 0:
            self.canvas.stroke(path, INK, self.pen * ink, alpha)

    def soft(self, path: Any, colour: Colour, alpha: float, blur: float) -> None:
        """See `Brush.soft`: only strong ones show, with an edge."""
        if alpha > 0.3:
            self.canvas.fill(path, poster(colour), 0.45 * alpha)

    def line(self, path: Any, colour: Colour, width: float, alpha: float = 1.0) -> None:
        """See `Brush.line`: in ink, whatever the colour."""
        if alpha > 0.15:
            self.canvas.stroke(path, INK, max(width, 0.75 * self.pen), min(1.0, 2.5 * alpha))

    def hairs(self, path: Any, colour: Colour, width: float, alpha: float) -> None:
        """See `Brush.hairs`: fewer words, said louder."""
        self.canvas.stroke(path, c.mix(poster(colour), INK, 0.35), 1.4 * width, min(1.0, alpha))


def poster(colour: Colour) -> Colour:
    """The colour as a comic prints it: more saturated, in few steps."""
    mean = sum(colour) / 3
    red, green, blue = (
        min(max(round((mean + 1.45 * (value - mean) + 8) / 17) * 17.0, 0.0), 255.0)
        for value in colour
    )
    return red, green, blue


def halftone(canvas: Canvas, colour: Colour, width: float) -> Any:
    """Round dots of a colour on nothing, about `width` units apart: a whole number of pixels."""
    n = max(3, round(width / canvas.pixel))
    y, x = np.mgrid[0:n, 0:n] + 0.5 - n / 2
    inside = np.clip(0.34 * n - np.sqrt(x * x + y * y) + 0.5, 0, 1)
    dot = np.empty((n, n, 4), np.uint8)
    dot[..., :3] = [round(value) for value in colour]
    dot[..., 3] = np.rint(255 * inside)
    return c.tile(dot, n * canvas.pixel, (0.0, 0.0), smooth=True)


def fringe(
    points: list[tuple[float, float]], count: int, length: float, sway: float, seed: int
) -> Any:
    """Strands that hang from along a line of points: `count` of about `length` units."""
    rng = np.random.default_rng(seed)
    jitter = rng.integers(-100, 101, (count, 3)) / 100.0
    lines = []
    for k, (a, b, d) in enumerate(jitter.tolist()):
        place = k / max(count - 1, 1) * (len(points) - 1)
        first = min(int(place), len(points) - 2)
        t = place - first
        x = points[first][0] * (1 - t) + points[first + 1][0] * t
        y = points[first][1] * (1 - t) + points[first + 1][1] * t
        reach = length * (1 + 0.3 * b)
        bend = sway + 0.25 * length * a
        lines.append(
            ((x, y), (x + bend, y + reach / 2), (x + bend * 0.4 + d, y + reach * math.sqrt(0.9)))
        )
    return c.strands(lines)
