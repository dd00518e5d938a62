"""The measures and colours of one face, from its traits; the same for a photo and a comic.

Coordinates are those of the head: the origin lies between the eyes, y points down, and a head is
about 44 units wide and 62 high. `Face.at` turns the head by its yaw and pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

from lorgnette.sources.portraits.drawing.canvas import Colour, Point, hsv, mix, shade
from lorgnette.sources.portraits.traits import Traits
from lorgnette.sources.portraits.wearing import Wearing

SKINS: tuple[Colour, ...] = (
    (247, 219, 199), (238, 202, 175), (226, 182, 146), (204, 153, 112), (165, 112, 77),
    (113, 73, 50), (78, 50, 37),
)  # fmt: skip
"""From light to dark."""

HAIRS: tuple[tuple[Colour, float], ...] = (
    ((28, 23, 22), 0.30), ((58, 38, 26), 0.25), ((101, 67, 40), 0.17), ((160, 118, 68), 0.10),
    ((209, 175, 115), 0.09), ((140, 62, 30), 0.06), ((86, 40, 96), 0.015), ((58, 92, 128), 0.015),
)  # fmt: skip
"""Natural colours and a few dyed ones, with their shares."""

IRISES: tuple[tuple[Colour, float], ...] = (
    ((72, 45, 26), 0.5), ((118, 84, 46), 0.2), ((84, 110, 76), 0.12), ((88, 124, 156), 0.18),
)  # fmt: skip


@dataclass(frozen=True)
class Face:
    """One face; lengths in units, colours from 0 to 255."""

    traits: Traits
    comic: bool
    glasses: bool
    undecidable: bool
    faintness: float
    frame: str

    yaw: float
    pitch: float
    light: float
    """Where the light comes from, -1 left to 1 right."""
    light_height: float
    age: float
    """0 young to 1 old."""
    femininity: float
    skin: Colour
    hair: Colour
    brow: Colour
    iris: Colour
    width: float
    """Half the head's width at the eyes."""
    jaw: float
    chin: float
    eye_gap: float
    """From the middle to the centre of an eye."""
    eye_width: float
    """Half an eye's width."""
    eye_height: float
    nose: float
    mouth: float
    """Height of the nose's end and of the mouth below the eyes."""

    def at(self, x: float, y: float, depth: float = 0.0) -> Point:
        """Where a point of the face shows: turned by yaw and pitch.

        Args:
            x: from the middle of the face to the right.
            y: from the eyes down.
            depth: how far it stands out before the line of the ears: 0 the outline, 10 the nose.
        """
        turned = x * (1 - 0.09 * abs(self.yaw)) + self.yaw * (0.28 * depth + 0.8)
        squeeze = 1 - 0.006 * self.yaw * x  # the far half is narrower
        return turned * squeeze, y + self.pitch * (0.17 * depth + 0.3)

    def mirrored(self, points: list[Point], depth: float = 0.0) -> list[Point]:
        """A closed outline from its right half, which is listed from top to bottom."""
        right = [self.at(x, y, depth) for x, y in points]
        left = [self.at(-x, y, depth) for x, y in reversed(points) if x > 0]
        return right + left

    @property
    def outline(self) -> list[Point]:
        """The outline of the head without hair, clockwise from the top."""
        w, cheek = self.width, self.traits.between("cheek", 0.9, 1.0)
        upper = [(0.0, -27.0), (0.6 * w, -24.5), (0.93 * w, -14.0), (w, -2.0), (cheek * w, 10.0)]
        lower = [(self.jaw, 21.5), (0.55 * self.jaw, self.chin - 2.6), (0.0, self.chin)]
        right = [self.at(x, y) for x, y in upper] + [self.at(x, y, 4) for x, y in lower]
        left = [self.at(-x, y, 4) for x, y in reversed(lower[:-1])]
        return right + left + [self.at(-x, y) for x, y in reversed(upper[1:])]


def describe(traits: Traits, wearing: Wearing, comic: bool) -> Face:
    """The face of one vector; `wearing` is that of the vector alone (arrays of length 1)."""
    bold = 0.5 + 0.5 * traits.share("exaggeration") if comic else 0.0
    femininity = traits.share("femininity")
    age = traits.share("age") ** 1.3
    at = traits.share("skin") ** 1.4 * (len(SKINS) - 1)
    tone = mix(SKINS[int(at)], SKINS[min(int(at) + 1, len(SKINS) - 1)], at % 1)
    undertone = traits.normal("undertone", 2.0)
    skin = (tone[0] + 3 * undertone, tone[1], tone[2] - 4 * undertone)
    hair = traits.pick("hair_colour", HAIRS)
    grey = max(0.0, age - 0.55) * 2.2 * traits.share("hair_grey")
    hair = mix(hair, (186, 184, 182), min(grey, 0.95))
    child = max(0.0, 0.12 - traits.share("age")) * 8
    return Face(
        traits=traits,
        comic=comic,
        glasses=bool(wearing.glasses[0]),
        undecidable=bool(wearing.undecidable[0]),
        faintness=float(wearing.faintness[0]),
        frame=str(wearing.frame[0]),
        yaw=traits.normal("yaw", 2.0) * 0.8,
        pitch=traits.normal("pitch", 2.0) * 0.6,
        light=traits.between("light", -1.0, 1.0),
        light_height=traits.between("light_height", -0.9, 0.1),
        age=age,
        femininity=femininity,
        skin=skin,
        hair=hair,
        brow=mix(shade(hair, 0.75), skin, 0.12),
        iris=traits.pick("iris", IRISES),
        width=traits.between("width", 20.3, 23.7) + 0.8 * child,
        jaw=traits.between("jaw", 14.5, 18.5) - 2.0 * femininity + 1.0 - 2.2 * bold,
        chin=traits.between("chin", 30.5, 34.5) - 1.6 * femininity - 3.5 * child + 1.2 * bold,
        eye_gap=traits.between("eye_gap", 9.4, 11.2),
        eye_width=traits.between("eye_size", 4.1, 5.1) * (1 + 0.12 * child + 0.25 * bold),
        eye_height=traits.between("eye_open", 1.5, 2.7) * (1 + 0.2 * child + 0.65 * bold),
        nose=traits.between("nose_length", 11.2, 14.4) - 1.8 * child,
        mouth=traits.between("nose_length", 19.6, 22.2) - 1.8 * child,
    )


def bright(traits: Traits, name: str, saturation: tuple[float, float] = (0.15, 0.85)) -> Colour:
    """The colour of cloth or of a wall, by the traits NAME_hue, NAME_saturation, NAME_value."""
    return hsv(
        traits.share(f"{name}_hue"),
        traits.between(f"{name}_saturation", *saturation),
        traits.between(f"{name}_value", 0.15, 0.95),
    )
