"""Audits as `lorgnette audit` leaves them, made up for the tests of the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lorgnette.dataset.ledger import Ledger, Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.evaluation.metrics import evaluate
from lorgnette.predictions import Predictions
from lorgnette.report.items import Items
from lorgnette.rundir import Run

SCHEMA: Any = pa.schema(
    [
        ("id", pa.string()),
        ("given", pa.string()),
        ("proposed", pa.string()),
        ("suspicion", pa.float32()),
        ("confidence", pa.float32()),
        ("undecidable", pa.float32()),
        ("outlier", pa.float32()),
        ("cluster", pa.int64()),
        ("kind", pa.string()),
        ("part", pa.string()),
    ]
)
COPIES: Any = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.int64()),
        ("kind", pa.string()),
        ("of", pa.string()),
        ("distance", pa.float32()),
        ("given", pa.string()),
        ("part", pa.string()),
        ("conflict", pa.bool_()),
        ("straddles", pa.bool_()),
    ]
)


def audit_of(
    dataset: Dataset,
    suspicion: np.ndarray[Any, Any],
    *,
    proposed: np.ndarray[Any, Any] | None = None,
    kinds: dict[int, str] | None = None,
    confidence: np.ndarray[Any, Any] | None = None,
    undecidable: dict[int, float] | None = None,
    outlier: dict[int, float] | None = None,
    copies: list[dict[str, Any]] | None = None,
    calibration: list[dict[str, Any]] | None = None,
    applied: list[dict[str, Any]] | None = None,
    root: Path | None = None,
    **changes: Any,
) -> Path:
    """An audit's directory, beside the dataset if no root is given.

    Args:
        dataset: what is audited.
        suspicion: (N,) of each usable item; that of unlabelled ones does not matter.
        proposed: int (N,), codes of the likely true class; from suspicion if not given: the given
            class up to 0.5, else the next one.
        kinds: by place, the main finding where it is not "label" (suspicion of 0.5 and more),
            "unlabelled" (without a label) or "none".
        confidence: (N,) of the proposed class.
        undecidable: by place, where it is not 0.
        outlier: likewise.
        copies: rows of `duplicates.parquet`; what is left out is null or false.
        calibration: as in `audit.json`.
        applied: likewise.
        root: the directory to make.
        changes: whatever else is to stand in `audit.json`.
    """
    root = root or Path(dataset.location) / "audit"
    root.mkdir(parents=True, exist_ok=True)
    labels, classes = dataset.labels("given"), [*dataset.info.classes, None]
    n, k = len(dataset), len(dataset.info.classes)
    if proposed is None:
        proposed = np.where((suspicion >= 0.5) | (labels < 0), (labels + 1) % k, labels)
    if confidence is None:
        confidence = np.maximum(suspicion, 1 - suspicion)
    parts = dataset.rows(["split"])["split"].to_pylist()
    rows = []
    for place, id_ in enumerate(dataset.rows(["id"])["id"].to_pylist()):
        known = labels[place] >= 0
        kind = "unlabelled" if not known else "label" if suspicion[place] >= 0.5 else "none"
        rows.append(
            {
                "id": id_,
                "given": classes[labels[place]],
                "proposed": classes[proposed[place]],
                "suspicion": float(suspicion[place]) if known else None,
                "confidence": float(confidence[place]),
                "undecidable": (undecidable or {}).get(place, 0.0),
                "outlier": (outlier or {}).get(place, 0.0),
                "kind": (kinds or {}).get(place, kind),
                "part": parts[place],
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), root / "suspicion.parquet")
    blank: dict[str, Any] = {**dict.fromkeys(COPIES.names), "conflict": False, "straddles": False}
    copies = [{**blank, **row} for row in copies or []]
    pq.write_table(pa.Table.from_pylist(copies, COPIES), root / "duplicates.parquet")
    (root / "audit.json").write_text(
        json.dumps(
            record(dataset, suspicion, proposed, copies, calibration, applied or [], n) | changes
        )
    )
    return root


def record(
    dataset: Dataset,
    suspicion: np.ndarray[Any, Any],
    proposed: np.ndarray[Any, Any],
    copies: list[dict[str, Any]],
    calibration: list[dict[str, Any]] | None,
    applied: list[dict[str, Any]],
    n: int,
) -> dict[str, Any]:
    """What `audit.json` holds: the noise matrix is the sum of suspicions, to the proposed class."""
    labels, classes = dataset.labels("given"), dataset.info.classes
    joint = np.zeros((len(classes), len(classes)))
    for label, other, wrong in zip(labels, proposed, suspicion, strict=True):
        if label >= 0:
            other = other if other != label else (label + 1) % len(classes)
            joint[label, other] += wrong
            joint[label, label] += 1 - wrong
    counts = joint.sum(axis=1)
    shares = 1 - np.diag(joint) / np.maximum(counts, 1)
    rate = float(1 - np.trace(joint) / joint.sum())
    return {
        "format": 1,
        "dataset": dataset.location,
        "classes": list(classes),
        "items": n,
        "labelled": int((labels >= 0).sum()),
        "unlabelled": int((labels < 0).sum()),
        "held_out": 0,
        "seed": 0,
        "rounds": [
            {"round": 1, "folds": 5, "seeds": 2, "seconds": 41.0, "agreement": 0.88, "changed": 31},
            {"round": 2, "folds": 5, "seeds": 2, "seconds": 44.5, "agreement": 0.9, "changed": 0},
        ],
        "noise": {
            "rate": {"value": rate, "low": max(rate - 0.02, 0), "high": rate + 0.03},
            "method": "counts of out-of-sample answers above each class's mean confidence",
            "joint": joint.tolist(),
            "by_class": [
                {
                    "class": name,
                    "n": int(count),
                    "rate": {
                        "value": float(share),
                        "low": max(float(share) - 0.03, 0),
                        "high": min(float(share) + 0.04, 1),
                    },
                }
                for name, count, share in zip(classes, counts.round(), shares, strict=True)
            ],
            "cleanlab": {"rate": max(rate - 0.04, 0)},
        },
        "found": {"label": int((suspicion[labels >= 0] >= 0.5).sum())},
        "duplicates": {
            "clusters": len({row["cluster"] for row in copies}),
            "items": len(copies),
            "conflicts": len({row["cluster"] for row in copies if row["conflict"]}),
            "straddling": len({row["cluster"] for row in copies if row["straddles"]}),
        },
        "calibration": calibration or [],
        "applied": applied,
        "seconds": {"out of fold": 85.5, "embeddings": 3.2, "duplicates": 0.4, "suspicion": 0.1},
    }


def decide(
    dataset: Dataset,
    ids: list[str],
    action: str,
    to: str | None = None,
    *,
    by: str = "person",
    who: str = "Ada",
    reason: str = "",
) -> None:
    """Write the same decision about several items into the ledger."""
    Ledger(dataset).append(
        [Wanted(id=id_, action=action, to=to, reason=reason, who=who, by=by) for id_ in ids]
    )


def answered(
    root: Path, answers: np.ndarray[Any, Any], labels: dict[str, np.ndarray[Any, Any]], tested: str
) -> None:
    """Let a finished run have given these answers on its test part, against some kinds of labels.

    Args:
        root: the run.
        answers: int (n,), codes, in the order of its `predictions/test.parquet`.
        labels: int (n,) of given, decided and confirmed labels, -1 for none.
        tested: the kind that is written as "test".
    """
    run = Run(root)
    old = Predictions.load(run.storage, "predictions/test.parquet")
    k = len(old.classes)
    p = np.full((len(old), k), 0.1 / (k - 1), np.float32)
    p[np.arange(len(old)), answers] = 0.9
    new = Predictions(old.ids, p, old.classes, labels[tested], old.groups)
    new.save(run.storage, "predictions/test.parquet")
    found = run.read("evaluation.json")
    told = {"decisions": run.dataset().ledger.digest()}
    for kind, codes in labels.items():
        there = codes >= 0
        groups = None if old.groups is None else old.groups[there]
        if there.any():
            facts = evaluate(p[there], codes[there], old.classes, groups=groups)
            found[f"test_{kind}"] = {**facts, **told, "labels": kind}
    found["test"] = found[f"test_{tested}"]
    run.write("evaluation.json", found)


def draw(dataset: Dataset, ids: list[str]) -> None:
    """Write the yardstick: ids that were drawn at random from the test part."""
    facts = {"format": 1, "seed": 0, "part": "test", "n": len(ids), "ids": ids}
    dataset.storage.write("yardstick.json", json.dumps(facts).encode())


def audited_run(
    root: Path,
    before: np.ndarray[Any, Any],
    after: np.ndarray[Any, Any],
    *,
    confirmed: int = 0,
    audit: Path | None = None,
) -> None:
    """Make of a finished run one on decided labels, with a run on the given ones in it.

    Args:
        root: the run; what was decided about its dataset must stand in the ledger.
        before: the answers of the training on given labels; int (n,), as in `answered`.
        after: those of the training on decided labels.
        confirmed: so many test items, the first ones, are the yardstick.
        audit: noted in `run.json`.
    """
    run = Run(root)
    dataset = run.dataset()
    ids = Predictions.load(run.storage, "predictions/test.parquet").ids
    places = Items(dataset).find(ids.tolist())
    draw(dataset, ids[:confirmed].tolist())
    labels = {"given": dataset.labels("given")[places], "decided": dataset.labels()[places]}
    standings = Ledger(dataset).standings()
    settled = [
        place < confirmed and (one := standings.get(id_)) is not None and one.by == "person"
        for place, id_ in enumerate(ids.tolist())
    ]
    labels["confirmed"] = np.where(settled, labels["decided"], -1)
    first = root / "before"
    if not first.exists():
        names = ["config.toml", "run.json", "evaluation.json", "split.parquet", "predictions"]
        first.mkdir()
        for name in names:
            source = root / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, first / name)
        Run(first).note(dataset=str(Path(dataset.location)))
    answered(first, before, labels, "given")
    answered(root, after, labels, "decided")
    if audit is not None:
        run.note(audit=str(audit))
