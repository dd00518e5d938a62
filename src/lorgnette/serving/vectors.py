"""Predict from tables of vectors: any number of rows, streaming, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError
from lorgnette.predictions import PREFIX
from lorgnette.progress import progress
from lorgnette.sources import open_source
from lorgnette.sources.reader import SUFFIXES
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from lorgnette.model import Model


def predict_vectors(
    model: Model, inputs: Sequence[str], source: SourceConfig | None = None
) -> Iterator[pa.Table]:
    """Predict the class of each row of tables that have the model's columns.

    Args:
        model: trained on vectors.
        inputs: tables (CSV or Parquet), or directories of the published glasses set.
        source: which columns hold ids.

    Yields:
        Tables as `lorgnette.serving.predict.predict` does; a row that lacks a number has an error.

    Raises:
        SourceError: an input is no table, or lacks a column.
    """
    described = source or SourceConfig()
    features = ",".join(model.spec.features)
    with progress("Predicting", None, "vectors") as meter:
        for location in inputs:
            if not (location.lower().endswith(SUFFIXES) or Storage.at(location).is_directory()):
                raise SourceError(
                    f"The model takes rows of {len(model.spec.features)} numbers, and {location} "
                    f"is no table: give a {', '.join(SUFFIXES)} file with its columns."
                )
            config = described.model_copy(update={"location": location, "features": features})
            reader: Any = open_source(config, require_label=False)
            for records, vectors in reader.vectors():
                yield _table(model, records["id"], vectors)
                meter.advance(len(vectors))


def _table(model: Model, ids: pa.Array, vectors: np.ndarray[Any, Any]) -> pa.Table:
    lacking = ~np.isfinite(vectors)
    bad = np.zeros(len(vectors), bool) if model.spec.impute else lacking.any(axis=1)
    usable = np.where(lacking, np.float32("nan"), vectors)[~bad]
    probabilities = np.zeros((len(vectors), len(model.spec.classes)), np.float32)
    probabilities[~bad] = model.probabilities(usable, batch=8192)
    best = np.array(model.spec.classes, dtype=object)[probabilities.argmax(axis=1)]
    errors = [
        f"there is no number in column '{model.spec.features[int(row.argmax())]}'"
        if wrong
        else None
        for row, wrong in zip(lacking, bad, strict=True)
    ]
    columns: dict[str, Any] = {"id": ids, "class": pa.array(best, pa.string(), mask=bad)}
    for code, name in enumerate(model.spec.classes):
        columns[PREFIX + name] = pa.array(probabilities[:, code], pa.float32(), mask=bad)
    columns["error"] = pa.array(errors, pa.string())
    return pa.table(columns)
