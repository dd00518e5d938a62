"""What a face is made of: the head with its skin, ears, eyes, brows, nose, mouth and beard."""

from __future__ import annotations

from typing import Any

import numpy as np

from lorgnette.sources.portraits.drawing import canvas as c
from lorgnette.sources.portraits.drawing.brushes import Brush, fringe
from lorgnette.sources.portraits.drawing.canvas import Colour, Point
from lorgnette.sources.portraits.drawing.face import Face

_SIDES = (-1, 1)


def ears(brush: Brush, face: Face) -> None:
    """Both ears, and rings in them for some."""
    size = face.traits.between("ears", 0.85, 1.2)
    for side in _SIDES:
        x, y = face.at(side * (face.width - 0.2), 3.5, -3)
        brush.shape(c.oval(x, y, 2.9 * size, 5.6 * size), c.shade(face.skin, 0.92), 0.35, 0.9)
        inner = c.oval(x + 0.3 * side, y - 0.3, 1.2 * size, 3.4 * size)
        brush.soft(inner, c.shade(face.skin, 0.55), 0.5, 0.7)
        if face.traits.has("earrings", 0.12 + 0.25 * face.femininity):
            gold = face.traits.pick("earrings", [((212, 175, 86), 3), ((208, 210, 216), 1)])
            brush.shape(c.oval(x, y + 6.4 * size, 0.8, 0.8 + 1.2 * face.femininity), gold, 0.6, 0.5)


def head(brush: Brush, face: Face) -> Any:
    """The head without its features; returns its outline."""
    outline = c.spline(face.outline)
    brush.shape(outline, face.skin, 0.3)
    with brush.canvas.inside(outline):
        if not brush.comic:  # roundness: it turns away from the light all around
            dark = c.shade(face.skin, 0.45)
            brush.canvas.stroke(outline, dark, 5.0, 0.3, 2.2)
            far = c.moved(outline, 7.0 * face.light, 2.0)
            brush.canvas.stroke(far, dark, 7.0, 0.22, 3.0)
        _glow(brush, face)
        _spots(brush, face)
    return outline


def _glow(brush: Brush, face: Face) -> None:
    """Light on the brow, colour in the cheeks, hollows of the eyes."""
    traits = face.traits
    x, y = face.at(5.0 * face.light, -16, 6)
    brush.soft(c.oval(x, y, 8, 4.5), c.shade(face.skin, 1.35), 0.28, 3.2)
    blush = c.mix(face.skin, (205, 70, 70), 0.5)
    amount = traits.between("blush", 0.0, 0.34) + 0.06 * face.femininity
    hollow = c.mix(c.shade(face.skin, 0.5), (70, 30, 40), 0.35)
    for side in _SIDES:
        x, y = face.at(side * 12.5, 12, 5)
        brush.soft(c.oval(x, y, 5.2, 3.6), blush, amount, 2.2)
        x, y = face.at(side * face.eye_gap, -0.5, 5)
        brush.soft(c.oval(x, y, 6.2, 4.0), hollow, 0.12 + 0.12 * traits.share("shadows"), 1.7)


def _spots(brush: Brush, face: Face) -> None:
    """Freckles and a mole, and in a photo the unevenness of skin."""
    traits = face.traits
    rng = np.random.default_rng(traits.seed)
    if traits.has("freckles", 0.15):
        places = rng.integers(-100, 101, (46, 2)) / 100.0
        dots = [c.oval(*face.at(13 * x, 8 + 5 * y, 6), 0.28, 0.25) for x, y in places.tolist()]
        brush.canvas.fill(c.joined(*dots), c.mix(face.skin, (120, 60, 30), 0.6), 0.5)
    if traits.has("mole", 0.12):
        x, y = (rng.integers(-100, 101, 2) / 100.0).tolist()
        brush.canvas.fill(c.oval(*face.at(13 * x, 15 + 7 * y, 5), 0.5, 0.48), (60, 36, 26), 0.85)


