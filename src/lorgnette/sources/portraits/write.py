"""Portraits in a directory: tables first, then images, and on from there after a kill.

`portraits.json` says what the directory holds, or is to hold; whatever is complete stays.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from lorgnette import __version__
from lorgnette.config import Settings
from lorgnette.engines.base import Engine
from lorgnette.errors import ConfigError, DatasetError, nearest
from lorgnette.lock import locked
from lorgnette.progress import say
from lorgnette.sources.portraits.images import TEMPORARY, draw_images, sweep
from lorgnette.sources.portraits.layouts import LAYOUTS, LayoutName
from lorgnette.sources.portraits.noise import LabelNoise, NoiseKind
from lorgnette.sources.portraits.noise import label_noise as noise_of
from lorgnette.sources.portraits.tables import Counts, write_tables
from lorgnette.storage import Storage, is_url, refusals

PLAN = "portraits.json"
SIZES = (16, 4096)
"""The smallest and the largest edge of an image in pixels."""


class Plan(Settings):
    """What a directory of portraits holds, or is to hold; kept in portraits.json."""

    format: int = 1
    """Of this file."""
    version: str = __version__
    """Of Lorgnette; another may draw otherwise."""
    layout: LayoutName
    """The file tree."""
    seed: int
    """Of the vectors and the wrong labels."""
    label_noise: float
    """The share of wrong labels."""
    noise_kind: NoiseKind | None
    """What the wrong labels depend on; None where there are none."""
    size: int | None
    """Edge of the images in pixels; None where there are none."""
    packages: dict[str, str] | None
    """Versions of what draws and encodes them."""
    n: int
    """Portraits."""
    counts: Counts | None = None
    """Of the tables; None until they are written."""

    def but(self, **changes: object) -> Self:
        """The same plan with other values."""
        return self.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class Written:
    """What a call left behind, and how much of it was there before.

    Attributes:
        out: the directory.
        layout: the file tree.
        portraits: how many; `files` image files, of which `skipped` were there before.
        files: image files; 0 without images.
        skipped: image files that were there before and were not drawn again.
        given: files by the label that they are given; in `glasses` only those of train.csv.
        wrong: files whose given label is not the true one.
        undecidable: files of which nobody can tell.
    """

    out: str
    layout: str
    portraits: int
    files: int
    skipped: int
    given: dict[str, int]
    wrong: int
    undecidable: int


def write_portraits(
    out: str | os.PathLike[str],
    *,
    layout: LayoutName = "glasses",
    n: int = 5000,
    size: int = 1024,
    label_noise: float = 0.0,
    noise_kind: NoiseKind | None = None,
    seed: int = 0,
    images: bool = True,
    engine: Engine,
) -> Written:
    """Draw portraits into a published file tree, with labels of which some are wrong.

    Killed and called again with the same arguments it continues, and ends with the same bytes.
    With a larger `n` it adds to what is there: portraits and their labels stay as they are, the
    tables are written anew.

    Args:
        out: a local directory, new, empty, or holding the same portraits. Workers on other machines
            must find it under the same path.
        layout: `glasses`, `comics` or `folders`.
        n: portraits; in `comics`, pairs.
        size: edge of the images in pixels.
        label_noise: the share of wrong labels. In `comics` the two files of a pair are swapped; in
            `folders` the file lies in the wrong folder.
        noise_kind: see `LabelNoise.chance`. None: `picture`, or `symmetric` in `comics`, where
            no other makes sense.
        seed: of the vectors and the wrong labels.
        images: False writes the tables of `glasses` alone.
        engine: where the images are drawn.

    Raises:
        ConfigError: an argument is not allowed.
        DatasetError: `out` holds something else.
        LockedError: another process is writing to `out`.
        StorageError: the disk is full, or refuses to be written to.
        EngineError: portraits could not be drawn.
    """
    noise = _check(out, layout, n, size, label_noise, noise_kind, seed, images)
    storage = Storage.at(out)
    tree = LAYOUTS[layout]
    plan = Plan(
        packages=_packages() if images else None,
        layout=layout,
        seed=seed,
        label_noise=noise.rate,
        noise_kind=noise.kind if noise.rate else None,
        size=size if images else None,
        n=n,
    )
    if storage.is_directory():
        _agree(storage, plan)  # before the lock, which would leave a file among those of others
    with locked(storage):
        plan = _agree(storage, plan)
        sweep(storage, tree)
        counts = plan.counts
        if counts is None or not all(storage.exists(table) for table in tree.tables):
            for table in tree.tables:  # a table that is there is one of this plan
                storage.remove(table)
            _save(storage, plan.but(counts=None))
            counts = write_tables(storage, layout, noise, seed, n, engine.workers)
        elif not images:
            say(f"{storage.root} already holds the tables of all {n:,} portraits.")
        _save(storage, plan.but(counts=counts))
        skipped = draw_images(storage, tree, noise, seed, n, size, engine) if images else 0
        sweep(storage, tree)  # a worker may have outlived its killed parent for a moment
    return Written(
        out=storage.root,
        layout=layout,
        portraits=n,
        files=n * tree.files_each if images else 0,
        skipped=skipped,
        **counts.model_dump(),
    )


def _check(
    out: str | os.PathLike[str],
    layout: LayoutName,
    n: int,
    size: int,
    rate: float,
    kind: NoiseKind | None,
    seed: int,
    images: bool,
) -> LabelNoise:
    """The noise, if the arguments make sense."""
    if is_url(os.fspath(out)):
        raise ConfigError(
            f"Portraits are written to local directories only, got {os.fspath(out)}: write them to "
            "one and copy it."
        )
    if layout not in LAYOUTS:
        raise ConfigError(f"There is no layout '{layout}': {nearest(layout, LAYOUTS)}")
    if n < 1:
        raise ConfigError(f"The number of portraits must be at least 1, got {n}.")
    if seed < 0:
        raise ConfigError(f"The seed must be at least 0, got {seed}.")
    low, high = SIZES
    if not low <= size <= high:
        raise ConfigError(f"The size must be from {low} to {high:,} pixels, got {size}.")
    if not images and "train.csv" not in LAYOUTS[layout].tables:
        raise ConfigError(
            f"The layout {layout} consists of images, so it cannot be written without them: only "
            "glasses has a table of vectors."
        )
    pairs = LAYOUTS[layout].pairs
    noise = noise_of(rate, kind or ("symmetric" if pairs else "picture"))
    if pairs and rate and noise.kind != "symmetric":
        raise ConfigError(
            f"In the layout {layout} label noise swaps the two files of a pair, whatever they "
            f"show: its kind must be 'symmetric', got '{noise.kind}'; leave the kind out."
        )
    return noise


def _agree(storage: Storage, plan: Plan) -> Plan:
    """The plan to follow, with the counts of tables that are there.

    Raises:
        DatasetError: the directory holds something else.
    """
    try:
        before = Plan.model_validate_json(storage.read(PLAN))
    except FileNotFoundError:
        _refuse_others(storage)
        return plan
    except ValidationError as error:
        raise DatasetError(
            f"{storage.locate(PLAN)} is damaged, or of another version of Lorgnette: choose "
            "another directory, or remove this one."
        ) from error
    if plan.size is None:
        plan = plan.but(size=before.size, packages=before.packages)
    elif before.size is None:  # tables first, images later
        before = before.but(size=plan.size, packages=plan.packages)
    old, new = before.model_dump(), plan.model_dump()
    changes = [
        f"{name.replace('_', ' ')} ({_short(old[name])} before, {_short(new[name])} now)"
        for name in Plan.model_fields
        if name not in ("n", "counts") and old[name] != new[name]
    ]
    if plan.n < before.n:
        changes.append(f"n ({before.n:,} before, {plan.n:,} now, and it can only grow)")
    if changes:
        raise DatasetError(
            f"{storage.root} holds portraits that were made otherwise; what differs: "
            f"{', '.join(changes)}. Choose another directory, or remove this one."
        )
    return plan.but(counts=before.counts if plan.n == before.n else None)


def _packages() -> dict[str, str]:
    """Versions of what draws and encodes; another may draw otherwise."""
    found = {}
    for name in ("numpy", "pillow", "skia-python"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return "none" if value is None else str(value)


def _refuse_others(storage: Storage) -> None:
    with refusals(storage.root):
        names = [path.name for path in Path(storage.root).iterdir()]
    others = sorted(name for name in names if name != ".lock" and not TEMPORARY.fullmatch(name))
    if others:
        raise DatasetError(
            f"{storage.root} holds other files ({', '.join(others[:3])}"
            f"{', …' if len(others) > 3 else ''}): portraits need a new or empty directory."
        )


def _save(storage: Storage, plan: Plan) -> None:
    data = (plan.model_dump_json(indent=1) + "\n").encode()
    if not storage.exists(PLAN) or storage.read(PLAN) != data:
        storage.write(PLAN, data)
