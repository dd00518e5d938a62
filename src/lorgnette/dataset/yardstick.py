"""The yardstick: items of the test part, drawn at random, whose labels a person settles.

Figures against what a person confirmed are honest only over a random sample: what persons look at
otherwise was picked for being suspicious, and a model does worse on it than on the rest.
"""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
from pydantic import ValidationError

from lorgnette.config import Settings
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError, DatasetError

FILE = "yardstick.json"
FORMAT = 1
PART: Literal["test"] = "test"


class Yardstick(Settings):
    """What `yardstick.json` holds."""

    format: int = FORMAT
    """The version of the format on disk."""
    seed: int
    """Of the drawing."""
    part: Literal["test"] = PART
    """What it was drawn from."""
    n: int
    """The number of items."""
    ids: tuple[str, ...]
    """In random order, so that the first of them are a random sample too."""


def draw(dataset: Dataset, n: int, seed: int, split: Split) -> Yardstick:
    """Draw a yardstick from the test part and write it; one that is there already is kept.

    Every item of the part has the same chance, also one that a rule has dropped. A yardstick of the
    same seed and part that is too small is extended, so that what was settled stays settled.

    Args:
        dataset: where it goes.
        n: items.
        seed: fixes which.
        split: whose test part.

    Returns:
        The yardstick, of n items, or more where a larger one was there.

    Raises:
        ConfigError: n is not allowed.
        DatasetError: there is another yardstick, or it is damaged.
    """
    members = split.members(PART)
    if not 1 <= n <= len(members):
        raise ConfigError(
            f"A yardstick is drawn from the test part, which has {len(members):,} items, and "
            f"{n:,} were asked for: ask for 1 to {len(members):,}."
        )
    order = np.random.default_rng([seed, 5]).permutation(members)
    drawn = tuple(dataset.rows(["id"])["id"].take(order[:n]).to_pylist())
    there = load(dataset)
    if there is not None:
        shared = min(n, there.n)
        if there.ids[:shared] != drawn[:shared]:
            raise DatasetError(
                f"A dataset has one yardstick, and {dataset.storage.locate(FILE)} (seed "
                f"{there.seed}) was drawn with another seed or from another test part: use that "
                "seed and split, or remove the file to draw another."
            )
        if there.n >= n:
            return there
    made = Yardstick(seed=seed, n=n, ids=drawn)
    dataset.storage.write(FILE, (made.model_dump_json(indent=1) + "\n").encode())
    return made


def load(dataset: Dataset) -> Yardstick | None:
    """The yardstick of a dataset; None if none was drawn.

    Raises:
        DatasetError: it is damaged or of a newer format.
    """
    try:
        text = dataset.storage.read(FILE)
    except FileNotFoundError:
        return None
    where = dataset.storage.locate(FILE)
    try:
        found = Yardstick.model_validate(json.loads(text))
    except (ValidationError, ValueError) as error:
        raise DatasetError(
            f"{where} is damaged ({type(error).__name__}): remove it and draw another."
        ) from error
    if found.format != FORMAT:
        raise DatasetError(
            f"{where} has format {found.format} and this version reads format {FORMAT}: use the "
            "version that drew it."
        )
    return found
