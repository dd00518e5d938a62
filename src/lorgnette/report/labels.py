"""From a run to the facts of its section on labels: what was decided, and what that changed.

Figures against given, decided and confirmed labels are three different things, and are never put
into one: each has its own name, its own n and its own row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.dataset import yardstick
from lorgnette.dataset.split import PARTS, Split
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError, ModelError
from lorgnette.evaluation import intervals, paired
from lorgnette.predictions import Predictions
from lorgnette.report import audit_collect
from lorgnette.report.audit_facts import Found
from lorgnette.report.decided import Decided, decided
from lorgnette.report.items import Items
from lorgnette.report.labels_facts import (
    KINDS,
    Against,
    AuditBrief,
    Kind,
    Labels,
    PartChanges,
    Yardstick,
)
from lorgnette.report.measures import Evaluation, Measure
from lorgnette.rundir import Run
from lorgnette.storage import Storage

BEFORE = "before"
"""The directory in a run that holds the same training on the labels as given."""
CHANGED = 24
"""Changed labels of which the page shows pictures."""

Codes = NDArray[np.int64]


def collect_labels(
    run: Run, items: Items, split: Split, evaluations: Mapping[str, Any]
) -> Labels | None:
    """What a run's report says of labels; None where nothing was decided and no audit was made.

    Args:
        run: a finished one.
        items: of its dataset.
        split: how they were divided.
        evaluations: what `evaluation.json` holds.
    """
    dataset = items.dataset
    audit_dir = run.read("run.json").get("audit")
    storage = Storage.at(run.locate(audit_dir)) if audit_dir else None
    record = _record(storage)
    standing = decided(dataset, (record or {}).get("applied") or ())
    if not standing.facts.lines and record is None:
        return None
    against, apart = _before(run, dataset, standing, run.config.evaluate.confidence)
    return Labels(
        learnt=run.config.train.labels,
        tested=_tested(evaluations),
        decisions=standing.facts,
        parts=_parts(items, split, standing),
        yardsticks=_yardsticks(evaluations),
        audit=None
        if record is None or storage is None
        else AuditBrief(
            path=storage.root,
            noise=audit_collect.noise(record),
            found=record.get("found") or {},
        ),
        changed=_changed(storage if record else None, items, standing),
        against=against,
        before_apart=apart,
        stale=_test(evaluations).get("decisions", "") != dataset.ledger.digest(),
    )


def _record(storage: Storage | None) -> dict[str, Any] | None:
    """What the audit beside a run found; None where there is none any more."""
    if storage is None:
        return None
    try:
        return audit_collect.read_audit(storage)
    except DatasetError:
        return None


def _test(evaluations: Mapping[str, Any]) -> dict[str, Any]:
    return evaluations.get("test") or {}


def _tested(evaluations: Mapping[str, Any]) -> Any:
    return _test(evaluations).get("labels", "given")


def _yardsticks(evaluations: Mapping[str, Any]) -> list[Yardstick]:
    """The test figures against each kind of labels, under their names."""
    found = []
    for kind in KINDS:
        facts = evaluations.get(f"test_{kind}")
        if facts is None and _tested(evaluations) == kind:
            facts = evaluations.get("test")
        if facts and facts["n"]:
            drawn = facts.get("yardstick") or {}
            found.append(
                Yardstick(
                    kind=kind,
                    evaluation=Evaluation.model_validate(facts),
                    drawn=drawn.get("items"),
                    settled=drawn.get("settled"),
                )
            )
    return found


def _parts(items: Items, split: Split, standing: Decided) -> list[PartChanges]:
    """How many labels were changed in each part, and by whom."""
    # What a decision took out of a part counts where it was.
    parts = split.parts if split.divided is None else split.divided
    ids = standing.changed
    places = items.find(ids)
    there = np.where(places >= 0, parts[places], -1)
    one = [standing.standings[id_] for id_ in ids]
    gone = np.array([s.label is None for s in one], bool)
    ruled = np.array([s.by != "person" for s in one], bool)
    return [
        PartChanges(
            name=name,
            items=int((parts == code).sum()),
            changed=int(((there == code) & ~gone).sum()),
            unlabelled=int(((there == code) & gone).sum()),
            by_rule=int(((there == code) & ruled).sum()),
        )
        for code, name in enumerate(PARTS)
    ]


def _changed(storage: Storage | None, items: Items, standing: Decided) -> Found:
    """Changed labels with pictures; how suspicious they were only an audit's table knows."""
    if storage is not None:
        try:
            table = audit_collect.Table(storage, items.dataset, standing)
        except DatasetError:
            pass  # an audit of what the dataset was before: its items are not these
        else:
            return audit_collect.changed(table, CHANGED)
    return audit_collect.bare(items, standing, CHANGED)


