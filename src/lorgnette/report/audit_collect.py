"""From the directory of an audit to its facts.

The tables are read as columns, and only what is shown becomes Python objects: a million items take
some ten numbers each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette import __version__
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError
from lorgnette.report import audit_clusters, audit_facts
from lorgnette.report.decided import Decided, decided
from lorgnette.report.items import Items, title
from lorgnette.report.measures import Measure
from lorgnette.storage import Storage

FACTS, TABLE = "audit.json", "suspicion.parquet"
COLUMNS = (
    "given", "proposed", "suspicion", "confidence", "undecidable", "outlier", "kind", "part",
)  # fmt: skip
NUMBERS = ("suspicion", "confidence", "undecidable", "outlier")
THRESHOLDS = (0.5, 0.9, 0.95, 0.99)
SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Of the wrong labels: what it takes to find so many."""
BINS = 40
PAIRS, SUSPICIOUS, EACH = 12, 72, 24
"""Kinds of suspicious labels that are shown, their pictures in all, and of one kind at most."""
OTHERS = 12
"""Pictures of undecidable items, of outliers and of unlabelled ones each."""
CHANGED = 24
CURVE = 240
"""Points of the ranking's curve."""

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


class Table:
    """`suspicion.parquet` as columns; the i-th row is the i-th usable item.

    Attributes:
        items: the dataset's items.
        given: int (N,), codes into the classes, -1 for none; `proposed` likewise.
        suspicion: (N,), NaN where there is none; the other numbers likewise.
        decided: what was decided, with which every shown item is marked.
    """

    def __init__(self, storage: Storage, dataset: Dataset, decided: Decided) -> None:
        self.items, self.decided = Items(dataset), decided
        self.classes = list(dataset.info.classes)
        self.rows = _read(storage, TABLE, ("id", *COLUMNS))
        self._check(storage, dataset)
        names = pa.array(self.classes, pa.string())
        self.given, self.proposed = (
            np.asarray(pc.fill_null(pc.index_in(self.rows[name], names), -1), np.int64)
            for name in ("given", "proposed")
        )
        self.suspicion, self.confidence, self.undecidable, self.outlier = (
            np.asarray(pc.fill_null(pc.cast(self.rows[name], pa.float64()), np.nan))
            for name in NUMBERS
        )
        self.standing = np.zeros(len(self.rows), bool)
        places = self.items.find(list(decided.standings))
        self.standing[places[places >= 0]] = True

    def _check(self, storage: Storage, dataset: Dataset) -> None:
        same = len(self.rows) == len(dataset) and self.rows["id"].equals(self.items.rows["id"])
        if not same:
            raise DatasetError(
                f"The audit in {storage.root} must be of the items in {dataset.location}, and its "
                f"{len(self.rows):,} are not the {len(dataset):,} that are there: audit the "
                "dataset again."
            )

    @property
    def labelled(self) -> Places:
        """The places of the items with a suspicion, the most suspicious first."""
        there = np.flatnonzero(np.isfinite(self.suspicion))
        return there[np.argsort(-self.suspicion[there], kind="stable")]

    def of_kind(self, kind: str) -> Places:
        """The places of the items whose main finding is of a kind."""
        return np.flatnonzero(np.asarray(pc.fill_null(pc.equal(self.rows["kind"], kind), False)))

    def findings(self, places: Places) -> list[audit_facts.Finding]:
        """Some items with all that is known of them."""
        rows = self.rows.take(pa.array(places)).to_pylist()
        pictures = self.items.pictures(places)
        return [
            audit_facts.Finding(
                id=row["id"],
                source=source,
                given=row["given"],
                proposed=row["proposed"],
                part=row["part"],
                verdict=self.decided.verdict(row["id"]),
                **{name: row[name] for name in NUMBERS},
            )
            for row, source in zip(rows, pictures, strict=True)
        ]

    def found(self, places: Places, most: int) -> audit_facts.Found:
        """A kind of finding: how many there are, and the first of them."""
        return audit_facts.Found(total=len(places), shown=self.findings(places[:most]))


def read_audit(storage: Storage) -> dict[str, Any]:
    """What `audit.json` holds.

    Raises:
        DatasetError: there is no audit, or it is damaged.
    """
    try:
        found = json.loads(storage.read(FACTS))
    except FileNotFoundError as error:
        raise DatasetError(
            f"There is no audit in {storage.root} (no {FACTS}): make one with `lorgnette audit "
            "DATASET`."
        ) from error
    except ValueError as error:
        raise _damaged(storage, FACTS) from error
    return cast(dict[str, Any], found)


