"""Items as pictures for a browser: prepared pixels as PNG, original files as JPEG."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lorgnette.dataset.decode import QUIET, Rejected
from lorgnette.dataset.formats import check_pixels, sniff
from lorgnette.dataset.store import Dataset, rows_name
from lorgnette.errors import LorgnetteError
from lorgnette.storage import Storage

LARGEST = 1024
"""The longest edge of an original as it is sent, in pixels."""
SMALL = 96
"""Neighbours are sent at the smallest prepared size from here on, or else at the largest."""


class Pictures:
    """The pictures of a dataset of images."""

    def __init__(self, dataset: Dataset) -> None:
        """Look whether originals can be reached.

        Attributes:
            edge: the largest prepared size.
            small: the one for small pictures.
            originals: whether the source's files are there, and have more to show.
        """
        sizes = sorted(dataset.info.prepare.size)
        self.dataset = dataset
        self.edge = sizes[-1]
        self.small = next((size for size in sizes if size >= SMALL), self.edge)
        self.originals = self._reachable()

    def prepared(self, place: int, small: bool) -> bytes:
        """What networks see of an item, as PNG."""
        pixels = self.dataset.read(np.array([place]), self.small if small else self.edge)[0]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return _encoded(image, "PNG", compress_level=1)

    def original(self, place: int) -> bytes | None:
        """The source's file as JPEG, upright, whole, over white; None where it cannot be had."""
        try:
            path = self.path(place)
            data = Storage.at(self.dataset.info.images).read(path)
            with QUIET:
                file = Image.open(io.BytesIO(data), formats=[sniff(data)])
                check_pixels(*file.size, self.dataset.info.prepare.pixel_limit)
                file.draft("RGB", (LARGEST, LARGEST))
                image = ImageOps.exif_transpose(file)
                image.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC, reducing_gap=2.0)
                if image.has_transparency_data:
                    whole = image.convert("RGBA")
                    image = Image.new("RGB", whole.size, "white")
                    image.paste(whole, mask=whole.getchannel("A"))
                return _encoded(image.convert("RGB"), "JPEG", quality=92)
        except (LorgnetteError, Rejected, OSError, ValueError, SyntaxError):
            return None  # the prepared pixels are there in any case

    def path(self, place: int) -> str:
        """Where the source has an item, as its rows say."""
        shard = int(np.searchsorted(self.dataset.offsets, place, side="right")) - 1
        paths = _paths(self.dataset, shard)
        path: str = paths[place - int(self.dataset.offsets[shard])].as_py()
        return path

    def _reachable(self) -> bool:
        storage = Storage.at(self.dataset.info.images)
        try:
            return len(self.dataset) > 0 and storage.exists(self.path(0))
        except (LorgnetteError, OSError, ValueError):
            return False


def _encoded(image: Image.Image, kind: str, **how: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


@lru_cache(8)
def _paths(dataset: Dataset, shard: int) -> Any:
    with dataset.storage.open(rows_name(dataset.info.shards[shard].name)) as file:
        table = pq.read_table(file, columns=["path", "status"])
    return table.filter(pc.equal(table["status"], "ok"))["path"]


class Vectors:
    """What can be shown of vectors: the features in which an item differs most from the others."""

    SHOWN = 12
    SAMPLE = 20_000

    def __init__(self, dataset: Dataset) -> None:
        """Take mean and deviation of each feature over a sample, every so many items."""
        self.dataset = dataset
        step = max(1, -(-len(dataset) // self.SAMPLE))
        sample = dataset.read(np.arange(0, len(dataset), step)).astype(np.float64)
        present = np.isfinite(sample)
        count = np.maximum(present.sum(axis=0), 1)
        filled = np.where(present, sample, 0.0)
        self.mean = filled.sum(axis=0) / count
        spread = np.where(present, sample - self.mean, 0.0)
        self.deviation: NDArray[np.float64] = np.sqrt((spread**2).sum(axis=0) / count)

    def largest(self, place: int) -> list[dict[str, float | str]]:
        """The features furthest from the mean: name, value, and deviations from the mean."""
        values = self.dataset.read(np.array([place]))[0].astype(np.float64)
        usable = np.isfinite(values) & (self.deviation > 0)
        far = np.where(usable, (values - self.mean) / np.where(usable, self.deviation, 1.0), 0.0)
        first = np.argsort(-np.abs(far), kind="stable")[: self.SHOWN]
        return [
            {
                "name": self.dataset.info.features[feature],
                "value": float(values[feature]),
                "far": round(float(far[feature]), 2),
            }
            for feature in first.tolist()
            if usable[feature]
        ]
