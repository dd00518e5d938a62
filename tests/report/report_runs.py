"""Finished runs on generated pictures, for the tests of the report."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lorgnette.config import Config, PrepareConfig, SourceConfig
from lorgnette.dataset.split import PARTS, Split
from lorgnette.dataset.store import (
    ROW,
    STATUSES,
    Dataset,
    DatasetInfo,
    ShardInfo,
    write_array,
    write_rows,
)
from lorgnette.evaluation.metrics import evaluate
from lorgnette.predictions import Predictions
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.storage import Storage

EVIL = "<script>alert('x')</script>"
"""A name that must never reach the page as it is."""


def row(id_: str, **values: Any) -> dict[str, Any]:
    """One row of a dataset, usable unless told otherwise."""
    nothing: dict[str, Any] = dict.fromkeys(ROW.names)
    usable = {"status": "ok", "width": 40, "height": 30, "bytes": 1000, "sha256": "0", "phash": 0}
    return {**nothing, **usable, "id": id_, "path": id_, **values}


def finished_run(
    root: Path,
    classes: Sequence[str] = ("cats", "dogs"),
    *,
    each: int = 10,
    wrong: int = 3,
    rejected: Sequence[dict[str, Any]] = (),
    unlabelled: int = 0,
    groups: int = 0,
    absent: str | None = None,
    channels: int = 3,
    config: Config | None = None,
) -> Path:
    """A run whose test part has `each` images of each class and the first `wrong` answers wrong.

    Args:
        root: the directory to make.
        classes: their names.
        each: images of each class in each part.
        wrong: mistakes on validation and on test.
        rejected: rows that are not usable.
        unlabelled: usable images without a label.
        groups: the number of groups in each part; 0 for none.
        absent: a class that no test image has.
        channels: 1 or 3.
        config: the settings.
    """
    generator = np.random.default_rng(0)
    rows, parts = [], []
    for part, name in enumerate(PARTS):
        for k, label in enumerate(classes):
            for n in range(0 if (name, label) == ("test", absent) else each):
                group = f"{name}-{(k + n) % groups}" if groups else None
                rows.append(row(f"{name}/{k}/{n}.png", label=label, group=group))
                parts.append(part)
    for n in range(unlabelled):
        rows.append(row(f"unknown/{n}.png"))
        parts.append(-1)
    pixels = generator.integers(0, 256, (len(rows), 16, 16, channels), np.uint8)
    storage = Storage.at(root / "dataset")
    write_array(storage, "shards/00000.npy", pixels)
    every = [*rejected, *rows]
    write_rows(storage, "shards/00000.parquet", pa.Table.from_pylist(every, schema=ROW), {})
    counts = Counter(entry["status"] for entry in every)
    info = DatasetInfo(
        format=1,
        version="0.1.0",
        source=SourceConfig(location="/somewhere/pets", kind="folder"),
        images="/somewhere/pets",
        prepare=PrepareConfig(size=(16,), color="rgb" if channels == 3 else "gray"),
        classes=tuple(classes),
        counts={status: counts.get(status, 0) for status in STATUSES},
        labels=Counter(entry["label"] for entry in rows if entry["label"] is not None),
        unlabelled=unlabelled,
        conflicts=sum(" labelled " in (entry["error"] or "") for entry in rejected),
        channels=channels,
        mean=(127.0,) * channels,
        deviation=(70.0,) * channels,
        shards=(ShardInfo(name="00000", items=len(rows), rows=len(every)),),
        source_digest="0",
    )
    storage.write("dataset.json", info.model_dump_json().encode())
    _fill(Run(root), Dataset.load(str(root / "dataset")), np.array(parts), wrong, config)
    return root


def _fill(
    run: Run, dataset: Dataset, parts: np.ndarray[Any, Any], wrong: int, config: Config | None
) -> None:
    """Write what training and evaluation leave."""
    run.begin(config or load(), str(dataset.location))
    split = Split(parts.astype(np.int8))
    split.save(run.storage, "split.parquet", dataset)
    classes = dataset.info.classes
    labels, groups = dataset.labels(), dataset.groups()
    ids = dataset.rows(["id"])["id"].to_numpy()
    figures = {}
    for name, part in (("validation", "val"), ("test", "test")):
        places = split.indices(part)
        sure = np.linspace(0.6, 0.95, len(places))
        p = np.repeat((1 - sure[:, None]) / (len(classes) - 1), len(classes), axis=1)
        answers = labels[places].copy()
        answers[:wrong] = (answers[:wrong] + 1) % len(classes)
        p[np.arange(len(places)), answers] = sure
        predictions = Predictions(
            ids[places],
            p.astype(np.float32),
            classes,
            labels[places],
            None if groups is None else groups[places],
        )
        predictions.save(run.storage, f"predictions/{name}.parquet")
        figures[name] = evaluate(
            predictions.probabilities, labels[places], classes, groups=predictions.groups
        )
    run.write("evaluation.json", figures)
    epochs = [
        {
            "epoch": n,
            "train_loss": 1 / n,
            "train_accuracy": 1 - 0.5 / n,
            "val_loss": 1.2 / n,
            "val_accuracy": 1 - 0.6 / n,
            "lr": 0.001,
            "seconds": 1.0,
            "images_per_second": 900.0,
        }
        for n in (1, 2, 3, 4)
    ]
    lines = "".join(json.dumps(epoch) + "\n" for epoch in epochs)
    run.storage.write("metrics.jsonl", lines.encode())
    run.note(
        timings={"prepare": 2.0, "split": 0.1, "train": 61.0, "evaluate": 0.5},
        training={
            "parameters": 12345,
            "epochs": 4,
            "best_epoch": 3,
            "stopped": "all 4 epochs",
            "device": "cpu",
            "precision": "float32",
            "images": int((parts == 0).sum()),
            "normalization": {},
        },
    )
