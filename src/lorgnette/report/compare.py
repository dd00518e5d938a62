"""Several runs side by side: figures and intervals, settings, curves, and what they prove."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lorgnette import __version__
from lorgnette.errors import ConfigError, ModelError
from lorgnette.evaluation import paired
from lorgnette.evaluation.intervals import wilson
from lorgnette.predictions import Predictions
from lorgnette.progress import say
from lorgnette.report import collect, curves, sheet, words
from lorgnette.report.compare_facts import Apart, Comparison, Contender, Difference, Pair
from lorgnette.report.facts import Epoch, Evaluation, Measure, Roc, Training
from lorgnette.rundir import Run
from lorgnette.storage import Storage

PAGE = "compare.html"
PASSED_OVER = ("recipe", "engine.", "source.", "train.memory_gib", "train.checkpoint_minutes")
"""Settings that do not change what is learnt; where the data is from stands in the table."""


def compare(runs: Sequence[str], out: str | None = None) -> Comparison:
    """Set runs side by side, and leave a page.

    Args:
        runs: two or more finished runs.
        out: the page; `compare.html` in the current directory if not given.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        ModelError: one is not a finished run.
    """
    facts = examine(runs)
    path = Path(out or PAGE)
    storage = Storage.at(str(path.parent))
    storage.write(path.name, render(facts).encode("utf-8"))
    say(f"The page is {storage.locate(path.name)}.")
    return facts


def examine(runs: Sequence[str]) -> Comparison:
    """The facts alone; see `compare`."""
    opened = [Run.load(run) for run in runs]
    roots = [run.root.resolve() for run in opened]
    if len(set(roots)) < 2 or len(set(roots)) != len(roots):
        raise ConfigError(
            f"A comparison needs two or more different runs, got {words.listed(list(runs)) or 0}: "
            "name each run once."
        )
    names = _names(roots)
    contenders = [_contender(run, name) for run, name in zip(opened, names, strict=True)]
    tests = [Predictions.load(run.storage, "predictions/test.parquet") for run in opened]
    confidence = contenders[0].test.confidence
    pairs, apart = _pairs(names, tests, confidence)
    return Comparison(
        version=__version__,
        confidence=confidence,
        runs=contenders,
        differences=_differences(opened),
        pairs=pairs,
        apart=apart,
    )


def _names(roots: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as it takes to tell them apart."""
    for length in range(1, max(len(root.parts) for root in roots) + 1):
        names = ["/".join(root.parts[-length:]) for root in roots]
        if len(set(names)) == len(names):
            return names
    return [str(root) for root in roots]


def _contender(run: Run, name: str) -> Contender:
    record, evaluations = run.read("run.json"), run.read("evaluation.json")
    if "training" not in record or not {"validation", "test"} <= set(evaluations):
        raise ModelError(
            f"A comparison needs finished runs, and the one in {run.root} is not evaluated yet: "
            "start the same command again and it continues."
        )
    config, test = run.config, Evaluation.model_validate(evaluations["test"])
    training = Training.model_validate(record["training"])
    epochs = [Epoch.model_validate(epoch) for epoch in run.metrics()]
    accuracy, loss = _while_learning(training, epochs, test.confidence)
    seconds = record.get("timings", {}).get("train")
    recipe, family = config.recipe, str(config.model.family)
    if noted := record.get("ensemble"):  # the settings are those of its best member
        count = sum(weight > 0 for weight in noted["chosen"]["weights"])
        recipe = f"{noted['combine']} of {count}"
        family = family if noted["combine"] == "soup" else "ensemble"
    return Contender(
        name=name,
        path=str(run.root),
        recipe=recipe,
        family=family,
        data=config.source.location,
        training=training,
        epochs=epochs,
        seconds=seconds,
        train_accuracy=accuracy,
        train_loss=loss,
        validation=Evaluation.model_validate(evaluations["validation"]),
        test=test,
        roc=_roc(test),
    )


def _while_learning(
    training: Training, epochs: Sequence[Epoch], confidence: float
) -> tuple[Measure, Measure]:
    """Accuracy and loss on the training part in the kept epoch; nothing where they are unknown."""
    kept = training.best_epoch or training.epochs
    epoch = next((epoch for epoch in epochs if epoch.epoch == kept), None)
    n = training.images
    if epoch is None:
        return Measure(n=n), Measure(n=n)
    accuracy = Measure(value=epoch.train_accuracy, n=n)
    if epoch.train_accuracy is not None and n:
        low, high = wilson(epoch.train_accuracy, n, confidence)
        accuracy = Measure(value=epoch.train_accuracy, low=low, high=high, n=n)
    return accuracy, Measure(value=epoch.train_loss, n=n)


def _roc(test: Evaluation) -> Roc:
    """The curve of the positive class of two, else the mean over the classes that have one."""
    if test.positive is not None and test.positive in test.curves:
        return test.curves[test.positive].roc
    found = [curve.roc for curve in test.curves.values() if curve.roc.fpr]
    if not found:
        return Roc(fpr=[], tpr=[])
    x = np.linspace(0, 1, 201)
    mean = np.mean([np.interp(x, roc.fpr, roc.tpr) for roc in found], axis=0)
    # A step at zero is part of the curve, and interpolation keeps its upper end.
    return Roc(fpr=[0.0, *x.tolist()], tpr=[0.0, *mean.round(5).tolist()])


