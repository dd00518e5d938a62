"""Who wears glasses: the truth behind the labels, as a function of the latent vector.

Two inclinations decide, both standard normal and correlated: who has either of them strongly enough
wears glasses, as some wear them to read and others for the sun. The larger of two numbers is no
linear function, so no perceptron on the vectors comes close, however much it sees; a network with a
hidden layer can represent it, and learns it better the more vectors it has.

Where a generator is torn between the two it draws half a pair: vectors next to the border are
undecidable, and those near it wear fainter frames.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lorgnette.sources.portraits.latent import project

FRAMES = ("thin", "thick", "rimless", "half-rim", "round", "sunglasses")
"""Kinds of glasses; of those who wear none the kind is "none"."""

CORRELATION = 0.4
"""Between the two inclinations."""

BORDER = 0.29876
"""Glasses are worn by the 55.8% whose larger inclination is above this, as many as in the corrected
labels of the set that the portraits stand in for."""

HALF_DRAWN = 0.00851
"""Closer to the border than this, 0.75% of all, nobody can tell."""

_SHARES = (0.24, 0.44, 0.55, 0.68, 0.87, 1.0)  # cumulative, in the order of FRAMES

_INCLINATIONS, _FRAME, _CONTRAST, _END = 0, 2, 3, 4  # directions (see `latent.project`)

FREE_DIRECTION = 4
"""The first direction that says nothing about glasses."""

Floats = npt.NDArray[np.float64]


class Wearing(NamedTuple):
    """What is true of n portraits; every field has shape (n,)."""

    glasses: npt.NDArray[np.bool_]
    """The truth; of the undecidable, the side of the border on which they fall."""
    undecidable: npt.NDArray[np.bool_]
    """Half-drawn: a lens, a rim or a temple is missing, and what is there is faint."""
    faintness: Floats
    """How hard the truth is to see, from 0 to 1 and uniform but for the pull of the border: the
    frame of those who wear one fades, and the faces of others get shadows around the eyes."""
    frame: npt.NDArray[np.str_]
    """One of `FRAMES`, or "none"."""


def wearing(vectors: npt.NDArray[np.floating]) -> Wearing:
    """Whether, what and how visibly each portrait wears; vectors have shape (n, 512)."""
    first, other, frame, contrast = project(vectors, _INCLINATIONS, _END).T
    second = CORRELATION * first + math.sqrt(1 - CORRELATION**2) * other
    margin = np.maximum(first, second) - BORDER
    glasses = margin > 0
    near = 1 / (1 + (np.abs(margin) / 0.35) ** 2)
    faintness = np.clip(0.75 * share(contrast) + 0.5 * near - 0.1, 0, 1)
    kinds = np.array(FRAMES)[np.searchsorted(_SHARES, share(frame)).clip(max=len(FRAMES) - 1)]
    return Wearing(
        glasses,
        np.abs(margin) < HALF_DRAWN,
        faintness,
        np.where(glasses, kinds, "none"),
    )


def share(normal: Floats) -> Floats:
    """The share of a normal population below each value, from 0 to 1, within 3e-7.

    Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.28: an approximation made of
    operations that all machines round alike, which exponentials are not.
    """
    x = np.abs(normal) / math.sqrt(2)
    series = 1 + x * (
        0.0705230784
        + x
        * (
            0.0422820123
            + x * (0.0092705272 + x * (0.0001520143 + x * (0.0002765672 + x * 0.0000430638)))
        )
    )
    tail = series
    for _ in range(4):
        tail = tail * tail
    upper: Floats = 1 - 0.5 / tail
    return np.where(normal >= 0, upper, 1 - upper)
