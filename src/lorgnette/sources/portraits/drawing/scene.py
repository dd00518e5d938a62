"""What is around a face: the background, neck and shoulders, clothes and hats."""

from __future__ import annotations

from typing import Any

import numpy as np

from lorgnette.sources.portraits.drawing import canvas as c
from lorgnette.sources.portraits.drawing.brushes import Brush, halftone, poster
from lorgnette.sources.portraits.drawing.canvas import Canvas, Colour, Point
from lorgnette.sources.portraits.drawing.face import Face, bright

_SCENES = [("studio", 30), ("blobs", 22), ("landscape", 16), ("wall", 16), ("room", 16)]


def background(canvas: Canvas, face: Face) -> None:
    """A studio, lights out of focus, a landscape, a wall or a room; in a comic, flat or of dots."""
    traits = face.traits
    colour = bright(traits, "scene", (0.05, 0.6))
    other = c.mix(c.shade(colour, traits.between("scene_detail", 0.35, 1.5)), (128, 128, 120), 0.2)
    if face.comic:
        _comic_background(canvas, face, poster(colour), poster(other))
        return
    start, end = (50 + 55 * face.light, 0.0), (50 - 55 * face.light, 100.0)
    canvas.cover(c.linear(start, end, c.shade(colour, 1.2), colour, other))
    scene = traits.pick("scene", _SCENES)
    rng = np.random.default_rng(traits.seed ^ 0xBAC)
    numbers = (rng.integers(0, 1001, (12, 4)) / 1000.0).tolist()
    if scene == "blobs":
        for x, y, r, tone in numbers:
            spot = c.oval(100 * x, 90 * y, 3 + 7 * r, 3 + 7 * r)
            canvas.fill(spot, c.shade(colour, 0.6 + 1.3 * tone), 0.3, 0.8)
    elif scene == "landscape":
        horizon = 36 + 26 * traits.share("scene_detail")
        green = c.mix(c.hsv(0.2 + 0.15 * numbers[0][0], 0.45, 0.4), colour, 0.25)
        hills: list[Point] = [(-5.0, 105.0), (-5.0, horizon)]
        hills += [(13.0 * k + 5, horizon - 9 + 18 * numbers[k][1]) for k in range(8)]
        canvas.fill(c.spline([*hills, (105.0, horizon), (105.0, 105.0)]), green, 0.9, 1.2)
    elif scene == "wall":
        gap = 7 + 9 * numbers[0][0]
        for k in range(int(100 / gap) + 1):
            line = c.polygon([(k * gap, 0.0), (k * gap + 0.8, 0.0), (k * gap + 0.8, 100.0)])
            canvas.fill(line, c.shade(colour, 0.6), 0.35, 0.4)
    elif scene == "room":
        for x, y, width, tone in numbers[:5]:
            left, top = 100 * x - 10, 70 * y - 10
            right, bottom = left + 8 + 26 * width, top + 12 + 34 * tone
            box = c.polygon([(left, top), (right, top), (right, bottom), (left, bottom)])
            canvas.fill(box, c.shade(colour, 0.5 + 1.1 * tone), 0.5, 1.0)


def _comic_background(canvas: Canvas, face: Face, colour: Colour, other: Colour) -> None:
    canvas.cover(c.linear((0, 0), (0, 100), colour, colour))
    kind = face.traits.pick("scene", [("flat", 3), ("dots", 3), ("rays", 2), ("halves", 2)])
    if kind == "dots":
        canvas.cover(halftone(canvas, other, 3.2))
    elif kind == "rays":
        corners = [(-40.0, -40.0), (30.0, -60.0), (100.0, -60.0), (160.0, 0.0), (160.0, 90.0)]
        corners += [(100.0, 160.0), (0.0, 160.0), (-60.0, 90.0), (-60.0, 20.0), (-40.0, -40.0)]
        for a, b in zip(corners[::2], corners[1::2], strict=True):
            canvas.fill(c.polygon([(50.0, 48.0), a, b]), other)
    elif kind == "halves":
        slant = 30 * face.light
        canvas.fill(c.polygon([(50 + slant, -1), (101, -1), (101, 101), (50 - slant, 101)]), other)


