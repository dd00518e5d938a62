"""What a network makes of items before its last layer, and embeddings of whole datasets.

All of it is streamed: memory is that of some thousand items, whatever N is.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.dataset.store import Dataset, read_array
from lorgnette.errors import ModelError
from lorgnette.progress import progress
from lorgnette.storage import Storage, refusals
from lorgnette.training.statistics import feature_statistics

if TYPE_CHECKING:
    from lorgnette.model import Model

EDGE = 16
"""Edge in pixels of the small pictures that stand for images where there is no model."""
PIECE = 1024
"""Items in memory at once."""
DIMENSIONS = 128
"""Dimensions of an embedding, at most."""
WIDEST = 1024
"""Wider vectors are projected at random to so many dimensions before components are taken."""

Floats = NDArray[np.float32]


def hidden_pieces(model: Model, dataset: Dataset, rows: NDArray[np.int64]) -> Iterator[Floats]:
    """What the last hidden layer of a network makes of some items, up to 1,024 at a time.

    Args:
        model: trained on items of the dataset's kind.
        dataset: where the items are.
        rows: which of them, (n,).

    Yields:
        (m, D), in the order of `rows`: the input of the network's last dense layer.

    Raises:
        DatasetError: the dataset's items are not what the model takes.
        ModelError: the model is an ensemble.
    """
    import torch

    if model.spec.is_ensemble:
        raise ModelError(
            "Items are compared by the last hidden layer of one network, and an ensemble has "
            "several: name one of its members (they are in its ensemble.json)."
        )

    from lorgnette.evaluation.evaluate import predict_items

    caught: list[Floats] = []
    last = [m for m in model.network.modules() if isinstance(m, torch.nn.Linear)][-1]
    hook = last.register_forward_pre_hook(
        lambda _, inputs: caught.append(inputs[0].detach().float().cpu().numpy())
    )
    try:
        predict_items(model, dataset, rows[:1])  # refuses items of another kind
        caught.clear()
        size = None if dataset.is_vectors else model.spec.size
        with progress("Looking through the network", len(rows), dataset.things) as meter:
            for start in range(0, len(rows), PIECE):
                model.probabilities(dataset.read(rows[start : start + PIECE], size))
                piece = np.concatenate(caught)
                caught.clear()
                yield piece
                meter.advance(len(piece))
    finally:
        hook.remove()


def to_vectors(pixels: NDArray[Any]) -> Floats:
    """Items as vectors: (n, F) as they are; uint8 (n, H, W, C) by areas as (n, 16 · 16 · C)."""
    if pixels.ndim == 2:
        return np.asarray(pixels, np.float32)
    down, across = _areas(pixels.shape[1]), _areas(pixels.shape[2])
    small = np.einsum("as,nstc,bt->nabc", down, pixels.astype(np.float32), across, optimize=True)
    return np.asarray(small.reshape(len(pixels), -1), np.float32)


def _areas(size: int) -> Floats:
    """(16, size): how much of each of `size` pixels is in each of 16 equal stretches."""
    edges = np.linspace(0, size, EDGE + 1)
    place = np.arange(size)
    inside = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
    return np.asarray(inside.clip(0) * EDGE / size, np.float32)


def small_size(dataset: Dataset) -> int | None:
    """The prepared size that small pictures are made from; None for vectors."""
    if dataset.is_vectors:
        return None
    sizes = dataset.info.prepare.size
    return min((size for size in sizes if size >= EDGE), default=max(sizes))


def _plain_pieces(dataset: Dataset) -> Iterator[Floats]:
    """Every item without a model: its features, the mean where one is missing; a small picture."""
    size = small_size(dataset)
    fill: Floats | None = None
    if dataset.is_vectors and dataset.info.prepare.missing == "mean":
        fill = np.array(feature_statistics(dataset, np.arange(len(dataset)))[0], np.float32)
    with progress("Looking", len(dataset), dataset.things) as meter:
        for index in range(len(dataset.info.shards)):
            items = dataset.shard(index, size)
            for start in range(0, len(items), PIECE):
                piece = to_vectors(np.asarray(items[start : start + PIECE]))
                yield piece if fill is None else np.where(np.isnan(piece), fill, piece)
                meter.advance(len(piece))


def embed(
    model: Model | None,
    dataset: Dataset,
    storage: Storage,
    name: str = "embeddings.npy",
    *,
    seed: int = 0,
) -> NDArray[np.float16]:
    """Write the embedding of every usable item, whole or not at all; what was there is replaced.

    Each dimension is standardised first, so that none counts more by its unit and the cosine of two
    items says how alike they are; of more than 128 dimensions the first 128 principal components of
    all items are kept, by the eigenvectors of the covariance, which is gathered in one pass.
    Vectors of more than 1,024 dimensions are projected to 1,024 at random before (Li, Hastie &
    Church, "Very Sparse Random Projections", KDD 2006): distances stay within some percent.

    Args:
        model: its last hidden layer is what counts; None: vectors as they are, and images as
            pictures of 16 × 16 pixels.
        dataset: the items.
        storage: where to write.
        name: the file.
        seed: of the random projection.

    Returns:
        float16 (N, D), D up to 128, in the dataset's order, mapped from the file where it is local.

    Raises:
        DatasetError: the dataset's items are not what the model takes.
    """
    rows = np.arange(len(dataset))
    pieces = _plain_pieces(dataset) if model is None else hidden_pieces(model, dataset, rows)
    with contextlib.ExitStack() as stack:
        if storage.is_local:
            folder = storage.resolve("")
            with refusals(folder):
                Path(folder).mkdir(parents=True, exist_ok=True)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        scratch = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        raw, moments = _gather(pieces, len(dataset), seed, scratch)
        projection = moments.components()
        if storage.is_local:
            with storage.writing(name) as path:
                _write(path, raw, moments.mean, projection)
        else:
            path = str(Path(folder, "embeddings.npy"))
            _write(path, raw, moments.mean, projection)
            storage.write(name, Path(path).read_bytes())
    found: NDArray[np.float16] = read_array(storage, name)
    return found


class _Moments:
    """Count, mean and scatter matrix of vectors of D dimensions, over any number of pieces.

    Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", 1979.
    """

    def __init__(self, dimensions: int) -> None:
        self.n = 0
        self.mean = np.zeros(dimensions)
        self.scatter = np.zeros((dimensions, dimensions))

    def add(self, piece: Floats) -> None:
        """Count a piece (n, D) in."""
        x = piece.astype(np.float64)
        mean = x.mean(axis=0)
        step, n = mean - self.mean, self.n + len(x)
        centred = x - mean
        self.scatter += centred.T @ centred + np.outer(step, step) * (self.n * len(x) / n)
        self.mean += step * (len(x) / n)
        self.n = n

    def components(self) -> NDArray[np.float64]:
        """What centred vectors are multiplied by, (D, up to 128): scale, then direction."""
        from scipy.linalg import eigh

        deviation = np.sqrt(np.diag(self.scatter) / max(self.n, 1))
        flat = deviation <= 1e-6 * np.maximum(np.abs(self.mean), 1e-6)
        scale = np.where(flat, 0, 1 / np.where(flat, 1, deviation))
        D = len(scale)
        if D <= DIMENSIONS:
            return np.diag(scale)
        matrix = self.scatter * np.outer(scale, scale)
        _, directions = eigh(matrix, subset_by_index=[D - DIMENSIONS, D - 1])
        directions = directions[:, ::-1]
        # A direction may point either way: its largest entry is made positive, so that it is one.
        largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
        return np.asarray(scale[:, None] * directions * np.where(largest < 0, -1.0, 1.0))


def _gather(
    pieces: Iterator[Floats], n: int, seed: int, scratch: Any
) -> tuple[NDArray[np.float32], _Moments]:
    """All vectors in a file that has no name, float32 (N, D) with D up to 1,024; their moments."""
    raw: NDArray[np.float32] | None = None
    moments = _Moments(0)
    reduce: Any = None
    done = 0
    for piece in pieces:
        if raw is None:
            reduce = _reducer(piece, seed)
            width = min(piece.shape[1], WIDEST)
            raw, moments = np.memmap(scratch, np.float32, "w+", shape=(n, width)), _Moments(width)
        piece = piece if reduce is None else np.asarray(reduce.transform(piece), np.float32)
        raw[done : done + len(piece)] = piece
        moments.add(piece)
        done += len(piece)
    return (np.empty((0, 1), np.float32), _Moments(1)) if raw is None else (raw, moments)


def _reducer(piece: Floats, seed: int) -> Any:
    """The random projection of vectors wider than 1,024; None for others."""
    if piece.shape[1] <= WIDEST:
        return None
    from sklearn.random_projection import SparseRandomProjection

    reducer = SparseRandomProjection(WIDEST, dense_output=True, random_state=seed)
    return reducer.fit(piece[:1])


def _write(
    path: str, raw: NDArray[np.float32], mean: NDArray[np.float64], projection: NDArray[np.float64]
) -> None:
    shape = (len(raw), projection.shape[1])
    if not len(raw):
        with open(path, "wb") as file:
            np.save(file, np.empty(shape, np.float16))
        return
    out = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    for start in range(0, len(raw), PIECE):
        piece = slice(start, start + PIECE)
        out[piece] = ((raw[piece] - mean) @ projection).clip(-6e4, 6e4)
    out.flush()