def wrinkles(brush: Brush, face: Face) -> None:
    """Folds that come with age and with smiling."""
    fold = c.shade(face.skin, 0.5)
    smile = face.traits.share("smile")
    strength = 0.42 * max(0.0, face.age - 0.35) + 0.12 * smile
    for side in _SIDES:
        nose_to_mouth = [
            face.at(side * 4.6, face.nose - 1.2, 8),
            face.at(side * 7.4, face.nose + 3.6, 6),
            face.at(side * 8.8, face.mouth + 1.0, 5),
        ]
        brush.line(c.spline(nose_to_mouth, closed=False), fold, 0.55, strength)
        if face.age > 0.6:
            x, y = face.at(side * (face.eye_gap + face.eye_width + 1.6), 0.5, 2)
            for rise in (-1.4, 0.2, 1.7):
                crow = c.spline([(x, y), (x + 1.7 * side, y + rise)], closed=False)
                brush.line(crow, fold, 0.3, 0.9 * (face.age - 0.5))
    if face.age > 0.5:
        for height in (-19.0, -16.2, -13.4):
            across = [
                face.at(x, height + 0.5 * (x / 9) ** 2, 6) for x in (-10.0, -5.0, 0.0, 5.0, 10.0)
            ]
            brush.line(c.spline(across, closed=False), fold, 0.4, 0.75 * (face.age - 0.5))


def eyes(brush: Brush, face: Face) -> None:
    """Both eyes with lids, lashes and, in the tired and the old, bags."""
    for side in _SIDES:
        _eye(brush, face, side)


def _eye(brush: Brush, face: Face, side: int) -> None:
    traits = face.traits
    w, h = face.eye_width, face.eye_height
    tilt = 0.35 * traits.normal("eye_tilt")

    def at(x: float, y: float) -> Point:
        return face.at(side * (face.eye_gap + x * w), y - tilt * x, 5)

    upper = [at(-1, 0.35), at(-0.45, -0.8 * h), at(0.2, -h), at(0.75, -0.55 * h), at(1, 0)]
    lower = [at(0.55, 0.62 * h), at(0, 0.78 * h), at(-0.55, 0.6 * h)]
    almond = c.spline(upper + lower)
    brush.canvas.fill(almond, c.mix((238, 234, 230), face.skin, 0.1))
    with brush.canvas.inside(almond):
        radius = 0.5 * w
        gaze = 0.5 * traits.normal("gaze", 1.6)
        x, y = face.at(side * face.eye_gap + gaze, 0.2 * traits.normal("gaze_height", 1.5), 5)
        y -= 0.12 * h
        brush.shape(c.oval(x, y, radius, radius), face.iris, 0.5, 0.5)
        brush.canvas.fill(c.oval(x, y, 0.46 * radius, 0.46 * radius), (10, 8, 8))
        glint = c.oval(
            x + 0.4 * radius * face.light, y - 0.4 * radius, 0.24 * radius, 0.24 * radius
        )
        brush.canvas.fill(glint, (255, 255, 255), 0.95)
        brush.soft(c.spline([*upper, at(0.9, 0.1), at(0, -0.35 * h)]), (30, 20, 24), 0.28, 0.5)
    lashes = 0.45 + 0.5 * face.femininity * traits.share("lashes")
    brush.line(c.spline(upper, closed=False), c.mix((26, 18, 18), face.hair, 0.25), lashes, 0.9)
    if face.femininity > 0.55:
        wing = c.spline([at(0.7, -0.6 * h), at(1.22, -0.55 * h)], closed=False)
        brush.line(wing, (24, 18, 18), 0.8 * lashes, 0.8)
    fold = c.shade(face.skin, 0.5)
    under = c.spline([at(1, 0), *lower, at(-1, 0.35)], closed=False)
    brush.line(under, fold, 0.3, 0.4)
    crease = traits.between("lid", 1.0, 2.1)
    lid = c.spline([at(-0.8, -h), at(0, -h - crease), at(0.95, -0.4 * h - 0.6)], closed=False)
    brush.line(lid, fold, 0.38, 0.55)
    if face.age > 0.45:
        bag = [at(-0.8, h + 0.9), at(0, 1.3 * h + 1.6), at(0.85, 0.8 * h + 0.7)]
        brush.line(c.spline(bag, closed=False), fold, 0.5, 0.5 * face.age - 0.1)


