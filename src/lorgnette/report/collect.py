"""From a run directory and its dataset to the facts of a report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from lorgnette.config import Augment, Config, LabelChoice
from lorgnette.dataset.split import PARTS, Split
from lorgnette.dataset.store import STATUSES, Dataset
from lorgnette.errors import ModelError
from lorgnette.predictions import Predictions
from lorgnette.report import facts
from lorgnette.report.items import Items, title
from lorgnette.report.labels import collect_labels
from lorgnette.report.pictures import thumbnail
from lorgnette.rundir import Run
from lorgnette.storage import Storage

SAMPLES = 120
"""Sample pictures in all; each class gets its share, but at least three and at most twelve."""
SAMPLE_CLASSES = 50
"""Classes of which samples are shown."""
AUGMENTED, CHANGES = 4, 5
"""Pictures that augmentation is shown on, and changes of each."""
REASONS = 20
EXAMPLES = 3
HISTOGRAM_BINS = 25


def collect(run: Path | str) -> facts.Facts:
    """Read everything that the report of a run says.

    Args:
        run: the run directory.

    Raises:
        ModelError: it is not a finished run.
        DatasetError: its dataset is gone or damaged.
    """
    opened = Run.load(run)
    record = opened.read("run.json")
    evaluations = opened.read("evaluation.json")
    if not evaluations or "training" not in record:
        raise ModelError(
            f"A report needs a finished run, and the one in {run} is not evaluated yet: start the "
            "same `lorgnette run` again and it continues."
        )
    environment = opened.read("environment.json")
    predictions = Predictions.load(opened.storage, "predictions/test.parquet")
    dataset = opened.dataset()
    config = opened.config
    items = _Items(dataset, opened.storage, config.train.labels)
    classes = list(dataset.info.classes)
    return facts.Facts(
        title=title(dataset),
        created=environment.get("started", ""),
        version=environment.get("lorgnette", ""),
        classes=classes,
        reading=_reading(dataset),
        split=items.split(),
        samples=_samples(items),
        augmentations=_augmentations(items, config),
        epochs=[facts.Epoch.model_validate(epoch) for epoch in opened.metrics()],
        training=facts.Training.model_validate(record["training"]),
        validation=_evaluation(evaluations.get("validation")),
        test=_evaluation(evaluations.get("test")),
        histogram=_histogram(predictions),
        mistakes=_mistakes(predictions, items, config.evaluate.mistakes),
        timings=record.get("timings", {}),
        settings=_flat(config.model_dump(mode="json")),
        environment=environment,
        labels=collect_labels(opened, items, items.divided, evaluations),
    )


def _evaluation(data: dict[str, Any] | None) -> facts.Evaluation | None:
    return None if data is None else facts.Evaluation.model_validate(data)


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `section.key` and text."""
    flat: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return flat


class _Items(Items):
    """The usable items of a dataset with their parts: what pictures and counts are found by."""

    def __init__(self, dataset: Dataset, run: Storage, which: LabelChoice = "decided") -> None:
        super().__init__(dataset, ["id", "path", "group", "split"])
        self.labels = dataset.labels(which)
        self.groups = dataset.groups()
        self.divided = Split.load(run, "split.parquet", dataset)
        self.parts = self.divided.parts

    def split(self) -> facts.Split:
        """How the items were divided."""
        classes = len(self.dataset.info.classes)
        parts = []
        for code, name in enumerate(PARTS):
            inside = self.parts == code
            labels = self.labels[inside & (self.labels >= 0)]
            groups = None if self.groups is None else len(np.unique(self.groups[inside]))
            parts.append(
                facts.Part(
                    name=name,
                    items=int(inside.sum()),
                    labels=np.bincount(labels, minlength=classes).tolist(),
                    groups=groups,
                )
            )
        given = self.rows["split"].null_count < len(self.rows)
        return facts.Split(parts=parts, given=given, unused=int((self.parts < 0).sum()))


def _reading(dataset: Dataset) -> facts.Reading:
    info = dataset.info
    usable = dataset.rows(["width", "height", "bytes"])
    reasons, conflicts = _reasons(dataset)
    return facts.Reading(
        location=info.source.location or info.images,
        kind=info.source.kind,
        counts={status: info.counts.get(status, 0) for status in STATUSES},
        unlabelled=info.unlabelled,
        excluded=info.excluded,
        reasons=reasons,
        conflicts=info.conflicts,
        conflict_examples=conflicts,
        bytes=pc.sum(usable["bytes"]).as_py() or 0,
        widths=_spread(usable["width"]),
        heights=_spread(usable["height"]),
        features=len(info.features),
        sizes=info.prepare.size,
        color=info.prepare.color,
        fit=info.prepare.fit,
    )


def _spread(column: Any) -> tuple[int, int, int] | None:
    values = column.drop_null().to_numpy()
    if not len(values):
        return None
    return int(values.min()), int(np.median(values)), int(values.max())


