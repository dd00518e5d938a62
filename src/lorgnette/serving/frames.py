"""Predict the rows of frames, in the workers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.dataset.decode import Rejected, decode
from lorgnette.dataset.shard import Unreadable, read_files
from lorgnette.devices import choose
from lorgnette.errors import ModelError
from lorgnette.model import Model
from lorgnette.predictions import PREFIX
from lorgnette.rundir import Run
from lorgnette.sources.columns import holds_lists, matrix, stored, vector
from lorgnette.storage import Storage


def predict_rows(
    rows: pa.Table, *, run: str, stamp: int, columns: list[str], paths: bool
) -> pa.Table:
    """What `predict` adds to some rows, in a worker.

    Args:
        rows: n of them.
        run: the run's directory.
        stamp: when its model was written.
        columns: the one of images, or those of features.
        paths: whether images are at paths.

    Returns:
        n rows: the class, float32 for each class, and a sentence where there is none.
    """
    model, pixel_limit = _model(run, stamp)
    items, errors = (
        _vectors(model, rows, columns)
        if model.spec.features
        else _pixels(model, rows[columns[0]], paths, pixel_limit)
    )
    bad = np.array([error is not None for error in errors], bool)
    probabilities = np.zeros((len(bad), len(model.spec.classes)), np.float32)
    probabilities[~bad] = model.probabilities(items)
    best = np.array(model.spec.classes, dtype=object)[probabilities.argmax(axis=1)]
    found = {"prediction": pa.array(best, pa.string(), mask=bad)}
    for code, name in enumerate(model.spec.classes):
        found[PREFIX + name] = pa.array(probabilities[:, code], pa.float32(), mask=bad)
    found["error"] = pa.array(errors, pa.string())
    return pa.table(found)


@lru_cache(maxsize=1)
def _model(run: str, stamp: int) -> tuple[Model, int]:
    """The model of a run, loaded once in each worker; the stamp tells another one from it."""
    opened = Run.load(run)
    config = opened.config
    device = choose("auto", config.train.precision)
    return Model.load(opened.storage, device), config.prepare.pixel_limit


def _pixels(
    model: Model, column: Any, paths: bool, pixel_limit: int
) -> tuple[NDArray[np.uint8], list[str | None]]:
    """Decode images: uint8 (m, H, W, C) of the good ones, and what is wrong with the others."""
    spec = model.spec
    if pa.types.is_struct(column.type):
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], pa.binary())
    pixels: list[NDArray[np.uint8]] = []
    errors: list[str | None] = []
    for value in column:
        data = value.as_py()
        if data is None:
            errors.append(f"there is no {'path' if paths else 'image'} in this row")
            continue
        if paths:
            root, _, name = data.rpartition("/")
            data = next(iter(read_files(Storage.at(root or "/"), [name])))
            if isinstance(data, Unreadable):
                errors.append(data.reason)
                continue
        try:
            pixels.append(decode(data, (spec.size,), spec.color, spec.fit, pixel_limit).pixels[0])
            errors.append(None)
        except Rejected as rejected:
            errors.append(rejected.reason)
    channels = 3 if spec.color == "rgb" else 1
    empty = np.empty((0, spec.size, spec.size, channels), np.uint8)
    return np.stack(pixels) if pixels else empty, errors


def _vectors(
    model: Model, rows: pa.Table, columns: Sequence[str]
) -> tuple[NDArray[np.float32], list[str | None]]:
    """Features side by side: float32 (m, F) of the rows that are whole, and what others lack."""
    spec = model.spec
    parts: list[NDArray[np.float32]] = []
    for batch in rows.combine_chunks().to_batches():
        found = []
        for name in columns:
            column = batch.column(name)
            if holds_lists(column.type):
                lengths = pc.list_value_length(stored(column)).drop_null()
                # Where no row has a list, nothing but the model tells how long they would be.
                rest = len(spec.features) - len(columns) + 1
                width = lengths[0].as_py() if len(lengths) else rest
                found.append(matrix(column, width, f"'{name}' of the frame", 0))
            else:
                found.append(vector(batch, name, "the frame")[:, None])
        parts.append(np.concatenate(found, axis=1))
    vectors = np.concatenate([np.empty((0, parts[0].shape[1] if parts else 0), np.float32), *parts])
    if len(rows) and vectors.shape[1] != len(spec.features):
        raise ModelError(
            f"The model takes {len(spec.features)} numbers, and the columns "
            f"{', '.join(columns)} of the frame hold {vectors.shape[1]}: name those that it was "
            "trained on."
        )
    lacking = ~np.isfinite(vectors)
    bad = np.zeros(len(vectors), bool) if spec.impute else lacking.any(axis=1)
    errors = [
        f"there is no number in feature {spec.features[int(row.argmax())]}" if wrong else None
        for row, wrong in zip(lacking, bad, strict=True)
    ]
    return np.where(lacking, np.float32("nan"), vectors)[~bad], errors