def brows(brush: Brush, face: Face) -> None:
    """Both brows: a tapering shape, with hairs in a photo."""
    traits = face.traits
    weight = traits.between("brow_weight", 0.45, 1.15) * (1.15 - 0.4 * face.femininity)
    height = -5.6 - 0.55 * traits.normal("brow_height", 2.0) - 0.4 * face.eye_height
    tilt = 0.35 * traits.normal("brow_tilt", 2.0)
    arch = traits.between("brow_arch", 0.3, 1.9)
    for side in _SIDES:

        def at(x: float, y: float, side: int = side) -> Point:
            return face.at(side * (face.eye_gap + x), height + y - tilt * x / 6, 6)

        top = [at(-5.6, 0.2), at(-2, -arch - weight), at(2.5, -arch - 0.9 * weight), at(6.2, 0.6)]
        bottom = [
            at(2.5, -arch + 0.35 * weight),
            at(-2, -arch + 0.8 * weight),
            at(-5.5, 1.6 * weight),
        ]
        path = c.spline(top + bottom)
        brush.canvas.fill(path, face.brow, 0.82, 0.0 if brush.comic else 0.22)
        if not brush.comic:
            with brush.canvas.inside(path):
                roots = [at(-5.6, -0.8), at(-1, -arch - weight), at(6, -0.8)]
                hairs = fringe(roots, 26, 2.2, 0.8 * side, 7)
                brush.hairs(hairs, c.shade(face.brow, 0.6), 0.2, 0.55)


def nose(brush: Brush, face: Face) -> None:
    """The nose: the shadow of its far side, its tip, its wings."""
    traits = face.traits
    w = traits.between("nose_width", 2.5, 4.2)
    dark = c.shade(face.skin, 0.48)
    away = -1 if face.light > 0 else 1
    bridge = traits.between("nose_bridge", 0.9, 1.7)
    side = [
        face.at(away * bridge, -1.5, 6),
        face.at(away * (bridge + 0.3), face.nose * 0.55, 9),
        face.at(away * (0.85 * w), face.nose - 1.2, 9),
        face.at(0, face.nose + 0.5, 10),
        face.at(away * 0.5, face.nose * 0.5, 10),
    ]
    brush.soft(c.spline(side), dark, 0.3 if not brush.comic else 0.2, 0.8)
    base = [
        face.at(-w, face.nose - 1.0, 8),
        face.at(-0.72 * w, face.nose + 0.4, 9),
        face.at(0, face.nose + 0.9, 10),
        face.at(0.72 * w, face.nose + 0.4, 9),
        face.at(w, face.nose - 1.0, 8),
    ]
    brush.soft(c.spline([*base, face.at(0, face.nose + 2.2, 9)]), dark, 0.25, 0.8)
    for hole in _SIDES:
        x, y = face.at(hole * 0.45 * w, face.nose + 0.15, 9)
        brush.canvas.fill(c.oval(x, y, 0.24 * w, 0.5), c.shade(face.skin, 0.25), 0.75, 0.2)
    brush.line(c.spline(base, closed=False), dark, 0.4, 0.45)
    if brush.comic:
        ridge = [face.at(away * bridge, 1.0, 7), face.at(away * 1.8, face.nose * 0.7, 10), base[2]]
        brush.line(c.spline(ridge, closed=False), dark, 0.4, 0.5)
    x, y = face.at(0.8 * face.light, face.nose - 2.2, 10)
    brush.soft(c.oval(x, y, 1.1, 1.5), c.shade(face.skin, 1.5), 0.35, 0.7)


