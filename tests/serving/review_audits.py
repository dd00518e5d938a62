"""An audit directory as `lorgnette audit` leaves it, out of a known truth."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.dataset.store import Dataset, write_array
from lorgnette.storage import Storage

SHARPNESS = 1.6
"""Half the distance of the two normal distributions from which right and wrong labels are told."""


def suspicions(
    wrong: NDArray[np.bool_], rng: np.random.Generator, sharpness: float = SHARPNESS
) -> NDArray[np.float32]:
    """Calibrated suspicions of labels of which it is known whether they are wrong, (N,).

    A score is drawn from N(sharpness, 1) for wrong labels and N(-sharpness, 1) for right ones; the
    suspicion is the probability of being wrong given the score.
    """
    rate = min(max(float(wrong.mean()), 0.5 / len(wrong)), 0.5)
    scores = rng.standard_normal(len(wrong)) + np.where(wrong, sharpness, -sharpness)
    odds = np.exp(2 * sharpness * scores) * rate / (1 - rate)
    return (odds / (1 + odds)).astype(np.float32)


def write_audit(
    dataset: Dataset, truth: NDArray[np.int32], seed: int = 0, sharpness: float = SHARPNESS
) -> pa.Table:
    """Write DATASET/audit.

    The most suspicious labels become findings, the oddest two items outliers, one is undecidable,
    the first two wrong ones (if there are any) near-duplicates of a right one of their true class.

    Args:
        dataset: of images or vectors.
        truth: codes into its classes, (N,).
        seed: of what is drawn.
        sharpness: see `suspicions`.

    Returns:
        The table `suspicion.parquet`.
    """
    rng = np.random.default_rng(seed)
    given, classes = dataset.labels("given"), np.array(dataset.info.classes, object)
    n = len(given)
    wrong = (given >= 0) & (given != truth)
    suspicion = suspicions(wrong, rng, sharpness)
    likely = np.where(suspicion >= 0.5, np.where(wrong, truth, (given + 1) % len(classes)), given)
    likely = np.where(given < 0, truth, likely)
    kind = np.where(suspicion >= 0.5, "label", "none").astype(object)
    odd, unclear = rng.random(n).astype(np.float32), 0.3 * rng.random(n).astype(np.float32)
    plain = np.flatnonzero((suspicion < 0.5) & (given >= 0))
    odd[plain[:2]], kind[plain[:2]] = 0.999, "outlier"
    unclear[plain[2]], kind[plain[2]] = 0.9, "undecidable"
    kind[given < 0] = "unlabelled"
    cluster = np.full(n, -1, np.int64)
    for number, place in enumerate(np.flatnonzero(wrong)[:2]):
        alike = np.flatnonzero(~wrong & (given == truth[place]) & (cluster < 0))
        pair = [place, *alike[:1]]
        cluster[pair], kind[pair] = number, "conflict"
    table = pa.table(
        {
            "id": dataset.rows(["id"])["id"],
            "given": pa.array(classes[given], pa.string(), mask=given < 0),
            "proposed": pa.array(classes[likely], pa.string()),
            "suspicion": pa.array(suspicion, pa.float32(), mask=given < 0),
            "confidence": pa.array(np.maximum(suspicion, 1 - suspicion), pa.float32()),
            "undecidable": pa.array(unclear, pa.float32()),
            "outlier": pa.array(odd, pa.float32()),
            "cluster": pa.array(cluster, pa.int64(), mask=cluster < 0),
            "kind": pa.array(kind, pa.string()),
            "part": pa.array(["train"] * n, pa.string()),
        }
    )
    storage = Storage.at(dataset.storage.locate("audit"))
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    storage.write("suspicion.parquet", memoryview(buffer.getvalue()))
    write_array(storage, "neighbours.npy", _neighbours(dataset, given))
    facts = {"format": 1, "dataset": dataset.location, "classes": list(dataset.info.classes)}
    storage.write("audit.json", json.dumps(facts).encode())
    return table


def _neighbours(dataset: Dataset, given: NDArray[np.int32]) -> NDArray[np.int32]:
    """By the plain distance of pixels, all pairs: small datasets only."""
    n = len(dataset)
    items = dataset.read(np.arange(n)).reshape(n, -1).astype(np.float32)
    squares = (items**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * items @ items.T
    np.fill_diagonal(distance, np.inf)
    same = given[:, None] == given[None]
    found = np.full((n, 2, 4), -1, np.int32)
    for side, allowed in enumerate((same, ~same & (given >= 0))):
        masked = np.where(allowed, distance, np.inf)
        nearest = np.argsort(masked, axis=1)[:, :4]
        near = np.take_along_axis(masked, nearest, axis=1)
        found[:, side, : nearest.shape[1]] = np.where(np.isfinite(near), nearest, -1)
    return found
