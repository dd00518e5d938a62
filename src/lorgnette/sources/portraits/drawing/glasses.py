"""Glasses: lenses, bridge, temples and what they do to the light; and what looks like glasses."""

from __future__ import annotations

import math
from typing import Any

from lorgnette.sources.portraits.drawing import canvas as c
from lorgnette.sources.portraits.drawing.brushes import Brush
from lorgnette.sources.portraits.drawing.canvas import Colour, Point
from lorgnette.sources.portraits.drawing.face import Face

_WEIGHTS = {
    "thin": 0.55, "thick": 1.6, "rimless": 0.22, "half-rim": 1.0, "round": 0.75, "sunglasses": 1.15,
}  # fmt: skip
"""Width of the rim in units, by the kind of frame."""

_FRAMES: tuple[tuple[Colour, float], ...] = (
    ((20, 18, 20), 0.42), ((74, 44, 26), 0.17), ((156, 128, 74), 0.12), ((142, 146, 152), 0.14),
    ((120, 26, 32), 0.06), ((32, 52, 104), 0.06), ((198, 170, 150), 0.03),
)  # fmt: skip


def glasses(brush: Brush, face: Face) -> None:
    """A pair of glasses for those who wear one; half a pair where it is undecidable."""
    if face.undecidable:
        with brush.canvas.faded(0.38):
            _pair(brush, face, missing=face.traits.pick("missing", _MISSING))
    elif face.glasses:
        with brush.canvas.faded(1.0 - 0.78 * face.faintness * math.sqrt(face.faintness)):
            _pair(brush, face, missing=())


_MISSING: list[tuple[tuple[str, ...], float]] = [
    (("right lens", "right temple"), 1),
    (("left lens", "left temple"), 1),
    (("left temple", "right temple", "bridge"), 1),
    (("right lens", "bridge", "left temple"), 1),
]


def _pair(brush: Brush, face: Face, missing: tuple[str, ...]) -> None:
    traits = face.traits
    kind = face.frame if face.frame != "none" else "thin"  # the undecidable may fall on either side
    weight = _WEIGHTS[kind] * traits.between("frame_weight", 0.8, 1.25)
    colour = traits.pick("frame_colour", _FRAMES)
    if kind in ("thin", "rimless", "round") and sum(colour) < 80 and traits.share("tint_hue") > 0.5:
        colour = (132, 126, 120)  # wire
    lenses = {side: _lens(face, kind, side) for side in (-1, 1)}
    names = {-1: "left", 1: "right"}
    for side, outline in lenses.items():
        if f"{names[side]} temple" not in missing:
            _temple(brush, face, outline, side, colour, weight)
    if "bridge" not in missing:
        _bridge(brush, face, lenses, colour, weight)
    for side, outline in lenses.items():
        if f"{names[side]} lens" not in missing:
            _one_lens(brush, face, outline, kind, colour, weight)


def _lens(face: Face, kind: str, side: int) -> list[Point]:
    """The outline of a lens: a superellipse, flatter above, wider above for some."""
    traits = face.traits
    wide = traits.between("lens_width", 6.6, 8.2)
    tall = traits.between("lens_height", 4.2, 6.0)
    square = traits.between("lens_shape", 2.2, 4.2)
    cat = 0.10 * face.femininity if traits.has("lens_shape", 0.7) else 0.0
    if kind == "round":
        wide = tall = traits.between("lens_width", 5.6, 7.0)
        square, cat = 2.0, 0.0
    elif kind == "sunglasses":
        wide, tall = 1.12 * wide, 1.15 * tall
    if face.comic:
        wide, tall = 1.08 * wide, 1.12 * tall
    middle = max(face.eye_gap, wide + 1.5)
    drop = 0.7 + 0.5 * max(0.0, traits.normal("slip"))
    points = []
    for k in range(24):
        angle = 2 * math.pi * k / 24
        cos, sin = math.cos(angle), math.sin(angle)
        x = wide * math.copysign(abs(cos) ** (2 / square), cos)
        y = tall * math.copysign(abs(sin) ** (2 / square), sin)
        x *= 1 - cat * y / tall
        y -= cat * 6 * max(0.0, x / wide) if y < 0 else 0.0
        points.append(face.at(side * (middle + x), drop + y, 7.5))
    return points


