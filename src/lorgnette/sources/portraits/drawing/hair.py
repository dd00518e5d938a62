"""Hair: what lies behind the head, what covers it, and what falls before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lorgnette.sources.portraits.drawing import canvas as c
from lorgnette.sources.portraits.drawing.brushes import Brush, fringe
from lorgnette.sources.portraits.drawing.canvas import Point
from lorgnette.sources.portraits.drawing.face import Face

_SHORT = [("bald", 10), ("receding", 10), ("buzz", 15), ("short", 25), ("side", 22), ("curly", 10),
          ("fringe", 6), ("long", 2)]  # fmt: skip
_LONG = [("long", 26), ("wavy", 22), ("bob", 16), ("fringed bob", 12), ("bun", 10), ("curly", 8),
         ("side", 6)]  # fmt: skip

_HAIRLINES = {
    "fringe": "fringe", "fringed bob": "fringe", "side": "side", "receding": "receding",
    "long": "parted", "wavy": "parted", "bob": "parted",
}  # fmt: skip
"""Styles and their hairlines, where they are not plain."""

_FALLING = ("long", "wavy", "bob", "fringed bob")
"""Styles that hang beside the face."""


def style(face: Face) -> str:
    """How the hair is worn."""
    return face.traits.pick("hair", _LONG if face.femininity > 0.5 else _SHORT)


def behind(brush: Brush, face: Face) -> None:
    """Long hair behind neck and head."""
    worn = style(face)
    volume = face.traits.between("hair_volume", 1.5, 5.0)
    w = face.width + volume
    if worn in _FALLING:
        length = face.traits.between("hair_length", 36, 58)
        if "bob" in worn:
            length = face.traits.between("hair_length", 25, 33)
        wave = 1.6 if worn == "wavy" else 0.3
        right = [(0.0, -30.0 - 0.5 * volume), (0.75 * w, -24), (w + 0.5, -6), (w + 1.0, 10)]
        right += [
            (w + 0.5 + wave * math.cos(0.35 * y), float(y)) for y in range(16, int(length), 6)
        ]
        right += [(0.8 * w, length + 2), (0.0, length + 3)]
        path = c.spline(face.mirrored(right, -4))
        brush.shape(path, c.shade(face.hair, 0.8), 0.3, 1.1)
        with brush.canvas.inside(path):
            roots = [face.at(x, -18, -4) for x in (-1.1 * w, -0.5 * w, 0, 0.5 * w, 1.1 * w)]
            strands = fringe(roots, 70, length + 16, 2.4 * wave, face.traits.seed)
            brush.hairs(strands, c.shade(face.hair, 1.35), 0.3, 0.3)
    elif worn == "bun":
        x, y = face.at(0, -31 - volume, -6)
        brush.shape(c.oval(x, y, 8.0, 6.6), c.shade(face.hair, 0.9), 0.4, 1.0)


def over(brush: Brush, face: Face, outline: Any) -> None:
    """The hair on the head, down to the hairline."""
    worn = style(face)
    if worn == "bald":
        return
    if worn == "buzz":
        with brush.canvas.inside(outline):
            brush.canvas.fill(_cap(face, 0.0, "buzz"), face.hair, 0.62, 0.9)
        return
    volume = face.traits.between("hair_volume", 0.8, 4.2)
    path = _curls(face, volume) if worn == "curly" else _cap(face, volume, worn)
    if not brush.comic:  # its shadow on the brow
        with brush.canvas.inside(outline):
            brush.soft(c.moved(path, -0.8 * face.light, 1.6), c.shade(face.skin, 0.35), 0.38, 1.3)
    brush.shape(path, face.hair, 0.42, 1.0)
    with brush.canvas.inside(path):
        _strands(brush, face, worn)


def beside(brush: Brush, face: Face) -> None:
    """Locks before the ears, over the temples of glasses."""
    if style(face) not in _FALLING:
        return
    length = face.traits.between("hair_length", 14, 36)
    volume = face.traits.between("hair_volume", 1.0, 3.6)
    for side in (-1, 1):
        w = face.width

        def at(x: float, y: float, side: int = side) -> Point:
            return face.at(side * x, y, 0)

        lock = [at(0.5 * w, -25), at(0.84 * w, -13), at(0.92 * w, 0), at(0.9 * w, 0.5 * length)]
        lock += [at(0.99 * w, length), at(w + volume, 0.8 * length), at(w + volume, 0)]
        lock += [at(w + 0.5 * volume, -12)]
        path = c.spline(lock)
        brush.shape(path, face.hair, 0.12, 0.8)
        with brush.canvas.inside(path):
            roots = [at(0.7 * w, -20), at(w + volume, -16)]
            strands = fringe(roots, 18, length + 18, 1.0 * side, face.traits.seed + side)
            brush.hairs(strands, c.shade(face.hair, 1.4), 0.28, 0.35)


def _cap(face: Face, volume: float, worn: str) -> Any:
    """The hair of the head: its outline above, the hairline below."""
    w, part = face.width, 0.35 * face.traits.normal("hair_part", 2.0)
    sides = 6.0 if worn in ("short", "side", "buzz", "receding", "fringe") else -4.0
    high = -17.5 + 1.2 * face.traits.normal("hair_length", 2.0)
    outer = [
        (-w - 0.3 - 0.3 * volume, sides), (-w - 0.6 * volume, -8.0),
        (-0.72 * w - 0.4 * volume, -23.0 - 0.7 * volume), (-2.0 + 3 * part, -28.5 - volume),
        (0.72 * w + 0.4 * volume, -23.0 - 0.7 * volume), (w + 0.6 * volume, -8.0),
        (w + 0.3 + 0.3 * volume, sides),
    ]  # fmt: skip
    lines = {
        "fringe": [(0.9, -4.0), (0.66, -8.5), (0.2, -9.0), (-0.3, -8.6), (-0.68, -8.5)],
        "side": [
            (0.92, -6.0),
            (0.75, high + 4),
            (0.45, high - 1),
            (-0.2, high + 3.5),
            (-0.72, high + 7),
        ],
        "receding": [
            (0.94, -9.0),
            (0.85, -19.0),
            (0.45, -26.0),
            (0.0, high - 4),
            (-0.45, -26.0),
            (-0.85, -19.0),
        ],
        "parted": [(0.93, -6.0), (0.7, high + 4), (4 * part / w, -26.0), (-0.7, high + 4)],
        "plain": [(0.93, -6.0), (0.78, high + 3), (0.3, high), (-0.3, high), (-0.78, high + 3)],
    }  # hairlines from right to left, x in half widths of the head
    line = [(x * w, y) for x, y in lines[_HAIRLINES.get(worn, "plain")]]
    line.append((-0.93 * w, -6.0 if sides > 0 else -4.0))
    flip = -1 if part < 0 else 1
    points = [face.at(x, y, 1) for x, y in outer]
    points += [face.at(flip * x, y, 4) for x, y in (line if flip > 0 else line[::-1])]
    return c.spline(points)


def _curls(face: Face, volume: float) -> Any:
    """A cloud of curls around the upper head."""
    rng = np.random.default_rng(face.traits.seed)
    parts = []
    w = face.width
    for k in range(26):
        angle = math.pi * (1.06 - 1.12 * k / 25)
        a, b, d = (rng.integers(-100, 101, 3) / 100.0).tolist()
        x = (w + 0.9 * volume) * math.cos(angle) + 0.5 * a
        y = -6 - (21 + 1.5 * volume) * math.sin(angle) + 0.6 * b
        parts.append(c.oval(*face.at(x, y, 0), 4.2 + 0.5 * volume + 0.6 * d, 4.2 + 0.5 * volume))
    for k in range(11):
        x = (k - 5) / 5 * 0.8 * w
        y = -22 + 0.012 * x * x
        parts.append(c.oval(*face.at(x, y, 3), 4.6, 4.2))
    return c.joined(*parts)


def _strands(brush: Brush, face: Face, worn: str) -> None:
    """Light and dark strands, and a band of sheen."""
    w = face.width
    light, dark = c.shade(face.hair, 1.55), c.shade(face.hair, 0.55)
    seed = face.traits.seed
    crown = [face.at(x, -30, 0) for x in (-1.15 * w, -0.5 * w, 0.0, 0.5 * w, 1.15 * w)]
    sway = 5.0 if worn == "side" else 1.0
    if worn == "curly":
        crown = [
            face.at(x, y, 0)
            for x, y in ((-1.2 * w, -4), (-0.8 * w, -26), (0.8 * w, -26), (1.2 * w, -4))
        ]
        brush.hairs(fringe(crown, 60, 5.0, 3.0, seed), light, 0.3, 0.35)
        brush.hairs(fringe(crown, 60, 7.0, -3.0, seed + 1), dark, 0.4, 0.45)
        return
    brush.hairs(fringe(crown, 55, 26.0, sway, seed), light, 0.26, 0.35)
    brush.hairs(fringe(crown, 55, 28.0, sway, seed + 1), dark, 0.3, 0.4)
    shine = face.traits.between("hair_shine", 0.0, 0.4)
    x, y = face.at(10 * face.light, -25, 2)
    brush.soft(c.oval(x, y, 0.5 * w, 2.4), c.shade(face.hair, 2.2), shine, 1.6)
