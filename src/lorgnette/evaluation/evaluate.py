"""Judge a trained model: on the parts of its own dataset, or on other data.

Every figure is against one kind of labels and says which under `labels`: `given` by the source,
`decided` (in force after all decisions), or `confirmed` (settled by a person, in the yardstick).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.config import EvaluateConfig
from lorgnette.dataset import yardstick
from lorgnette.dataset.history import BY
from lorgnette.dataset.ledger import difference
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError
from lorgnette.evaluation import metrics
from lorgnette.model import Model
from lorgnette.predictions import Predictions
from lorgnette.progress import progress, say
from lorgnette.rundir import DECISIONS, Run

BATCH_ITEMS = 1024
PARTS = {"validation": "val", "test": "test"}
"""The parts that are judged, by their names in figures, and their names in a split."""


def predict_items(
    model: Model,
    dataset: Dataset,
    rows: NDArray[np.int64],
    labels: NDArray[np.int32] | None = None,
) -> Predictions:
    """What a model thinks of some items of a dataset.

    Args:
        model: trained on images of the dataset's kind.
        dataset: where the pixels are.
        rows: places among the usable items, (n,).
        labels: of all usable items, codes into the dataset's classes, (N,); those in force if not
            given.

    Raises:
        DatasetError: the dataset's images are not of the size, colour and fit that the model takes.
    """
    _check_kind(model, dataset)
    labels = _labels(model.spec.classes, dataset, labels)
    probabilities = [np.empty((0, len(model.spec.classes)), np.float32)]
    with progress("Predicting", len(rows), dataset.things) as meter:
        for start in range(0, len(rows), BATCH_ITEMS):
            pixels = dataset.read(rows[start : start + BATCH_ITEMS], model.spec.size)
            probabilities.append(model.probabilities(pixels))
            meter.advance(len(pixels))
    groups = dataset.groups()
    return Predictions(
        ids=dataset.rows(["id"])["id"].take(rows).to_numpy(),
        probabilities=np.concatenate(probabilities),
        classes=model.spec.classes,
        labels=labels[rows],
        groups=None if groups is None else groups[rows],
    )


def evaluate(model: Model, dataset: Dataset, split: Split, run: Run) -> dict[str, Any]:
    """Judge a run's model on validation and test, and keep predictions and figures in the run.

    What is in the run already is not computed again: the test part is read once. The predictions of
    the test part hold the items that decisions took out of it too, for the other yardsticks.

    Returns:
        The facts of `evaluation.json`: `{"validation": {...}, "test": {...}}`, each as
        `lorgnette.evaluation.metrics.evaluate` gives them, with `labels`: the kind that the run was
        told to learn. Where something was decided, also those of `yardsticks`.
    """
    found = run.read("evaluation.json")
    if set(found) >= set(PARTS):
        remark(dataset, found)
        return found
    settings, which = run.config.evaluate, run.config.train.labels
    fold, given = dataset.ledger.fold(), dataset.labels("given")
    labels = fold.labels if which == "decided" else given
    noted = run.read("run.json").get(DECISIONS, "")
    if run.is_trained and noted != difference(given, labels):
        say(f"Decisions on {dataset.location} have changed since the model was trained.")
    told: dict[str, Any] = {"labels": "given"}
    if fold.decided.any():
        told = {"labels": which, "decisions": dataset.ledger.digest()}
    for name, part in PARTS.items():
        rows = split.members(part) if name == "test" else split.indices(part)
        predictions = predict_items(model, dataset, rows, labels)
        predictions.save(run.storage, f"predictions/{name}.parquet")
        found[name] = {**judge(predictions, settings), **told}
    if fold.decided.any():
        found |= yardsticks(predictions, dataset, settings)
    run.write("evaluation.json", found)
    return found


def yardsticks(
    predictions: Predictions, dataset: Dataset, settings: EvaluateConfig
) -> dict[str, Any]:
    """The same predictions of a test part against each kind of labels, as they are now.

    An item that was dropped or that nobody can decide counts in `test_given` alone.

    Args:
        predictions: of all members of the test part.
        dataset: with its decisions and, if one was drawn, its yardstick.
        settings: of the intervals.

    Returns:
        `test_given`, `test_decided`, and `test_confirmed` where a person has settled items of the
        yardstick: figures with `labels`, `decisions` (a digest), and for the last `yardstick`: of
        its `items` in this test part how many are `settled`, and `left_out` by that.
    """
    ledger = dataset.ledger
    fold, digest = ledger.fold(), ledger.digest()
    places = ledger.places(predictions.ids.tolist())

    def against(name: str, labels: NDArray[np.int32], rows: NDArray[np.bool_]) -> dict[str, Any]:
        codes = _labels(predictions.classes, dataset, labels)[places[rows]]
        groups = None if predictions.groups is None else predictions.groups[rows]
        chosen = Predictions(
            predictions.ids[rows],
            predictions.probabilities[rows],
            predictions.classes,
            codes,
            groups,
        )
        return {**judge(chosen, settings), "labels": name, "decisions": digest}

    there = places >= 0
    found = {
        "test_given": against("given", dataset.labels("given"), there),
        "test_decided": against("decided", fold.labels, there),
    }
    drawn = yardstick.load(dataset)
    if drawn is not None:
        inside = there & np.isin(predictions.ids, np.array(drawn.ids, object))
        settled = inside & (fold.by[places] == BY.index("person"))
        labelled = settled & (fold.labels[places] >= 0)
        if labelled.any():
            facts = against("confirmed", fold.labels, labelled)
            counts = (int(each.sum()) for each in (inside, settled, settled & ~labelled))
            facts["yardstick"] = dict(zip(("items", "settled", "left_out"), counts, strict=True))
            found["test_confirmed"] = facts
    return found


def remark(dataset: Dataset, found: dict[str, Any]) -> None:
    """Say so where something was decided after a run was judged."""
    if found["test"].get("decisions", "") != dataset.ledger.digest():
        say(
            f"Decisions on {dataset.location} have changed since this run was judged: its figures "
            "are those of before (train into another --out, or with --overwrite, to learn them)."
        )


def evaluate_on(model: Model, dataset: Dataset, run: Run) -> dict[str, Any]:
    """Judge a run's model on the labelled items of another dataset.

    Files that the run used for training or for a choice would flatter the model: copies of them are
    left out and counted under `seen`.

    Raises:
        DatasetError: there is no labelled item that the run has not seen, or a label that the model
            does not know.
    """
    labelled = dataset.labels() >= 0
    fresh = labelled & ~_seen(dataset, run)
    if not fresh.any():
        why = "has one" if not labelled.any() else "is new to the model (all were in its training)"
        raise DatasetError(
            f"Figures need labelled images that the run has not seen, and none of the "
            f"{len(dataset):,} of {dataset.location} {why}: use `lorgnette predict` for unlabelled "
            "images, or `lorgnette evaluate RUN` for the run's own test part."
        )
    found = judge(predict_items(model, dataset, np.flatnonzero(fresh)), run.config.evaluate)
    kind = "decided" if dataset.ledger.fold().decided.any() else "given"
    return {**found, "labels": kind, "seen": int((labelled & ~fresh).sum())}


def judge(predictions: Predictions, settings: EvaluateConfig) -> dict[str, Any]:
    """The figures of labelled predictions; see `lorgnette.evaluation.metrics.evaluate`."""
    assert predictions.labels is not None
    facts: dict[str, Any] = metrics.evaluate(
        predictions.probabilities,
        predictions.labels,
        predictions.classes,
        groups=predictions.groups,
        confidence=settings.confidence,
    )
    return facts


def _seen(dataset: Dataset, run: Run) -> NDArray[np.bool_]:
    """Which usable items are copies of files in the training or validation part of a run, (N,)."""
    own = run.dataset()
    with run.storage.open("split.parquet") as file:
        parts = pq.read_table(file, columns=["id", "split"])
    learnt = parts["id"].filter(pc.is_in(parts["split"], value_set=pa.array(["train", "val"])))
    rows = own.rows(["id", "sha256"])
    used = rows["sha256"].filter(pc.is_in(rows["id"], value_set=learnt.combine_chunks()))
    found = pc.is_in(dataset.rows(["sha256"])["sha256"], value_set=used.combine_chunks())
    return np.asarray(found, bool)


def _labels(
    classes: tuple[str, ...], dataset: Dataset, labels: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """Labels of the dataset, those in force if none are given, as codes into a model's classes."""
    unknown = sorted(set(dataset.info.classes) - set(classes))
    if unknown:
        raise DatasetError(
            f"The dataset {dataset.location} has the label '{unknown[0]}' and the model knows only "
            f"{', '.join(classes)}: give data with the same classes."
        )
    codes = np.array([classes.index(name) for name in dataset.info.classes] + [-1])
    return codes[dataset.labels() if labels is None else labels].astype(np.int32)


def _check_kind(model: Model, dataset: Dataset) -> None:
    """Refuse images of another kind than the model was trained on."""
    spec, prepared = model.spec, dataset.info.prepare
    if spec.features != dataset.info.features:
        takes = f"vectors of {len(spec.features)} features" if spec.features else "images"
        has = f"vectors of {len(dataset.info.features)}" if dataset.is_vectors else "images"
        raise DatasetError(
            f"The model takes {takes} and {dataset.location} has {has}, or others: prepare the "
            "source with the features that the model was trained on (see its model.json)."
        )
    if spec.features:
        return
    wanted = {"size": spec.size, "color": spec.color, "fit": spec.fit}
    there = {"size": spec.size if spec.size in prepared.size else prepared.size[0],
             "color": prepared.color, "fit": prepared.fit}  # fmt: skip
    for name, value in wanted.items():
        if there[name] != value:
            raise DatasetError(
                f"The model takes images of {name} {value} and {dataset.location} was prepared "
                f"with {name} {there[name]}: prepare the source with --{name} {value}."
            )