def _one_lens(
    brush: Brush, face: Face, outline: list[Point], kind: str, colour: Colour, weight: float
) -> None:
    traits, canvas = face.traits, brush.canvas
    path = c.spline(outline)
    left, top, _, bottom = c.bounds(path)
    if not brush.comic:  # the frame's shadow on the cheek
        shadow = c.moved(path, -0.9 * face.light, 1.1)
        canvas.stroke(shadow, c.shade(face.skin, 0.3), weight + 0.5, 0.3, 0.6)
    if kind == "sunglasses":
        tint = c.hsv(traits.share("tint_hue"), 0.35 * traits.share("tint_depth"), 0.16)
        deep = traits.between("tint_depth", 0.8, 0.98)
        fade = c.linear((left, top), (left, bottom), tint, c.shade(tint, 1.9))
        canvas.fill(path, fade, deep)
    else:
        canvas.fill(path, (235, 244, 250), 0.07 if not brush.comic else 0.22)
    _glare(brush, face, path)
    if kind == "half-rim":
        upper = [point for point in outline if point[1] < top + 0.56 * (bottom - top)]
        upper.sort()
        brush.canvas.stroke(c.spline(upper, closed=False), colour, weight)
        brush.canvas.stroke(path, (190, 196, 200), 0.2, 0.5)
    elif kind == "rimless":
        brush.canvas.stroke(path, c.shade(face.skin, 0.45), 0.35, 0.55)
        brush.canvas.stroke(c.moved(path, 0.25, 0.25), (250, 252, 255), 0.25, 0.5)
    else:
        brush.canvas.stroke(path, colour, weight)
        if not brush.comic and weight > 0.5:  # a sheen along the upper rim
            sheen = c.moved(path, 0.14 * weight * face.light, -0.16 * weight)
            brush.canvas.stroke(sheen, c.shade(colour, 2.2), 0.26 * weight, 0.5)


def _glare(brush: Brush, face: Face, lens: Any) -> None:
    """A slanting reflection, on most lenses faint."""
    amount = max(0.0, face.traits.share("glare") - 0.25)
    if face.frame == "sunglasses":
        amount = 0.25 + 0.6 * amount
    if amount <= 0.02:
        return
    left, top, right, bottom = c.bounds(lens)
    w = right - left
    x = left + w * (0.5 + 0.28 * face.light)
    band = [(x - 0.1 * w, top), (x + 0.22 * w, top), (x - 0.08 * w, bottom), (x - 0.4 * w, bottom)]
    with brush.canvas.inside(lens):
        fade = c.linear((x, top), (x, bottom), (255, 255, 255), (255, 255, 255), alphas=(1.0, 0.1))
        brush.canvas.fill(c.polygon(band), fade, 0.62 * amount)


def _bridge(
    brush: Brush, face: Face, lenses: dict[int, list[Point]], colour: Colour, weight: float
) -> None:
    inner = {side: min(points, key=lambda p: side * p[0]) for side, points in lenses.items()}
    (lx, ly), (rx, ry) = inner[-1], inner[1]
    top = face.at(0, -1.0, 9)
    arc = c.spline([(lx, ly - 1.2), (top[0], top[1]), (rx, ry - 1.2)], closed=False)
    brush.canvas.stroke(arc, colour, max(0.45, 0.85 * weight))


def _temple(
    brush: Brush, face: Face, outline: list[Point], side: int, colour: Colour, weight: float
) -> None:
    """The arm from a lens to the ear."""
    outer = max(outline, key=lambda point: side * point[0])
    hinge = (outer[0], outer[1] - 1.6)
    ear = face.at(side * (face.width + 0.2), -0.6 + 0.5 * face.traits.normal("temples", 1.5), -2)
    arm = c.spline([hinge, ((hinge[0] + ear[0]) / 2, (hinge[1] + ear[1]) / 2 - 0.3), ear], False)
    if not brush.comic:
        below = c.moved(arm, 0.0, 0.9)
        brush.canvas.stroke(below, c.shade(face.skin, 0.35), 0.8 * weight, 0.25, 0.4)
    brush.canvas.stroke(arm, colour, max(0.5, 0.9 * weight))


def marks(brush: Brush, face: Face) -> None:
    """What a hasty look takes for glasses: rings and dents of faces that wear none."""
    if face.glasses or face.undecidable or face.faintness < 0.4:
        return
    strength = (face.faintness - 0.4) / 0.6
    dark = c.mix(c.shade(face.skin, 0.42), (60, 30, 50), 0.3)
    for side in (-1, 1):
        x, y = face.at(side * face.eye_gap, 1.2, 6)
        brush.canvas.stroke(c.oval(x, y, 6.6, 5.0), dark, 0.8, 0.38 * strength, 0.7)
        x, y = face.at(side * 2.3, 2.2, 9)
        brush.canvas.fill(c.oval(x, y, 0.6, 1.2), dark, 0.5 * strength, 0.35)
