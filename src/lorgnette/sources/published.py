"""The names in the two published sets: what fetching, reading and drawing them share."""

from __future__ import annotations

from typing import Literal, NamedTuple

PORTRAITS = "faces-spring-2020"
"""The directory of the glasses set's images; the download has it twice, one in the other."""

PAIRS = "face2comics_v2.0.0_by_Sxela"
"""The directory of the comic set, doubled likewise."""

TABLES = ("train.csv", "test.csv")
"""The tables of the glasses set."""

CLASSES = ("no_glasses", "glasses")
"""What the values 0 and 1 of the column `glasses` mean."""

SIDES = ("comics", "faces")
"""The directories of the comic set, which are its labels."""

PORTRAITS_INSIDE = f"{PORTRAITS}/{PORTRAITS}"
"""Where the glasses set's images lie, below the download."""

PAIRS_INSIDE = f"{PAIRS}/{PAIRS}"
"""Where the comic set's two directories lie, below the download."""


class Place(NamedTuple):
    """Where a published set was found."""

    layout: Literal["glasses", "comics"]
    tables: str
    """The location of the tables; empty for comics."""
    images: str