def noise(record: Mapping[str, Any]) -> audit_facts.Noise:
    """The estimate of the noise in `audit.json`."""
    estimate = dict(record["noise"])
    estimate.setdefault("method", "")
    rates = [{**one, "rate": {**one["rate"], "n": one["n"]}} for one in estimate["by_class"]]
    other = (estimate.pop("cleanlab", None) or {}).get("rate")
    n = int(record["labelled"])
    return audit_facts.Noise.model_validate(
        {
            **estimate,
            "rate": {**estimate["rate"], "n": n},
            "by_class": rates,
            "cleanlab": None if other is None else Measure(value=other, n=n),
        }
    )


def collect_audit(audit_dir: str, dataset: Dataset) -> audit_facts.Audit:
    """Read everything that the report of an audit says.

    Args:
        audit_dir: the directory that `lorgnette audit` left.
        dataset: what was audited.

    Raises:
        DatasetError: there is no audit, it is damaged, or it is of another dataset.
    """
    storage = Storage.at(audit_dir)
    record = read_audit(storage)
    table = Table(storage, dataset, decided(dataset, record.get("applied") or ()))
    clusters = audit_clusters.collect_clusters(storage, table.items, table.decided)
    pairs, rare = _pairs(table)
    undecidable, outliers, unlabelled = (table.of_kind(k) for k in _ORDERS)
    return audit_facts.Audit(
        title=title(dataset),
        version=__version__,
        location=dataset.location,
        audit=storage.root,
        kind=dataset.things if dataset.is_vectors else "images",
        classes=table.classes,
        items=int(record["items"]),
        labelled=int(record["labelled"]),
        unlabelled=int(record["unlabelled"]),
        seed=record.get("seed"),
        noise=noise(record),
        found=record.get("found") or {},
        duplicates=record.get("duplicates") or {},
        histogram=_histogram(table),
        thresholds=_thresholds(table),
        ranking=_ranking(table),
        pairs=pairs,
        rare=rare,
        undecidable=table.found(_down(undecidable, table.undecidable), OTHERS),
        outliers=table.found(_down(outliers, table.outlier), OTHERS),
        unlabelled_found=table.found(_down(unlabelled, table.confidence), OTHERS),
        conflicts=clusters[0],
        straddling=clusters[1],
        calibration=[
            audit_facts.CalibrationBin.model_validate(one)
            for one in record.get("calibration") or ()
            if one["n"]
        ],
        decisions=table.decided.facts,
        changed=changed(table, CHANGED),
        left=_left(table, dataset),
        rounds=[audit_facts.Round.model_validate(one) for one in record.get("rounds") or ()],
        seconds=record.get("seconds") or {},
    )


_ORDERS = ("undecidable", "outlier", "unlabelled")


def changed(table: Table, most: int) -> audit_facts.Found:
    """Items whose label was changed, first those that a rule was least sure about.

    Changes by persons come after all others: what one has looked at needs no second look as much.
    """
    ids = table.decided.changed
    places = table.items.find(ids)
    persons = np.array([table.decided.standings[id_].by == "person" for id_ in ids], bool)
    sure = np.where(places >= 0, table.suspicion[places], np.inf)
    order = np.lexsort((np.nan_to_num(sure, nan=0.0), persons))
    places = places[order]
    return table.found(places[places >= 0], most)


def bare(items: Items, standing: Decided, most: int) -> audit_facts.Found:
    """Items whose label was changed, by rules first, where no audit knows more of them."""
    standings = standing.standings
    places = items.find(sorted(standing.changed, key=lambda id_: standings[id_].by == "person"))
    places = places[places >= 0]
    shown = places[:most]
    ids, pictures = items.column("id", shown), items.pictures(shown)
    nothing = dict.fromkeys(("proposed", "part", *NUMBERS))
    return audit_facts.Found(
        total=len(places),
        shown=[
            audit_facts.Finding.model_validate(
                {
                    **nothing,
                    "id": id_,
                    "source": source,
                    "given": standings[id_].given,
                    "verdict": standing.verdict(id_),
                }
            )
            for id_, source in zip(ids, pictures, strict=True)
        ],
    )