def _differences(runs: Sequence[Run]) -> list[Difference]:
    """The settings that are not the same in all runs; ensembles have settings of their own."""
    made = [run.read("run.json").get("ensemble") for run in runs]
    settings = [_flat(run, noted) for run, noted in zip(runs, made, strict=True)]
    names = sorted({name for flat in settings for name in flat})
    found = []
    for name in names:
        values = [flat.get(name) for flat in settings]
        meant = [
            value
            for value, noted in zip(values, made, strict=True)
            if (noted is not None) == name.startswith("ensemble.")
        ]
        alone = len(meant) < len(values) and name.startswith("ensemble.")
        if (alone or len(set(meant)) > 1) and not name.startswith(PASSED_OVER):
            found.append(Difference(name=name, values=values))
    return found


def _flat(run: Run, noted: dict[str, Any] | None) -> dict[str, str]:
    if noted is not None:
        asked = {key: noted[key] for key in ("combine", "select", "above", "best")}
        return collect._flat({"ensemble": {**asked, "runs": len(noted["members"])}})
    return collect._flat(run.config.model_dump(mode="json"))


def _pairs(
    names: Sequence[str], tests: Sequence[Predictions], confidence: float
) -> tuple[list[Pair], list[Apart]]:
    """Each two runs item by item, where they were tested on the same."""
    pairs: list[Pair] = []
    apart: list[Apart] = []
    for i, j in combinations(range(len(names)), 2):
        why = _obstacle(tests[i], tests[j])
        if why:
            apart.append(Apart(first=names[i], second=names[j], why=why))
            continue
        one, other = _labelled(tests[i]), _labelled(tests[j])
        order = np.argsort(one.ids), np.argsort(other.ids)
        right = [
            (p.predicted == p.labels)[places] for p, places in zip((one, other), order, strict=True)
        ]
        groups = None if one.groups is None else one.groups[order[0]]
        found = paired.compare(right[0], right[1], groups, confidence)
        pairs.append(
            Pair(
                first=names[i],
                second=names[j],
                n=found.n,
                only_first=found.first,
                only_second=found.second,
                difference=found.difference,
                low=found.low,
                high=found.high,
                p=found.p,
                corrected=1.0,
                groups=found.groups,
            )
        )
    corrected = paired.holm([pair.p for pair in pairs])
    pairs = [
        pair.model_copy(update={"corrected": p}) for pair, p in zip(pairs, corrected, strict=True)
    ]
    return sorted(pairs, key=lambda pair: pair.p), apart


def _labelled(predictions: Predictions) -> Predictions:
    """The labelled items alone."""
    assert predictions.labels is not None  # `_obstacle` has seen to it
    there = predictions.labels >= 0
    return Predictions(
        predictions.ids[there],
        predictions.probabilities[there],
        predictions.classes,
        predictions.labels[there],
        None if predictions.groups is None else predictions.groups[there],
    )


def _obstacle(one: Predictions, other: Predictions) -> str:
    """Why two tests cannot be set against each other item by item; empty where they can."""
    if one.labels is None or other.labels is None:
        return "one has no labels"
    if set(one.classes) != set(other.classes):
        return "they tell different classes apart"
    answers = [
        dict(zip(p.ids[p.labels >= 0], np.array(p.classes)[p.labels[p.labels >= 0]], strict=True))
        for p in (one, other)
        if p.labels is not None
    ]
    common = answers[0].keys() & answers[1].keys()
    if not common:
        return "they have no test item in common"
    if len(common) < len(answers[0]) or len(common) < len(answers[1]):
        counts = f"{len(answers[0]):,} and {len(answers[1]):,}"
        return f"of {counts} test items they have only {len(common):,} in common"
    changed = sum(answers[0][id_] != answers[1][id_] for id_ in common)
    if changed:
        return f"{words.count(changed, 'test item')} had another label then"
    return ""


def headline(facts: Comparison) -> tuple[str, str, str]:
    """What the comparison shows, in three pieces: before, the finding, after it."""
    runs = [run for run in facts.runs if run.test.accuracy.value is not None]
    if not runs:
        return "Nothing", " can be said", ": no run has a labelled test item."
    best = max(runs, key=lambda run: run.test.accuracy.value or 0.0)
    figure = words.percent(best.test.accuracy.value, best.test.n)
    if facts.apart:
        return f"{len(facts.runs)} runs, ", "not all tested on the same items", "."
    rivals = [pair for pair in facts.pairs if best.name in (pair.first, pair.second)]
    if all(pair.corrected < 1 - facts.confidence for pair in rivals):
        return "", best.name, f" is right more often than the others: {figure} of the test items."
    if not any(pair.corrected < 1 - facts.confidence for pair in facts.pairs):
        after = f" between these {len(facts.runs)} runs is beyond chance."
        return "On their test items, ", "no difference", after
    return (
        "",
        best.name,
        f" has the highest accuracy, {figure}, but it is not shown to lead them all.",
    )


def cautions(facts: Comparison) -> list[str]:
    """What a reader must know before choosing one of the runs."""
    found = []
    if facts.apart:
        found.append(
            "Runs that were tested on different items differ by the luck of the items too: only "
            "what their intervals leave open can be said. Train with the same dataset, split and "
            "seed to compare item by item."
        )
    data = {run.data for run in facts.runs}
    if len(data) > 1:
        found.append(f"The runs are about different data: {words.listed(sorted(data))}.")
    if len(facts.runs) > 2:
        found.append(
            "The best of several runs flatters itself: choose by validation, and let test confirm."
        )
    return found


def render(facts: Comparison) -> str:
    """The page as text."""
    best = max(
        (run.test.accuracy.value for run in facts.runs if run.test.accuracy.value is not None),
        default=None,
    )
    return sheet.render(
        "compare.html.j2",
        facts=facts,
        headline=headline(facts),
        cautions=cautions(facts),
        best=best,
        forest=curves.forest(facts),
        together=[curves.together(facts, name) for name in ("loss", "accuracy")],
        single=[curves.single(facts, place) for place in range(len(facts.runs))],
        roc=curves.roc(facts),
    )
