"""The audit's table: one row per usable item, what is said of its label and how sure."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.dataset.split import PARTS
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError
from lorgnette.storage import Storage

NAME = "suspicion.parquet"
SCHEMA: Any = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("given", pa.string()),
        pa.field("proposed", pa.string()),
        pa.field("suspicion", pa.float32()),
        pa.field("believed", pa.float32()),
        pa.field("confidence", pa.float32()),
        pa.field("undecidable", pa.float32()),
        pa.field("outlier", pa.float32()),
        pa.field("cluster", pa.int64()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("part", pa.string()),
    ]
)
"""The columns of suspicion.parquet."""
KINDS = ("none", "undecidable", "outlier", "label", "conflict", "unlabelled")
"""The main finding of an item; where several apply, the last in this order."""
SUSPECT = 0.5
"""From this suspicion on a label is a finding."""
TORN = 0.8
"""From this score on an item counts as undecidable."""

Floats = NDArray[np.float64]


def undecidable(opinion: Floats) -> Floats:
    """How torn the networks are about each item, 0 to 1, (N,).

    1 - (p1 - p2) / (p1 + p2) with the two highest probabilities, whatever the label says.
    """
    top = np.sort(opinion, axis=1)[:, -2:]
    return np.asarray(1 - (top[:, 1] - top[:, 0]) / (top[:, 1] + top[:, 0]))


def settle_conflicts(
    posterior: Floats, given: NDArray[np.int32], clusters: list[NDArray[np.int64]]
) -> Floats:
    """The posterior of items that are copies of each other and labelled differently.

    Copies show one thing, so that one true class is behind all their labels: with m members, the
    product of their posteriors over the prior that they share (their geometric mean) remains
    P(class | all labels) in odds. The others stay.

    Args:
        posterior: P(true class | given label, item), (N, K).
        given: codes (N,), -1 for none.
        clusters: places of the members of each cluster with a conflict.
    """
    settled = posterior.copy()
    for members in clusters:
        logs = np.log(posterior[members] + 1e-9)
        labelled = max(int((given[members] >= 0).sum()), 1)
        joint = logs.sum(axis=0) / np.sqrt(labelled)
        joint = np.exp(joint - joint.max())
        settled[members] = joint / joint.sum()
    return settled


def table(
    dataset: Dataset,
    given: NDArray[np.int32],
    posterior: Floats,
    believed: Floats,
    opinion: Floats,
    outlier: NDArray[np.float32],
    odd: NDArray[np.bool_],
    cluster: NDArray[np.int64],
    conflict: NDArray[np.bool_],
    parts: NDArray[np.int8],
) -> pa.Table:
    """What `suspicion.parquet` holds.

    Args:
        dataset: the items, N of them.
        given: codes (N,), -1 for none.
        posterior: P(true class | given label, item), (N, K); known of what persons settled.
        believed: the same before their word; the column `believed` is the suspicion that there
            would be without it.
        opinion: P(class | item) whatever the label says, (N, K).
        outlier: (N,), the share of items that are less odd.
        odd: (N,), whether it is odd enough to look at.
        cluster: (N,), of copies, -1 for none.
        conflict: (N,), whether copies are labelled differently.
        parts: (N,), places in `PARTS`, -1 for none.
    """
    names = pa.array(dataset.info.classes, pa.string())
    best = posterior.argmax(axis=1)
    unlabelled = given < 0
    suspicion, before = (
        1 - each[np.arange(len(given)), np.maximum(given, 0)] for each in (posterior, believed)
    )
    torn = undecidable(opinion)
    kind = np.zeros(len(given), np.int8)
    for code, where in enumerate(
        (None, torn >= TORN, odd, ~unlabelled & (suspicion >= SUSPECT), conflict, unlabelled)
    ):
        if where is not None:
            kind[where] = code
    return pa.table(
        {
            "id": dataset.rows(["id"])["id"],
            "given": names.take(pa.array(given, mask=unlabelled)),
            "proposed": names.take(pa.array(best)),
            "suspicion": pa.array(suspicion.astype(np.float32), mask=unlabelled),
            "believed": pa.array(before.astype(np.float32), mask=unlabelled),
            "confidence": posterior.max(axis=1).astype(np.float32),
            "undecidable": torn.astype(np.float32),
            "outlier": outlier,
            "cluster": pa.array(cluster, mask=cluster < 0),
            "kind": pa.array(KINDS).take(pa.array(kind)),
            "part": pa.array(PARTS).take(pa.array(parts, mask=parts < 0)),
        },
        schema=SCHEMA,
    )


def load(out: Storage) -> pa.Table:
    """Read `suspicion.parquet` of an audit.

    Raises:
        DatasetError: there is none.
    """
    try:
        with out.open(NAME) as file:
            return pq.read_table(file)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise DatasetError(
            f"There is no finished audit in {out.root} ({type(error).__name__}): make one with "
            "`lorgnette audit DATASET`."
        ) from error


def calibration(found: pa.Table, judged: dict[str, bool]) -> list[dict[str, float | int | None]]:
    """How often labels of each suspicion were wrong, by what persons decided.

    It is the suspicion before their word that is asked: after it, it is their answer.

    Args:
        found: `suspicion.parquet`.
        judged: ids of labels that a person settled, and whether they were wrong.
    """
    edges = [0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0]
    values = found["believed"].to_numpy(zero_copy_only=False)
    ids = found["id"]
    seen = np.zeros(len(values), bool)
    wrong = np.zeros(len(values), bool)
    if judged:
        import pyarrow.compute as pc

        places = pc.index_in(pa.array(judged), value_set=ids.combine_chunks()).to_numpy(
            zero_copy_only=False
        )
        places = places[~np.isnan(places.astype(float))].astype(np.int64)
        answers = np.array([judged[ids[int(place)].as_py()] for place in places], bool)
        seen[places], wrong[places] = True, answers
    rows: list[dict[str, float | int | None]] = []
    for low, high in itertools.pairwise(edges):
        inside = (values >= low) & ((values < high) | (high == 1.0))
        looked = inside & seen
        rows.append(
            {
                "low": low,
                "high": high,
                "n": int(inside.sum()),
                "expected": float(values[inside].mean()) if inside.any() else None,
                "observed": float(wrong[looked].mean()) if looked.any() else None,
                "looked": int(looked.sum()),
            }
        )
    return rows
