"""Copies and near-duplicates that contradict each other, or that stand in several parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.report.audit_facts import Cluster, Clusters, Copy
from lorgnette.report.decided import Decided
from lorgnette.report.items import Items
from lorgnette.storage import Storage

NAME = "duplicates.parquet"
KINDS = ("exact", "hash", "embedding")
"""From the closest tie to the loosest."""
SHOWN, COPIES = 12, 4
"""Clusters that are shown, and copies of each."""


def collect_clusters(storage: Storage, items: Items, decided: Decided) -> tuple[Clusters, Clusters]:
    """The clusters with several labels, and those in several parts; the closest ties first."""
    try:
        with storage.open(NAME) as file:
            table = pq.read_table(file).combine_chunks()
    except FileNotFoundError:
        none = Clusters(total=0, settled=0, shown=[])
        return none, none
    found = [
        _clusters(table.filter(pc.fill_null(table[flag], False)), items, decided)
        for flag in ("conflict", "straddles")
    ]
    return found[0], found[1]


def _clusters(table: pa.Table, items: Items, decided: Decided) -> Clusters:
    if not len(table):
        return Clusters(total=0, settled=0, shown=[])
    names, codes = np.unique(table["cluster"].to_numpy(), return_inverse=True)
    sizes = np.bincount(codes)
    kinds = np.zeros(len(names), np.int64)
    ranks = np.asarray(pc.fill_null(pc.index_in(table["kind"], pa.array(KINDS)), 2), np.int64)
    np.maximum.at(kinds, codes, ranks)
    settled = _settled(table, codes, len(names), items, decided)
    # What is not settled comes first, and of equal ties the smallest cluster: it fits on the page.
    order = np.lexsort((names, sizes, kinds, settled))[:SHOWN]
    shown = [
        _cluster(table.filter(pa.array(codes == place)), KINDS[kinds[place]],
                 bool(settled[place]), items, decided)
        for place in order.tolist()
    ]  # fmt: skip
    return Clusters(total=len(names), settled=int(settled.sum()), shown=shown)


def _settled(
    table: pa.Table, codes: NDArray[np.int64], count: int, items: Items, decided: Decided
) -> NDArray[np.bool_]:
    """Which clusters somebody decided about, and whose usable copies carry one label now."""
    places = items.find(table["id"])
    labels = np.where(places >= 0, items.dataset.labels()[places], -1)
    highest = np.full(count, -1)
    lowest = np.full(count, np.iinfo(np.int32).max)
    there = labels >= 0
    np.maximum.at(highest, codes[there], labels[there])
    np.minimum.at(lowest, codes[there], labels[there])
    touched = np.zeros(count, bool)
    ids = pa.array(list(decided.standings), pa.string())
    np.logical_or.at(touched, codes, np.asarray(pc.is_in(table["id"], value_set=ids), bool))
    agree: NDArray[np.bool_] = touched & (highest <= lowest)
    return agree


def _cluster(table: pa.Table, kind: str, settled: bool, items: Items, decided: Decided) -> Cluster:
    """One cluster, copies of every label and part among those that are shown."""
    rows = table.to_pylist() if len(table) <= 1000 else table.slice(0, 1000).to_pylist()
    kept: dict[tuple[str | None, str | None], list[int]] = {}
    for place, row in enumerate(rows):
        kept.setdefault((row["given"], row["part"]), []).append(place)
    chosen: list[int] = []
    while len(chosen) < min(COPIES, len(rows)):
        for rest in kept.values():
            if rest and len(chosen) < COPIES:
                chosen.append(rest.pop(0))
    rows = [rows[place] for place in sorted(chosen)]
    places = items.find([row["id"] for row in rows])
    # An exact copy that was not kept has no pixels of its own; those of the first are the same.
    firsts = items.find([row["of"] for row in rows])
    exact = np.array([row["kind"] == "exact" for row in rows])
    pictures = items.pictures(np.where((places < 0) & exact, firsts, places))
    copies = []
    for row, source in zip(rows, pictures, strict=True):
        verdict = decided.standings.get(row["id"])
        copies.append(
            Copy(
                id=row["id"],
                source=source,
                given=row["given"],
                now=verdict.label if verdict else row["given"],
                part=row["part"],
                distance=row["distance"],
            )
        )
    return Cluster(kind=kind, size=len(table), settled=settled, copies=copies)
