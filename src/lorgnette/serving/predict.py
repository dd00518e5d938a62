"""Predict from image files: any number of them, streaming, in the order they were given.

Files are read and decoded in parallel through the engine while the network works on what is there;
a file that cannot be read is a row with an error and no probabilities.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.decode import Rejected, decode
from lorgnette.dataset.shard import Unreadable, read_files
from lorgnette.engines.base import Engine, Outcome, Task
from lorgnette.errors import SourceError
from lorgnette.predictions import PREFIX
from lorgnette.progress import progress
from lorgnette.serving.vectors import predict_vectors
from lorgnette.sources import open_source
from lorgnette.sources.reader import SUFFIXES
from lorgnette.storage import Storage, is_url

if TYPE_CHECKING:
    from lorgnette.model import Model

PIECE_ITEMS = 128
WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Files:
    """Some image files on their way to a worker.

    Attributes:
        index: the place of this piece among all, from 0.
        root: the location that paths are relative to.
        ids: what the rows are called, (n,).
        paths: (n,).
    """

    index: int
    root: str
    ids: list[str]
    paths: list[str]


@dataclass(frozen=True, slots=True)
class Decodings:
    """What became of some files: pixels of those that could be read, a sentence for the others.

    Attributes:
        pixels: uint8 (m, H, W, C), of the files without an error, in order.
        errors: one entry per file, None where it was read, (n,).
    """

    pixels: NDArray[np.uint8]
    errors: list[str | None]


def predict(
    model: Model,
    inputs: Sequence[str],
    engine: Engine,
    *,
    source: SourceConfig | None = None,
    lines: Iterable[str] = (),
    pixel_limit: int = PrepareConfig().pixel_limit,
) -> Iterator[pa.Table]:
    """Predict the class of image files.

    Args:
        model: what predicts.
        inputs: files, folders, globs, tables (CSV or Parquet); `-` stands for `lines`. Local paths
            or URLs. Tables only, where the model takes vectors.
        engine: where files are decoded.
        source: how to read tables (columns, and what paths are relative to).
        lines: paths, one each.
        pixel_limit: images with more pixels are refused.

    Yields:
        Tables in the order of the inputs: `id`, `class`, `p_<class>` for each class, `error`.

    Raises:
        SourceError: an input does not exist or cannot be read as described.
    """
    spec = model.spec
    if spec.features:
        yield from predict_vectors(model, inputs, source)
        return
    settings = {
        "size": (spec.size,),
        "color": spec.color,
        "fit": spec.fit,
        "pixel_limit": pixel_limit,
    }
    pieces = _pieces(inputs, source or SourceConfig(), lines)
    first = list(islice(pieces, 1))
    with progress("Predicting", None, "images") as meter:
        for files, decodings in _decoded([*first], pieces, engine, settings):
            yield _table(model, files, decodings)
            meter.advance(len(files.ids))


def _decoded(
    first: list[Files], rest: Iterator[Files], engine: Engine, settings: dict[str, Any]
) -> Iterator[tuple[Files, Decodings]]:
    """Decode pieces on the engine, back in their order; a single small one right here."""
    second = next(rest, None)
    if second is None:
        for files in first:
            yield files, decode_files(files, settings=settings)
        return
    task: Task[Files, Decodings] = Task.of(decode_files, settings=settings)
    waiting: dict[int, Outcome[Files, Decodings]] = {}
    due = 0
    for outcome in engine.map(task, chain(first, [second], rest)):
        waiting[outcome.item.index] = outcome
        while due in waiting:
            ready = waiting.pop(due)
            lost = Decodings(_nothing(settings), [ready.error] * len(ready.item.ids))
            yield ready.item, ready.value or lost
            due += 1


def decode_files(files: Files, *, settings: dict[str, Any]) -> Decodings:
    """Read and decode some files, in a worker."""
    config = PrepareConfig.model_validate(settings)
    pixels: list[NDArray[np.uint8]] = []
    errors: list[str | None] = []
    for data in read_files(Storage.at(files.root), files.paths):
        error: str | None = None
        if isinstance(data, Unreadable):
            error = data.reason
        else:
            try:
                found = decode(data, config.size, config.color, config.fit, config.pixel_limit)
                pixels.append(found.pixels[0])
            except Rejected as rejected:
                error = rejected.reason
        errors.append(error)
    return Decodings(np.stack(pixels) if pixels else _nothing(settings), errors)


def _nothing(settings: dict[str, Any]) -> NDArray[np.uint8]:
    size, channels = settings["size"][0], 3 if settings["color"] == "rgb" else 1
    return np.empty((0, size, size, channels), np.uint8)


def _table(model: Model, files: Files, decodings: Decodings) -> pa.Table:
    """The rows of one piece."""
    classes = model.spec.classes
    bad = np.array([error is not None for error in decodings.errors])
    probabilities = np.zeros((len(bad), len(classes)), np.float32)
    probabilities[~bad] = model.probabilities(decodings.pixels)
    best = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
    columns: dict[str, Any] = {
        "id": pa.array(files.ids, pa.string()),
        "class": pa.array(best, pa.string(), mask=bad),
    }
    for code, name in enumerate(classes):
        columns[PREFIX + name] = pa.array(probabilities[:, code], pa.float32(), mask=bad)
    columns["error"] = pa.array(decodings.errors, pa.string())
    return pa.table(columns)


def _pieces(inputs: Sequence[str], source: SourceConfig, lines: Iterable[str]) -> Iterator[Files]:
    """Cut everything that was given into pieces of one root each."""
    index = 0
    for root, named in _runs(inputs, source, lines):
        while part := list(islice(named, PIECE_ITEMS)):
            yield Files(index, root, [name for name, _ in part], [path for _, path in part])
            index += 1


def _runs(
    inputs: Sequence[str], source: SourceConfig, lines: Iterable[str]
) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    """For each input its root, and (id, path) of its files; single files share one."""
    single: list[str] = []
    for given in inputs:
        collection = given == "-" or _is_collection(given)
        if collection and single:
            yield from _files(iter(single))
            single = []
        if given == "-":
            yield from _files(line.rstrip("\r\n") for line in lines if line.strip())
        elif collection:
            described = source.model_copy(update={"location": given})
            reader = open_source(described, require_label=False)
            yield (
                reader.images,
                (
                    (row["id"], row["path"])
                    for batch in reader.records()
                    for row in batch.select(["id", "path"]).to_pylist()
                ),
            )
        elif WILDCARDS & set(given) and not Path(given).exists() and not is_url(given):
            matches = sorted(
                path
                for path in glob.glob(given, recursive=True)  # noqa: PTH207 - may be absolute
                if Path(path).is_file()
            )
            if not matches:
                raise SourceError(f"No file matches {given}: check the pattern and the directory.")
            single += matches
        else:
            single.append(given)
    if single:
        yield from _files(iter(single))


def _files(paths: Iterator[str]) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    """Single files: local ones under one root, those of an object store each under its own."""
    local: list[str] = []
    for path in paths:
        if not is_url(path):
            local.append(path)
            if len(local) == PIECE_ITEMS:
                yield "/", iter([(name, str(Path(name).absolute())) for name in local])
                local = []
            continue
        if local:
            yield "/", iter([(name, str(Path(name).absolute())) for name in local])
            local = []
        root, _, name = path.rpartition("/")
        yield root, iter([(path, name)])
    if local:
        yield "/", iter([(name, str(Path(name).absolute())) for name in local])


def _is_collection(location: str) -> bool:
    """Whether an input is a folder or a table rather than an image."""
    if location.lower().endswith(SUFFIXES):
        return True
    if is_url(location):
        return Storage.at(location).is_directory()
    return Path(location).is_dir()
