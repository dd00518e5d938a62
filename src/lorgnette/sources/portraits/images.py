"""The images of a layout are drawn, in parallel: those that are missing.

An image is written under a temporary name and renamed, so one that is there is whole.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lorgnette.engines.base import Engine, Task
from lorgnette.errors import EngineError
from lorgnette.progress import progress, say
from lorgnette.sources.portraits.encode import jpeg, png
from lorgnette.sources.portraits.latent import BLOCK, Vectors, vectors
from lorgnette.sources.portraits.layouts import Layout, blocks, given_labels
from lorgnette.sources.portraits.noise import Bools, LabelNoise
from lorgnette.sources.portraits.survey import entries
from lorgnette.storage import Storage, refusals

TEMPORARY = re.compile(r".*\.[0-9a-f]{8}\.tmp")
"""Names of half-written files, as `Storage.writing` makes them."""

_PIXELS = 2**24
"""Drawn by a worker before it reports: about a second's work."""

Drawing = tuple[int, Literal["photo", "comic"], str]
"""The number of a portrait, its style, and its file below the directory."""


def draw_images(
    storage: Storage,
    tree: Layout,
    noise: LabelNoise,
    seed: int,
    there: Bools,
    size: int,
    engine: Engine,
) -> None:
    """Draw the images that are missing.

    Args:
        storage: the directory.
        tree: the file tree.
        noise: of the labels.
        seed: of the portraits.
        there: which are there; shape (files of a portrait, portraits), see `survey`.
        size: edge in pixels.
        engine: where they are drawn.

    Raises:
        EngineError: images could not be drawn.
    """
    files = there.size
    skipped = int(np.count_nonzero(there))
    if skipped == files:
        say(f"{storage.root} already holds all {files:,} images.")
        return
    if skipped:
        say(f"Continuing in {storage.root}: {skipped:,} of {files:,} images are already there.")
    share = max(1, (files - skipped) // (4 * engine.workers))  # something for every worker
    most = min(max(_PIXELS // size**2, 4), 256, share)
    todo = _missing(there, tree, noise, seed, most)
    task: Task[list[Drawing], int] = Task.of(draw_files, out=storage.root, seed=seed, size=size)
    with progress("Drawing", files, "images", done=skipped) as meter:
        for outcome in engine.map(task, chain([next(todo)], todo)):
            if outcome.value is None:
                first, last = outcome.item[0][2], outcome.item[-1][2]
                raise EngineError(
                    f"The images {first} to {last} could not be drawn "
                    f"(attempts: {outcome.attempts}): {outcome.error}"
                )
            meter.advance(outcome.value)


def _missing(
    there: Bools, tree: Layout, noise: LabelNoise, seed: int, most: int
) -> Iterator[list[Drawing]]:
    """The images that are still to be drawn, in lists of at most `most`."""
    drawings: list[Drawing] = []
    for start, stop in blocks(there.shape[1]):
        here = there[:, start:stop]
        numbers = np.flatnonzero(~here.all(axis=0))
        if not len(numbers):
            continue
        given = given_labels(tree, noise, seed, start, stop).tolist()
        for number in numbers.tolist():
            name = tree.file.format(start + number + tree.first)
            if not tree.pairs:
                path = f"{tree.folders[given[number]]}/{name}"
                drawings.append((start + number, "photo", path))
            else:
                for label, folder in enumerate(tree.folders):
                    if not here[label, number]:
                        style: Literal["photo", "comic"] = (
                            "comic" if label ^ given[number] else "photo"
                        )
                        drawings.append((start + number, style, f"{folder}/{name}"))
            if len(drawings) >= most:
                yield drawings
                drawings = []
    if drawings:
        yield drawings


def draw_files(drawings: list[Drawing], *, out: str, seed: int, size: int) -> int:
    """Draw images and write them, in a worker; how many they were."""
    from lorgnette.sources.portraits.draw import draw

    storage = Storage.at(out)
    for number, style, path in drawings:
        vector = _block(seed, number // BLOCK)[number % BLOCK]
        pixels: npt.NDArray[np.uint8] = draw(vector, size, style)
        storage.write(path, png(pixels) if path.endswith(".png") else jpeg(pixels))
    return len(drawings)


@functools.lru_cache(maxsize=1)
def _block(seed: int, block: int) -> Vectors:
    """The vectors of a block, which a worker needs for several lists of drawings."""
    return vectors(seed, block * BLOCK, (block + 1) * BLOCK)


def sweep(storage: Storage, tree: Layout) -> None:
    """Remove what a killed process had half written."""
    for folder in ("", *sorted(set(tree.folders))):
        for entry in entries(storage, folder):
            if TEMPORARY.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False):
                with refusals(entry.path):
                    Path(entry.path).unlink(missing_ok=True)
