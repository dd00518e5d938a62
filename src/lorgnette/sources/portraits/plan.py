"""What a directory of portraits holds, or is to hold: `portraits.json`.

Sources ask here whether what they are about to read is finished, so nothing is imported that draws.
"""

from __future__ import annotations

import posixpath
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from lorgnette import __version__
from lorgnette.config import Settings
from lorgnette.sources.published import PAIRS, PORTRAITS
from lorgnette.storage import Storage

PLAN = "portraits.json"

SMALLEST, LARGEST = 16, 4096
"""Edges of an image in pixels."""

LayoutName = Literal["glasses", "comics", "folders"]
NoiseKind = Literal["picture", "symmetric", "class"]
Number = Annotated[int, Field(ge=0)]


class Counts(Settings):
    """What the tables say of the files that are given a label, added up."""

    given: dict[str, Number]
    """Files by the label that they are given."""
    wrong: Number
    """Those of them whose given label is not the true one."""
    undecidable: Number
    """Those of them that have no true label."""


class Table(Settings):
    """A table as it was written, by which one that is there is known again."""

    bytes: Number
    """Its size."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of its bytes."""


class Plan(Settings):
    """What a directory of portraits holds, or is to hold."""

    format: Literal[1] = 1
    """Of this file."""
    version: str = __version__
    """Of Lorgnette; another may draw otherwise."""
    layout: LayoutName
    """The file tree."""
    seed: Number
    """Of the vectors and the wrong labels."""
    label_noise: Annotated[float, Field(ge=0, lt=0.5)]
    """The share of wrong labels."""
    noise_kind: NoiseKind | None
    """What the wrong labels depend on; None where there are none."""
    size: Annotated[int, Field(ge=SMALLEST, le=LARGEST)] | None
    """Edge of the images in pixels; None where there are none."""
    packages: dict[str, str] | None
    """Versions of what draws and encodes them."""
    n: Annotated[int, Field(ge=1)]
    """Portraits."""
    counts: Counts | None = None
    """Of the tables; None until they are written."""
    tables: dict[str, Table] | None = None
    """The tables by name; None until they are written."""
    complete: bool = False
    """Whether all of it is there; written last."""

    def but(self, **changes: object) -> Self:
        """The same plan with other values."""
        return self.model_copy(update=changes)


def unfinished(location: str | Storage) -> bool:
    """Whether a directory holds portraits that are not all there: some process was killed, or runs.

    Args:
        location: a directory or URL: a source as it was given, which may also be the directory of
            the images within the portraits' own.

    Raises:
        StorageError: it cannot be read.
    """
    root = (location if isinstance(location, Storage) else Storage.at(location)).root
    while posixpath.basename(root) in (PORTRAITS, PAIRS):
        root = posixpath.dirname(root)
    storage = Storage.at(root)
    if not storage.exists(PLAN) or storage.is_directory(PLAN):
        return False
    try:
        return not Plan.model_validate_json(storage.read(PLAN)).complete
    except (FileNotFoundError, ValidationError):  # somebody else's file of this name
        return False
