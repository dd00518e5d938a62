"""Portraits in a directory: tables first, then images, and on from there after a kill.

`portraits.json` says what the directory holds, or is to hold; whatever is complete stays.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from lorgnette.engines.base import Engine
from lorgnette.errors import ConfigError, DatasetError, nearest
from lorgnette.lock import locked
from lorgnette.progress import say
from lorgnette.sources.places import local_directory
from lorgnette.sources.portraits.images import TEMPORARY, draw_images, sweep
from lorgnette.sources.portraits.layouts import LAYOUTS, Layout, LayoutName
from lorgnette.sources.portraits.noise import LabelNoise, NoiseKind
from lorgnette.sources.portraits.noise import label_noise as noise_of
from lorgnette.sources.portraits.plan import LARGEST, PLAN, SMALLEST, Counts, Plan, Table
from lorgnette.sources.portraits.survey import survey
from lorgnette.sources.portraits.tables import intact, write_tables
from lorgnette.sources.unpack import ensure_space
from lorgnette.storage import Storage, refusals

_PIXEL = {".png": 1.4, ".jpg": 0.12}
"""Bytes of an image a pixel, at the least of a mean: portraits as PNG have 1.57 of 256 pixels' edge
and 1.57 of 1,024; as JPEG, both styles together, 0.30 and 0.20."""

_ROW = 4000
"""Bytes of a portrait in the tables of `glasses`, of which nearly all are its vector."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a call left behind, and how much of it was there before.

    Attributes:
        out: the directory.
        layout: the file tree.
        portraits: how many.
        files: how many image files; 0 without images.
        skipped: how many of them were there before and were not drawn again.
        given: labelled files by the label that they are given. In `glasses` those of train.csv are
            labelled, and in the other layouts all of them; without images, the files there would
            be.
        wrong: labelled files whose given label is not the true one.
        undecidable: labelled files of which nobody can tell what is true.
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
    tables are written anew and replaced when all of them are whole. portraits.json is `complete`
    when everything is there.

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
    noise = _check(layout, n, size, label_noise, noise_kind, seed, images)
    storage = local_directory(out, "Portraits are written to")
    tree = LAYOUTS[layout]
    wanted = Plan(
        packages=_packages() if images else None,
        layout=layout,
        seed=seed,
        label_noise=noise.rate,
        noise_kind=noise.kind if noise.rate else None,
        size=size if images else None,
        n=n,
    )
    if storage.is_directory():
        _agree(storage, wanted)  # before the lock, which would leave a file among those of others
    with locked(storage):
        before, plan = _agree(storage, wanted)
        sweep(storage, tree)
        there = survey(storage, tree, noise, seed, n) if images else np.ones((1, 0), np.bool_)
        tables = _has_tables(storage, plan, tree)
        _ensure_space(storage, plan, tree, 0 if tables else n, int(np.count_nonzero(~there)))
        if not tables:
            plan = _make_tables(storage, before, plan, noise, engine.workers)
        elif not images:
            say(f"{storage.root} already holds the tables of all {n:,} portraits.")
        if images:
            if not there.all():
                _save(storage, plan.but(complete=False))
            draw_images(storage, tree, noise, seed, there, size, engine)
            sweep(storage, tree)  # a worker may have outlived its killed parent for a moment
        if images or plan.size is None or (before and before.complete and before.n == n):
            plan = plan.but(complete=True)
            _save(storage, plan)
        else:
            say(f"The images in {storage.root} are not all drawn, and --no-images leaves it so.")
    assert plan.counts is not None
    return Written(
        out=storage.root,
        layout=layout,
        portraits=n,
        files=n * tree.files_each if images else 0,
        skipped=int(np.count_nonzero(there)),
        **plan.counts.model_dump(),
    )


def _check(
    layout: LayoutName,
    n: int,
    size: int,
    rate: float,
    kind: NoiseKind | None,
    seed: int,
    images: bool,
) -> LabelNoise:
    """The noise, if the arguments make sense."""
    if layout not in LAYOUTS:
        raise ConfigError(f"There is no layout '{layout}': {nearest(layout, LAYOUTS)}")
    if n < 1:
        raise ConfigError(f"The number of portraits must be at least 1, got {n}.")
    if seed < 0:
        raise ConfigError(f"The seed must be at least 0, got {seed}.")
    if not SMALLEST <= size <= LARGEST:
        raise ConfigError(f"The size must be from {SMALLEST} to {LARGEST:,} pixels, got {size}.")
    if not images and "train.csv" not in LAYOUTS[layout].tables:
        raise ConfigError(
            f"The layout {layout} consists of images, so it cannot be written without them: only "
            "glasses has a table of vectors."
        )
    pairs = LAYOUTS[layout].pairs
    noise = noise_of(rate, kind or ("symmetric" if pairs else "picture"))
    if pairs and noise.kind != "symmetric":
        raise ConfigError(
            f"In the layout {layout} label noise swaps the two files of a pair, whatever they "
            f"show: its kind must be 'symmetric', got '{noise.kind}'; leave the kind out."
        )
    return noise


def _agree(storage: Storage, plan: Plan) -> tuple[Plan | None, Plan]:
    """The plan that is there, if any, and the plan to follow, with the tables that are there.

    Raises:
        DatasetError: the directory holds something else.
    """
    try:
        before = Plan.model_validate_json(storage.read(PLAN))
    except FileNotFoundError:
        _refuse_others(storage)
        return None, plan
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
        if name not in ("n", "counts", "tables", "complete") and old[name] != new[name]
    ]
    if plan.n < before.n and before.counts is not None:
        changes.append(f"n ({before.n:,} before, {plan.n:,} now, and it can only grow)")
    if changes:
        raise DatasetError(
            f"{storage.root} holds portraits that were made otherwise; what differs: "
            f"{', '.join(changes)}. Choose another directory, or remove this one."
        )
    return before, before if plan.n == before.n else plan


def _has_tables(storage: Storage, plan: Plan, tree: Layout) -> bool:
    """Whether the tables of a plan are there; in a complete directory large ones go by size."""
    if plan.counts is None or plan.tables is None or set(plan.tables) != set(tree.tables):
        return False
    return intact(storage, plan.tables, thoroughly=not plan.complete)


def _make_tables(
    storage: Storage, before: Plan | None, plan: Plan, noise: LabelNoise, threads: int
) -> Plan:
    """Write the tables; the plan with what came of it, which is saved.

    More portraits than before: the plan and the tables that are there stay until the new tables are
    whole. Then first the plan is replaced, so that after a kill it is seen that they are not its.
    """
    if before is None or before.counts is None or before.n == plan.n:
        _save(storage, plan.but(complete=False))

    def ready(counts: Counts, tables: dict[str, Table]) -> None:
        nonlocal plan
        plan = plan.but(counts=counts, tables=tables, complete=False)
        _save(storage, plan)

    write_tables(storage, plan.layout, noise, plan.seed, plan.n, threads, ready)
    return plan


def _ensure_space(storage: Storage, plan: Plan, tree: Layout, rows: int, images: int) -> None:
    """See that the disk can hold rows of tables and images, as far as can be told before.

    Raises:
        StorageError: it clearly cannot.
    """
    needed = images * (plan.size or 0) ** 2 * _PIXEL[Path(tree.file).suffix]
    if "train.csv" in tree.tables:
        needed += rows * _ROW
    if needed:
        ensure_space(Path(storage.root), int(needed), "What is still to be written")


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
