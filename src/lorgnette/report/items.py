"""The usable items of a dataset, by id and by place: what pages find pictures with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.dataset.store import Dataset
from lorgnette.report.pictures import nearest_size, thumbnail


def title(dataset: Dataset) -> str:
    """What a page calls a dataset: the last part of where it came from."""
    location = dataset.info.source.location or dataset.info.images or dataset.location
    return Path(location.rstrip("/")).name or location


class Items:
    """The usable items in the dataset's order; nothing per item is a Python object.

    Attributes:
        dataset: where they are.
        rows: the columns that were asked for, `id` among them.
    """

    def __init__(self, dataset: Dataset, columns: Sequence[str] = ("id",)) -> None:
        self.dataset = dataset
        self.rows = dataset.rows(columns).combine_chunks()

    def find(self, ids: Sequence[str] | pa.Array) -> NDArray[np.int64]:
        """The places of items by id, -1 for those that are not usable items; (n,)."""
        wanted = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
        places = pc.index_in(wanted, self.rows["id"].combine_chunks())
        found: NDArray[np.int64] = np.asarray(pc.fill_null(places, -1), np.int64)
        return found

    def column(self, name: str, places: NDArray[np.int64]) -> list[Any]:
        """The values of a column at some places."""
        values: list[Any] = self.rows[name].take(pa.array(places)).to_pylist()
        return values

    def pictures(self, places: NDArray[np.int64]) -> list[str]:
        """The pictures at some places as `data:` URIs.

        A text is empty where there is none: for vectors, and at places below 0.
        """
        sources = [""] * len(places)
        there = np.flatnonzero(places >= 0)
        if len(there) and not self.dataset.is_vectors:
            size = nearest_size(self.dataset.info.prepare.size)
            pixels = self.dataset.read(places[there], size)
            for place, picture in zip(there.tolist(), pixels, strict=True):
                sources[place] = thumbnail(picture)
        return sources