def _before(
    run: Run, dataset: Dataset, standing: Decided, confidence: float
) -> tuple[list[Against], str]:
    """The same test items before and after, against each kind of labels; or why that is not."""
    if not (run.root / BEFORE / "config.toml").is_file():
        return [], ""
    try:
        before = Run.load(run.root / BEFORE)
        tests = [Predictions.load(one.storage, "predictions/test.parquet") for one in (before, run)]
    except ModelError as error:
        return [], str(error)
    if set(tests[0].classes) != set(tests[1].classes):
        return [], "The training before tells other classes apart than the one after."
    ids, first, second = np.intersect1d(
        tests[0].ids.astype(str), tests[1].ids.astype(str), return_indices=True
    )
    if not len(ids):
        return [], "The training before was tested on other items than the one after."
    items = Items(dataset)
    places = items.find(ids.tolist())
    names = np.array([*dataset.info.classes, ""])
    answers = [
        np.array(test.classes)[test.predicted[rows]]
        for test, rows in zip(tests, (first, second), strict=True)
    ]
    groups = tests[1].groups
    groups = None if groups is None else groups[second]
    labels = {
        "given": names[dataset.labels("given")[places]],
        "decided": names[dataset.labels()[places]],
    }
    labels["confirmed"] = np.where(_confirmed(dataset, standing, ids), labels["decided"], "")
    left_out = len(tests[0]) + len(tests[1]) - 2 * len(ids)
    found = [
        _against(kind, labels[kind], answers, groups, left_out, confidence)
        for kind in KINDS
        if (labels[kind] != "").any()
    ]
    return found, ""


def _confirmed(dataset: Dataset, standing: Decided, ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Which items a person has settled, among those that were drawn at random for it."""
    drawn = yardstick.load(dataset)
    if drawn is None:
        return np.zeros(len(ids), bool)
    settled = {
        id_
        for id_ in drawn.ids
        if (one := standing.standings.get(id_)) and one.by == "person" and one.label is not None
    }
    return np.array([id_ in settled for id_ in ids.tolist()], bool)


def _against(
    kind: Kind,
    labels: NDArray[Any],
    answers: list[NDArray[Any]],
    groups: NDArray[np.int64] | None,
    left_out: int,
    confidence: float,
) -> Against:
    there = labels != ""
    groups = None if groups is None else groups[there]
    before, after = (answer[there] == labels[there] for answer in answers)
    found = paired.compare(after, before, groups, confidence)
    return Against(
        kind=kind,
        n=found.n,
        left_out=left_out,
        before=_share(before, groups, confidence),
        after=_share(after, groups, confidence),
        gained=found.first,
        lost=found.second,
        difference=found.difference,
        low=found.low,
        high=found.high,
        p=found.p,
        groups=found.groups,
    )


def _share(
    right: NDArray[np.bool_], groups: NDArray[np.int64] | None, confidence: float
) -> Measure:
    """The accuracy with its interval, as `evaluation.metrics` makes it."""
    n, value = len(right), float(right.mean())
    effective = n / intervals.design_effect(right, groups, confidence)
    low, high = intervals.wilson(value, effective, confidence)
    return Measure(value=value, low=low, high=high, n=n)
