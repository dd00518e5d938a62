"""What a latent vector says of a portrait: one number for each trait."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lorgnette.sources.portraits.latent import DECIMALS, project
from lorgnette.sources.portraits.wearing import FREE_DIRECTION, share

T = TypeVar("T")

# fmt: off
NAMES = (
    # the picture
    "scale", "left", "up", "roll", "yaw", "pitch", "softness", "grain", "tint", "vignette",
    # the light
    "light", "light_height", "light_strength", "exposure",
    # the background
    "scene", "scene_hue", "scene_value", "scene_saturation", "scene_detail",
    # the head
    "width", "height", "jaw", "chin", "cheek", "ears", "neck", "age", "femininity",
    "skin", "undertone", "blush", "freckles", "texture", "mole",
    # the hair
    "hair", "hair_colour", "hair_grey", "hair_volume", "hair_length", "hair_part", "hair_shine",
    # the eyes
    "eye_size", "eye_gap", "eye_height", "eye_tilt", "eye_open", "iris", "gaze", "gaze_height",
    "lid", "lashes", "shadows", "brow_weight", "brow_height", "brow_tilt", "brow_arch",
    # the rest of the face
    "nose_length", "nose_width", "nose_bridge", "mouth_width", "lips", "lip_colour", "smile",
    "mouth_open", "beard", "beard_length", "beard_density",
    # what is worn
    "clothes", "clothes_hue", "clothes_value", "clothes_saturation", "pattern", "hat", "hat_hue",
    "earrings", "collar",
    # the glasses
    "lens_width", "lens_height", "lens_shape", "frame_colour", "frame_weight", "tint_depth",
    "tint_hue", "glare", "slip", "missing", "temples",
    # the comic
    "ink", "halftone", "exaggeration",
)
# fmt: on
"""Every trait, one direction each; new ones go to the end, or all portraits change."""

_PLACES = {name: place for place, name in enumerate(NAMES)}


class Traits:
    """The traits of one vector: independent of each other, and standard normal in a population."""

    def __init__(self, vector: npt.NDArray[np.floating]) -> None:
        """Read a vector of shape (512,)."""
        stop = FREE_DIRECTION + len(NAMES)
        self._values = project(vector[None, :], FREE_DIRECTION, stop)[0]
        self._shares = share(self._values)
        whole = np.rint(np.asarray(vector, np.float64) * 10**DECIMALS).astype("<i4")
        self.seed = zlib.crc32(whole.tobytes())
        """For what has no meaning, such as grain: a number that no two vectors share often."""

    def normal(self, name: str, limit: float = 2.5) -> float:
        """A trait as it is, standard normal, cut off at ±limit."""
        return float(min(max(self._values[_PLACES[name]], -limit), limit))

    def share(self, name: str) -> float:
        """The share of a population that has less of a trait, from 0 to 1."""
        return float(self._shares[_PLACES[name]])

    def between(self, name: str, low: float, high: float) -> float:
        """A trait spread evenly from low to high."""
        return low + (high - low) * self.share(name)

    def has(self, name: str, portion: float) -> bool:
        """Whether the portrait is one of the portion with most of a trait."""
        return self.share(name) > 1 - portion

    def pick(self, name: str, choices: Sequence[tuple[T, float]]) -> T:
        """One of several choices, each with its share of a population."""
        left = self.share(name) * sum(weight for _, weight in choices)
        for choice, weight in choices:
            left -= weight
            if left <= 0:
                return choice
        return choices[-1][0]
