"""What an audit found, as columns in the dataset's order; or, without one, nothing but the items.

Everything here is an array or an Arrow column: a million items are a few dozen megabytes, and
there is no Python object per item.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.dataset.store import Dataset, read_array
from lorgnette.errors import DatasetError
from lorgnette.storage import Storage

KINDS = ("label", "conflict", "undecidable", "outlier", "unlabelled", "none")
"""What the main finding about an item can be."""

TABLE = "suspicion.parquet"
NEIGHBOURS = "neighbours.npy"
COLUMNS = ("suspicion", "confidence", "undecidable", "outlier")
BELIEVED = "believed"
SEED = 5
"""Of the random order in which items come without an audit."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of the N usable items of a dataset.

    Attributes:
        ids: Arrow strings.
        given: the label that the source gives, int32 codes into the classes, -1 for none.
        proposed: the most likely class likewise, -1 where the audit names none.
        suspicion: the calibrated probability that the given label is wrong, NaN where unlabelled.
        confidence: the probability of `proposed`.
        undecidable: 0 to 1.
        outlier: the share of items that are less odd.
        kinds: the main finding, int8 places in `KINDS`.
        cluster: int64, copies and near-duplicates have one number, -1 for none.
        neighbours: int32 (N, 2, 4), places of the nearest items with the same and with another
            given label, -1 for none; None where the audit left no such file.
        audited: whether there was an audit; the columns are empty (NaN, -1, `none`) if not.
        believed: the suspicion before what persons had settled was taken as known, which their
            verdicts are held against; None where the audit left no such column.
    """

    ids: Any
    given: NDArray[np.int32]
    proposed: NDArray[np.int32]
    suspicion: Floats
    confidence: Floats
    undecidable: Floats
    outlier: Floats
    kinds: NDArray[np.int8]
    cluster: NDArray[np.int64]
    neighbours: NDArray[np.int32] | None
    audited: bool
    believed: Floats | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.given)

    def id(self, place: int) -> str:
        """The id of an item."""
        text: str = self.ids[place].as_py()
        return text

    @cached_property
    def worth(self) -> Floats:
        """What a look at each item is worth, in wrong labels found; (N,).

        It is the suspicion; for the other kinds of finding, which are worth a look although the
        label may be the likeliest one, at least: a half for one of several labels in a cluster of
        copies, half of `undecidable` and of `outlier`, and a quarter for an item without a label.
        Without an audit it is a random number below 0, so that items come in random order.
        """
        if not self.audited:
            drawn = np.random.default_rng(SEED).random(len(self), np.float32)
            return (drawn - 1.0).astype(np.float32)
        least = np.zeros(len(self), np.float32)
        for name, value in (
            ("conflict", np.float32(0.5)),
            ("undecidable", 0.5 * np.nan_to_num(self.undecidable)),
            ("outlier", 0.5 * np.nan_to_num(self.outlier)),
            ("unlabelled", np.float32(0.25)),
        ):
            least = np.where(self.kinds == KINDS.index(name), value, least)
        return np.maximum(np.nan_to_num(self.suspicion), least).astype(np.float32)

    def copies(self, place: int, most: int) -> list[int]:
        """The other members of an item's cluster, at most so many."""
        number = self.cluster[place]
        if number < 0:
            return []
        members = np.flatnonzero(self.cluster == number)
        return [other for other in members[: most + 1].tolist() if other != place][:most]


def load(dataset: Dataset, audit: str | None = None) -> Findings:
    """Read what the audit of a dataset left.

    Args:
        dataset: whose.
        audit: where the audit is; default: the directory `audit` in the dataset's, if there is one.

    Raises:
        DatasetError: there is no audit where one was said to be, or it is of another dataset.
    """
    storage = Storage.at(audit or dataset.storage.locate("audit"))
    ids = dataset.rows(["id"])["id"].combine_chunks()
    given = dataset.labels("given")
    if not storage.exists(TABLE):
        if audit is not None:
            raise DatasetError(
                f"There is no finished audit in {storage.root} (no {TABLE}): make one with "
                f"`lorgnette audit {dataset.location}`, or leave --audit out."
            )
        return _bare(ids, given)
    try:
        with storage.open(TABLE) as file:
            table = pq.read_table(file)
        same = len(table) == len(ids) and table["id"].combine_chunks().equals(ids)
        columns = {name: _floats(table[name]) for name in COLUMNS}
        # Audits of before have no such column.
        believed = _floats(table[BELIEVED]) if BELIEVED in table.column_names else None
        classes = pa.array(dataset.info.classes, pa.string())
        coded = {
            "proposed": pc.fill_null(pc.index_in(table["proposed"], classes), -1),
            "kinds": pc.fill_null(pc.index_in(table["kind"], pa.array(KINDS)), len(KINDS) - 1),
            "cluster": pc.fill_null(table["cluster"], -1),
        }
        judged = np.asarray(pc.fill_null(pc.index_in(table["given"], classes), -1), np.int32)
    except (KeyError, pa.ArrowInvalid) as error:
        raise DatasetError(
            f"{storage.locate(TABLE)} is damaged or of another version ({error}): run "
            f"`lorgnette audit {dataset.location}` again."
        ) from error
    neighbours = _neighbours(dataset, storage)
    if not same or (neighbours is not None and len(neighbours) != len(ids)):
        raise DatasetError(
            f"The audit in {storage.root} is of other items than the dataset in "
            f"{dataset.location} has now: run `lorgnette audit {dataset.location}` again."
        )
    if not np.array_equal(judged, given):
        raise DatasetError(
            f"The audit in {storage.root} judges other labels than the source of "
            f"{dataset.location} gives now: run `lorgnette audit {dataset.location}` again."
        )
    return Findings(
        ids=ids,
        given=given,
        proposed=np.asarray(coded["proposed"], np.int32),
        kinds=np.asarray(coded["kinds"], np.int8),
        cluster=np.asarray(coded["cluster"], np.int64),
        neighbours=neighbours,
        audited=True,
        believed=believed,
        **columns,
    )


def _bare(ids: Any, given: NDArray[np.int32]) -> Findings:
    n = len(given)
    nothing = np.full(n, np.nan, np.float32)
    return Findings(
        ids=ids,
        given=given,
        proposed=np.full(n, -1, np.int32),
        suspicion=nothing,
        confidence=nothing,
        undecidable=nothing,
        outlier=nothing,
        kinds=np.full(n, len(KINDS) - 1, np.int8),
        cluster=np.full(n, -1, np.int64),
        neighbours=None,
        audited=False,
    )


def _neighbours(dataset: Dataset, storage: Storage) -> NDArray[np.int32] | None:
    """The places of neighbours, (N, 2, 4); None if the audit left none.

    Raises:
        DatasetError: the file is damaged.
    """
    if not storage.exists(NEIGHBOURS):
        return None
    try:
        found = read_array(storage, NEIGHBOURS)
    except (ValueError, EOFError):
        found = np.zeros(0)
    right = found.ndim == 3 and found.shape[1] == 2 and found.dtype.kind == "i"
    if not right or found.max(initial=-1) >= len(found):
        raise DatasetError(
            f"{storage.locate(NEIGHBOURS)} is damaged: run `lorgnette audit {dataset.location}` "
            "again, or remove the file to review without neighbours."
        )
    return found


def _floats(column: Any) -> Floats:
    return np.asarray(
        column.cast(pa.float32()).combine_chunks().fill_null(float("nan")), np.float32
    )