def _pairs(table: Table) -> tuple[list[audit_facts.PairFound], int]:
    """The most suspicious labels, by given and proposed class, and how many kinds are not shown."""
    order = table.labelled
    order = order[(table.proposed[order] >= 0) & (table.proposed[order] != table.given[order])]
    likely = order[table.suspicion[order] >= THRESHOLDS[0]]
    # Where none is more likely wrong than right, the most suspicious are shown all the same.
    chosen = likely if len(likely) else order[:OTHERS]
    classes = len(table.classes)
    codes = table.given[chosen] * classes + table.proposed[chosen]
    kinds, counts = np.unique(codes, return_counts=True)
    kinds, counts = kinds[np.argsort(-counts, kind="stable")], np.sort(counts)[::-1]
    each = int(np.clip(SUSPICIOUS // max(min(len(kinds), PAIRS), 1), 4, EACH))
    found = []
    for code, count in zip(kinds[:PAIRS].tolist(), counts.tolist(), strict=False):
        given, proposed = divmod(code, classes)
        found.append(
            audit_facts.PairFound(
                total=count,
                shown=table.findings(chosen[codes == code][:each]),
                given=table.classes[given],
                proposed=table.classes[proposed],
            )
        )
    return found, max(0, len(kinds) - PAIRS)


def _histogram(table: Table) -> audit_facts.Histogram:
    values = table.suspicion[np.isfinite(table.suspicion)]
    counts, edges = np.histogram(values.clip(0, 1), BINS, (0, 1))
    return audit_facts.Histogram(edges=edges.tolist(), counts=counts.tolist())


def _thresholds(table: Table) -> list[audit_facts.Threshold]:
    found = []
    for at in THRESHOLDS:
        # float32 on disk: 0.95 is stored as 0.949999988, and is meant to be at the threshold.
        above = np.flatnonzero(np.nan_to_num(table.suspicion, nan=-1.0) >= at - 1e-6)
        found.append(
            audit_facts.Threshold(
                at=at,
                items=len(above),
                expected=float(table.suspicion[above].sum()),
                open=int((~table.standing[above]).sum()),
            )
        )
    return found


def _ranking(table: Table) -> audit_facts.Ranking:
    order = table.labelled
    gained = np.cumsum(table.suspicion[order])
    n, total = len(order), float(gained[-1]) if len(order) else 0.0
    targets = []
    for share in SHARES if total else ():
        looked = min(int(np.searchsorted(gained, share * total - 1e-9)) + 1, n)
        targets.append(
            audit_facts.Target(
                share=share,
                looked=looked,
                found=float(gained[looked - 1]),
                last=float(table.suspicion[order[looked - 1]]),
            )
        )
    # Even steps and even ratios: the curve bends among the first, and is long after them.
    places = np.unique(
        np.concatenate(
            [np.linspace(1, max(n, 1), CURVE // 2), np.geomspace(1, max(n, 1), CURVE // 2)]
        ).round()
    ).astype(int)
    places = places[places <= n]
    return audit_facts.Ranking(
        looked=[0, *places.tolist()],
        found=[0.0, *gained[places - 1].tolist()],
        total=total,
        targets=targets,
    )


def _left(table: Table, dataset: Dataset) -> audit_facts.Left:
    """What is expected to be wrong with the labels in force.

    An undecided label is wrong with the probability of its suspicion; one that a rule has put in
    its place is wrong where the proposed class is; one that a person or an import has settled
    counts as right, and what has no label any more cannot be wrong.
    """
    wrong = np.nan_to_num(table.suspicion, nan=0.0)
    standings = table.decided.standings
    places = table.items.find(list(standings))
    by_rule = 0.0
    for place, one in zip(places.tolist(), standings.values(), strict=True):
        if place < 0:
            continue
        if one.label is None or one.by != "rule":
            wrong[place] = 0.0
        elif one.label != one.given:
            proposed = table.proposed[place]
            likely = proposed >= 0 and one.label == table.classes[proposed]
            sure = table.confidence[place]
            wrong[place] = 1 - sure if likely else sure
        by_rule += float(np.nan_to_num(wrong[place])) if one.by == "rule" else 0.0
    in_force = int((dataset.labels() >= 0).sum())
    order = table.labelled
    undecided = order[~table.standing[order]]
    expected = float(np.nansum(wrong))
    return audit_facts.Left(
        before=float(np.nansum(table.suspicion)),
        expected=expected,
        by_rule=by_rule,
        labelled=in_force,
        rate=expected / in_force if in_force else None,
        open=int((table.suspicion[undecided] >= THRESHOLDS[0]).sum()),
        hundred=float(table.suspicion[undecided[:100]].sum()),
    )


def _down(places: Places, by: Floats) -> Places:
    """Places by falling value, what has none last."""
    return places[np.argsort(-np.nan_to_num(by[places], nan=-1.0), kind="stable")]


def _read(storage: Storage, name: str, columns: Sequence[str]) -> pa.Table:
    try:
        with storage.open(name) as file:
            return pq.read_table(file, columns=list(columns)).combine_chunks()
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise _damaged(storage, name) from error


def _damaged(storage: Storage, name: str) -> DatasetError:
    return DatasetError(
        f"{storage.locate(name)} is missing or damaged: run the `lorgnette audit` that made it "
        "again."
    )