def _reasons(dataset: Dataset) -> tuple[list[facts.Reason], list[facts.Conflict]]:
    """The rejected rows by reason, and some of the copies that are labelled otherwise."""
    found: dict[tuple[str, str], list[Any]] = {}
    conflicts: list[facts.Conflict] = []
    for status in STATUSES[1:]:
        if not dataset.info.counts.get(status):
            continue  # no need to read a million rows to find none
        for table in dataset.tables(["path", "error"], status):
            for row in table.to_pylist():
                reason = row["error"] or ""
                differs = status == "duplicate" and " labelled " in reason
                if differs and len(conflicts) < REASONS:
                    conflicts.append(facts.Conflict(path=row["path"], reason=reason))
                key = (status, _kind(status, reason, differs))
                entry = found.setdefault(key, [0, reason if status != "duplicate" else key[1], []])
                entry[0] += 1
                if len(entry[2]) < EXAMPLES:
                    entry[2].append(row["path"])
    ordered = sorted(found.items(), key=lambda pair: (-pair[1][0], pair[0]))
    reasons = [
        facts.Reason(status=key[0], reason=reason, count=count, examples=examples)
        for key, (count, reason, examples) in ordered
    ]
    return reasons, conflicts


def _kind(status: str, reason: str, differs: bool) -> str:
    """What reasons have in common: the sentence without its numbers and names."""
    if status == "duplicate":
        if differs:
            return "An exact copy of another image, with another label."
        return "An exact copy of another image, which was kept."
    return re.sub(r"\d[\d,.]*|'[^']*'|\"[^\"]*\"|\S*/\S+", "…", reason)


def _samples(items: _Items) -> list[facts.Samples]:
    """Training images of each class, spread evenly over the dataset."""
    if items.dataset.is_vectors:
        return []
    classes = items.dataset.info.classes[:SAMPLE_CLASSES]
    each = min(12, max(3, SAMPLES // len(classes)))
    samples = []
    for code, name in enumerate(classes):
        members = np.flatnonzero((items.parts == 0) & (items.labels == code))
        step = max(1.0, len(members) / each)
        chosen = members[np.arange(0, len(members), step).astype(int)][:each]
        ids = items.column("id", chosen)
        pictures = [
            facts.Picture(id=id_, source=source)
            for id_, source in zip(ids, items.pictures(chosen), strict=True)
        ]
        samples.append(facts.Samples(name=name, pictures=pictures))
    return samples


def _augmentations(items: _Items, config: Config) -> list[facts.Augmented]:
    """Training images from all over the set, each with random changes as training makes them."""
    if config.train.augment == Augment() or items.dataset.is_vectors:
        return []
    import torch

    from lorgnette.training.augment import augment

    members = np.flatnonzero(items.parts == 0)
    chosen = members[np.linspace(0, len(members) - 1, AUGMENTED + 2).astype(int)[1:-1]]
    pixels = items.dataset.read(chosen)
    images = torch.from_numpy(pixels.repeat(CHANGES, axis=0)).permute(0, 3, 1, 2).float()
    changed = augment(images, config.train.augment, torch.Generator().manual_seed(config.seed))
    shown = changed.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [
        facts.Augmented(
            original=thumbnail(original),
            changed=[thumbnail(picture) for picture in shown[n * CHANGES : (n + 1) * CHANGES]],
        )
        for n, original in enumerate(pixels)
    ]


def _mistakes(predictions: Predictions, items: _Items, most: int) -> list[facts.Mistake]:
    """The wrong answers on test whose given label had the lowest probability."""
    labels = predictions.labels
    if labels is None or not len(predictions.probabilities):
        return []
    p = np.asarray(predictions.probabilities, dtype=float)
    answers = p.argmax(axis=1)
    rows = np.flatnonzero((labels >= 0) & (answers != labels))
    rows = rows[np.argsort(p[rows, labels[rows]], kind="stable")][:most]
    ids = [str(predictions.ids[row]) for row in rows]
    places = items.find(ids)
    paths, groups = items.column("path", places), items.column("group", places)
    return [
        facts.Mistake(
            id=id_,
            path=path,
            source=source,
            given=predictions.classes[labels[row]],
            answered=predictions.classes[answers[row]],
            given_probability=float(p[row, labels[row]]),
            answered_probability=float(p[row, answers[row]]),
            group=group,
        )
        for row, id_, path, group, source in zip(
            rows, ids, paths, groups, items.pictures(places), strict=True
        )
    ]


def _histogram(predictions: Predictions) -> facts.Histogram | None:
    """Of the positive class's probability, by given label; None with more than two classes."""
    labels = predictions.labels
    if labels is None or len(predictions.classes) != 2 or not (labels >= 0).any():
        return None
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    positive = np.asarray(predictions.probabilities, dtype=float)[:, 1].clip(0, 1)
    counts = {
        name: np.histogram(positive[labels == code], edges)[0].tolist()
        for code, name in enumerate(predictions.classes)
    }
    return facts.Histogram(edges=edges.tolist(), counts=counts)