def mouth(brush: Brush, face: Face) -> None:
    """Lips around a line that smiles or does not, and teeth where it opens."""
    traits = face.traits
    w = traits.between("mouth_width", 6.2, 8.6) + 1.3 * traits.share("smile")
    curve = traits.between("smile", -0.9, 2.4)
    full = traits.between("lips", 0.9, 2.1) * (0.85 + 0.3 * face.femininity)
    opened = max(0.0, traits.share("mouth_open") - 0.5) * 5.0 * traits.share("smile")
    y = face.mouth
    red = c.mix(face.skin, (168, 60, 66), traits.between("lip_colour", 0.25, 0.5))
    red = c.mix(red, (186, 24, 48), 0.65 if face.femininity > 0.7 and opened < 1.5 else 0.0)

    def at(x: float, dy: float) -> Point:
        return face.at(x * w, y + dy - curve * (x * x - 0.35), 7)

    corner, end = at(-1, 0), at(1, 0)
    upper = [corner, at(-0.45, -0.8 * full), at(-0.12, -full), at(0, -0.8 * full)]
    upper += [at(0.12, -full), at(0.45, -0.8 * full), end]
    line = [at(0.5, 0.1), at(0, 0.25), at(-0.5, 0.1)]
    below = [at(0.5, 0.1 + opened), at(0, 0.25 + 1.25 * opened), at(-0.5, 0.1 + opened)]
    chin = [at(0.5, full + opened), at(0, 1.25 * full + 1.25 * opened), at(-0.5, full + opened)]
    if opened > 0.3:
        inside = c.spline([corner, at(-0.5, 0.1), at(0, 0.2), at(0.5, 0.1), end, *below])
        brush.canvas.fill(inside, (66, 22, 26))
        with brush.canvas.inside(inside):
            teeth = [corner, at(0, -1), end, at(0.5, 0.62 * opened), at(0, 0.8 * opened)]
            brush.canvas.fill(c.spline([*teeth, at(-0.5, 0.62 * opened)]), (240, 235, 226))
    brush.shape(c.spline([corner, *below[::-1], end, *chin]), red, 0.3, 0.0)
    brush.shape(c.spline([*upper, *line]), c.shade(red, 0.86), 0.2, 0.0)
    brush.line(c.spline([corner, *line[::-1], end], closed=False), c.shade(red, 0.38), 0.42, 0.75)
    x, dark = face.at(0, y + 2.9 * full + opened, 6), c.shade(face.skin, 0.5)
    brush.soft(c.oval(*x, 3.6, 0.8), dark, 0.26, 0.8)


def beard(brush: Brush, face: Face, outline: Any) -> None:
    """A beard for some: stubble, a moustache, a goatee or all of it."""
    traits = face.traits
    if face.femininity > 0.5 or not traits.has("beard", 0.5):
        return
    kind = traits.pick("beard_length", [("stubble", 4), ("full", 3), ("goatee", 2), ("mo", 2)])
    colour = c.mix(face.hair, (90, 60, 40), 0.15)
    m, density = face.mouth, 0.95 if face.comic else traits.between("beard_density", 0.6, 0.95)
    lip = [
        face.at(x, m + y, 7) for x, y in ((-7.5, 1.2), (-5, -2.6), (0, -3.6), (5, -2.6), (7.5, 1.2))
    ]
    lip += [face.at(x, m - 1.1 + 0.02 * x * x, 7) for x in (5.0, 0.0, -5.0)]
    moustache = c.spline(lip)
    chin = [
        face.at(x, m + y, 6) for x, y in ((-6.5, 1.5), (-6.5, 9), (0, face.chin - m + 1), (6.5, 9))
    ]
    chin += [face.at(6.5, m + 1.5, 6), face.at(4, m + 4.2, 7), face.at(-4, m + 4.2, 7)]
    jaw = [face.at(x * face.width, y) for x, y in ((-1.1, 4), (-1.1, 40), (1.1, 40), (1.1, 4))]
    jaw += [face.at(0.86 * face.width, 9), face.at(0.5 * face.width, m - 4, 5)]
    jaw += [face.at(7, m - 1.5, 7), face.at(6.6, m + 3.6, 7), face.at(0, m + 4.8, 7)]
    jaw += [
        face.at(-6.6, m + 3.6, 7),
        face.at(-7, m - 1.5, 7),
        face.at(-0.5 * face.width, m - 4, 5),
    ]
    jaw += [face.at(-0.86 * face.width, 9)]
    shapes = {"mo": [moustache], "goatee": [moustache, c.spline(chin)]}
    parts = shapes.get(kind, [moustache, c.polygon(jaw)])
    with brush.canvas.inside(outline):
        for path in parts:
            if kind == "stubble":
                brush.canvas.fill(path, colour, 0.28, 1.0)
                continue
            brush.canvas.fill(path, colour, density, 0.0 if brush.comic else 0.5)
            if not brush.comic:
                with brush.canvas.inside(path):
                    _bristles(brush, face, colour)


def _bristles(brush: Brush, face: Face, colour: Colour) -> None:
    rows: list[Point] = [face.at(x, 12, 4) for x in (-18.0, -9.0, 0.0, 9.0, 18.0)]
    for k in range(4):
        strands = fringe([(x, y + 4.2 * k) for x, y in rows], 60, 4.4, 0.3, 11 + k)
        brush.hairs(strands, c.shade(colour, 0.62 if k % 2 else 1.35), 0.24, 0.4)