def body(brush: Brush, face: Face, chin: Point) -> None:
    """Neck, shoulders and what covers them, below a chin at some place of the canvas."""
    traits = face.traits
    x, y = chin
    half = traits.between("neck", 8.5, 12.0) - 2.2 * face.femininity + 0.8
    wide = traits.between("neck", 33, 43) - 5 * face.femininity
    top = y + traits.between("neck", 7.0, 9.5)
    neck = c.spline([
        (x - half, y - 14), (x - half, y + 4), (x - half - 4, top + 8), (x, top + 14),
        (x + half + 4, top + 8), (x + half, y + 4), (x + half, y - 14),
    ])  # fmt: skip
    brush.shape(neck, c.shade(face.skin, 0.9), 0.3, 0.9)
    if not brush.comic:
        with brush.canvas.inside(neck):  # the shadow of the chin
            shadow = c.oval(x - 2.5 * face.light, y + 0.5, half + 5, 6.0)
            brush.soft(shadow, c.shade(face.skin, 0.32), 0.55, 2.0)
    cloth = bright(traits, "clothes")
    v_neck = traits.has("collar", 0.35)
    dip = top + (11.0 if v_neck else 5.0)
    left = [
        (x - half - 2.5, top + 2),
        (x - 0.62 * wide, top + 6),
        (x - wide, top + 13),
        (x - wide - 5, 108),
    ]
    right = [(2 * x - px, py) for px, py in reversed(left)]
    collar: list[Point] = [(x + 0.5 * half, top + 4.5), (x, dip), (x - 0.5 * half, top + 4.5)]
    torso = c.spline([*left, *right, *collar])
    brush.shape(torso, cloth, 0.3, 1.1)
    with brush.canvas.inside(torso):
        _pattern(brush, face, cloth, x, top)
        if not brush.comic:
            folds = [
                ((x - wide, top + 14), (x - 0.5 * wide, top + 22), (x - 0.55 * wide, 105.0)),
                ((x + wide, top + 14), (x + 0.5 * wide, top + 24), (x + 0.6 * wide, 105.0)),
            ]
            brush.canvas.stroke(c.strands(folds), c.shade(cloth, 0.4), 1.6, 0.4, 0.8)
    if traits.share("collar") < 0.3:
        _shirt_collar(brush, c.shade(cloth, 1.25), x, half, top)
    else:
        edge = c.spline(
            [(x + half + 2.5, top + 2), *collar, (x - half - 2.5, top + 2)], closed=False
        )
        brush.line(edge, c.shade(cloth, 0.5), 0.9, 0.6)


def _pattern(brush: Brush, face: Face, cloth: Colour, x: float, top: float) -> None:
    kind = face.traits.pick(
        "pattern", [("plain", 62), ("stripes", 16), ("pinstripes", 12), ("dots", 10)]
    )
    second = c.shade(cloth, 1.9 if sum(cloth) < 330 else 0.45)
    if kind == "stripes":
        for k in range(8):
            y = top + 6 + 6 * k
            bar = c.spline([(x - 55, y + 8), (x, y), (x + 55, y + 8)], closed=False)
            brush.canvas.stroke(bar, second, 2.4, 0.85)
    elif kind == "pinstripes":
        for k in range(-12, 13):
            brush.canvas.stroke(
                c.strands([((x + 4 * k, top), (x + 4.3 * k, top + 20), (x + 4.6 * k, 104.0))]),
                second,
                0.5,
                0.6,
            )
    elif kind == "dots":
        brush.canvas.cover(halftone(brush.canvas, second, 4.2), 0.9)


def _shirt_collar(brush: Brush, colour: Colour, x: float, half: float, top: float) -> None:
    for side in (-1, 1):
        flap = c.polygon([
            (x + side * (half + 1.5), top - 1.5), (x + side * (half + 4.0), top + 5.5),
            (x + side * 5.0, top + 12.5), (x + side * 0.6, top + 6.5),
        ])  # fmt: skip
        brush.shape(flap, colour, 0.2, 0.8)


def hat(brush: Brush, face: Face) -> Any:
    """A beanie, a cap or a band, for a few."""
    traits = face.traits
    if not traits.has("hat", 0.13):
        return
    kind = traits.pick("hat_hue", [("beanie", 1), ("cap", 1), ("band", 1)])
    colour = c.hsv(7.3 * traits.share("hat_hue"), 0.55, 0.25 + 0.6 * traits.share("clothes_value"))
    w = face.width + 2.4

    def curve(points: list[Point], depth: float) -> list[Point]:
        return [face.at(px, py, depth) for px, py in points]

    if kind == "band":
        band = [(-w, -10), (-0.5 * w, -17), (0.0, -18.5), (0.5 * w, -17), (w, -10)]
        back = [(w, -14.5), (0.5 * w, -22), (0.0, -23.5), (-0.5 * w, -22), (-w, -14.5)]
        brush.shape(c.spline(curve([*band, *back], 4)), colour, 0.25)
        return
    brim = [
        (w + 0.5, -10.5),
        (0.55 * w, -14.5),
        (0.0, -15.5),
        (-0.55 * w, -14.5),
        (-w - 0.5, -10.5),
    ]
    crown = [(-w, -22), (-0.6 * w, -33), (0.0, -36.0), (0.6 * w, -33), (w, -22)]
    brush.shape(c.spline(curve(crown + brim, 3)), colour, 0.4)
    edge = c.spline(curve(brim, 5), closed=False)
    if kind == "beanie":
        brush.canvas.stroke(edge, c.shade(colour, 0.8), 5.0)
        return
    peak = [(-0.95 * w, -12), (-0.6 * w, -8.0), (0.0, -6.8), (0.6 * w, -8.0), (0.95 * w, -12)]
    brush.shape(
        c.spline(curve([*peak, (0.5 * w, -16.0), (-0.5 * w, -16.0)], 12)), c.shade(colour, 0.8), 0.4
    )
