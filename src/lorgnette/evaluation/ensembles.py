"""Ensembles of trained runs: members chosen by validation alone, put together, judged as one model.

What comes of it is a run like any other: it predicts, is evaluated and compared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from lorgnette import __version__
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device, choose
from lorgnette.errors import ConfigError, ModelError, nearest
from lorgnette.evaluation import selection, soup, standing
from lorgnette.evaluation.evaluate import PARTS, evaluate, judge, predict_items
from lorgnette.evaluation.members import (
    Candidate,
    Part,
    check_place,
    common_dataset,
    gather,
    thoughts,
)
from lorgnette.evaluation.members import runs_of as runs_of
from lorgnette.evaluation.selection import Choice, Score, Select
from lorgnette.model import Model
from lorgnette.models import count_parameters
from lorgnette.models.ensemble import Combine, Ensemble, EnsembleConfig, MemberConfig
from lorgnette.predictions import Predictions
from lorgnette.progress import progress, say
from lorgnette.rundir import DECISIONS, SPLIT, Run
from lorgnette.rundir import FORMAT as RUN_FORMAT

FORMAT = 1
RESULT = "ensemble.json"
NOTE = "ensemble"
"""In `run.json`: what was asked for, and what was chosen."""
COMBINES = ("average", "vote", "soup")
SELECTS = ("all", "best", "greedy")

How = Literal["average", "vote", "soup"]


def ensemble(
    runs: Sequence[Run],
    run: Run,
    *,
    combine: How = "average",
    select: Select = "all",
    above: float | None = None,
    best: int = 10,
) -> dict[str, Any]:
    """Make one model of several, judge it, and leave a run.

    The caller holds the lock of the run's directory.

    Args:
        runs: trained ones; see `runs_of`.
        run: empty, or holding the same ensemble, unfinished or finished.
        combine: the mean of the members' probabilities, the majority of their votes, or one
            network with the mean of their weights (`soup`).
        select: which become members; see `selection.choose`. Into a soup go those of the selected
            runs that do not make it worse on validation, tried one by one.
        above: only runs with a higher validation accuracy than this.
        best: how many, where the best are taken.

    Returns:
        The facts of `ensemble.json`: format, dataset, classes, confidence, combine, select, above,
        best, size, parameters, seconds; `members` (name, run, weight, family, size, parameters,
        and accuracy and loss on validation and test) and `left_out` (on validation), the best
        first; `path`: the steps of a choice that was made one by one, with the accuracy and loss
        that it led to and whether it counts; `validation` and `test`, each with accuracy and loss
        of the `ensemble`, the `best` member and the `mean` member, `agreement`, and the
        `difference` of the accuracies of ensemble and best member (see `standing.compare`).

    Raises:
        ConfigError: an argument is not allowed, or no run is above the threshold.
        ModelError: a run has no model, or cannot be a member beside the others; the directory
            holds something else.
    """
    started = time.perf_counter()
    _check_arguments(combine, select, above, best)
    check_place(runs, run)
    plan = plan_of(runs, run, combine, select, above, best)
    noted = _noted(run, plan)
    if found := run.read(RESULT):
        say(f"The ensemble in {run.root} was finished before.")
        return found
    candidates = gather(runs)
    dataset = common_dataset(candidates)
    split = Split.load(candidates[0].run.storage, SPLIT, dataset)
    labels = dataset.labels(candidates[0].config.train.labels)
    parts = {name: Part.of(name, dataset, split, labels) for name in PARTS}
    validation = [thoughts(each, dataset, parts["validation"]) for each in candidates]
    # Noted, so that what was begun stays what it is whatever is decided about labels meanwhile.
    order = noted.get("order") or selection.rank([_score(each) for each in validation])
    candidates = [candidates[place] for place in order]
    validation = [validation[place] for place in order]
    device = choose("auto", candidates[0].config.train.precision)
    if run.is_trained:
        model, choice = Model.load(run.storage, device), Choice.parse(noted["chosen"])
    else:
        model, choice = _make(candidates, validation, dataset, split, plan, device)
        noted = {**plan, "order": order, "chosen": choice.dump()}
        _begin(run, noted, candidates[0], dataset, _training(model, split))
        model.save(run.storage)
    evaluation = evaluate(model, dataset, split, run)
    facts = {
        "format": FORMAT,
        "dataset": dataset.location,
        "classes": list(model.spec.classes),
        "confidence": run.config.evaluate.confidence,
        **{key: value for key, value in plan.items() if key != "members"},
        "size": model.spec.size,
        "parameters": count_parameters(model.network),
        **_members(candidates, validation, choice, dataset, parts["test"], evaluation, run),
        "seconds": round(time.perf_counter() - started, 3),
    }
    run.write(RESULT, facts)
    return facts


def differences(run: Run, plan: Mapping[str, Any]) -> list[str]:
    """In what the ensemble that was begun in a directory differs from what `plan_of` tells.

    Empty if none was begun there.
    """
    known: dict[str, Any] = run.read("run.json").get(NOTE, plan)
    return [
        f"{key} ({_short(known.get(key))} before, {_short(value)} now)"
        for key, value in plan.items()
        if known.get(key) != value
    ]


def clear(run: Run) -> None:
    """Remove what an ensemble leaves, and nothing else that may lie beside it."""
    run.storage.remove(RESULT)
    run.clear()


def assemble(chosen: Sequence[tuple[Candidate, int]], how: Combine, device: Device) -> Model:
    """The ensemble of candidates, each with the number of times that it counts."""
    models = [Model.load(candidate.run.storage, device) for candidate, _ in chosen]
    specs = [model.spec for model in models]
    members = []
    for spec, (_, weight) in zip(specs, chosen, strict=True):
        assert not isinstance(spec.model, EnsembleConfig)  # `gather` has seen to it
        members.append(
            MemberConfig(
                model=spec.model,
                size=spec.size,
                mean=spec.mean,
                deviation=spec.deviation,
                weight=weight,
            )
        )
    config = EnsembleConfig(combine=how, members=tuple(members))
    spec = specs[0].model_copy(
        update={
            "version": __version__,
            "model": config,
            "size": max(spec.size for spec in specs),
            "mean": (0.0,) * len(specs[0].mean),
            "deviation": (1.0,) * len(specs[0].deviation),
        }
    )
    return Model.of(spec, Ensemble(config, [model.network for model in models]), device)


def _make(
    candidates: Sequence[Candidate],
    validation: Sequence[Predictions],
    dataset: Dataset,
    split: Split,
    plan: Mapping[str, Any],
    device: Device,
) -> tuple[Model, Choice]:
    """Choose on validation, and put together; the candidates come best first."""
    if plan["combine"] == "soup":
        return _cook(candidates, validation, dataset, split, plan, device)
    assert validation[0].labels is not None
    known = validation[0].labels >= 0
    choice = selection.choose(
        np.stack([each.probabilities[known] for each in validation]),
        validation[0].labels[known],
        plan["combine"],
        plan["select"],
        above=plan["above"],
        best=plan["best"] or 1,
    )
    chosen = [(candidates[n], weight) for n, weight in enumerate(choice.weights) if weight]
    return assemble(chosen, plan["combine"], device), choice


def _cook(
    candidates: Sequence[Candidate],
    validation: Sequence[Predictions],
    dataset: Dataset,
    split: Split,
    plan: Mapping[str, Any],
    device: Device,
) -> tuple[Model, Choice]:
    """A soup of those that are selected; see `soup.greedy_soup`."""
    pool = selection.passing([_score(each) for each in validation], plan["above"])
    pool = pool[: plan["best"] or len(pool)]
    chosen = [candidates[place] for place in pool]
    names = [each.name for each in chosen]
    soup.check([each.spec for each in chosen], names)
    rows, val = split.indices("train"), split.indices("val")
    labels = dataset.labels(candidates[0].config.train.labels)
    spec, seed = chosen[0].spec, chosen[0].config.seed
    found, path = soup.greedy_soup(
        [Model.load(each.run.storage, device) for each in chosen],
        names,
        lambda network: soup.take_moments(network, dataset, rows, spec, device, seed),
        lambda model: _score(predict_items(model, dataset, val, labels)),
    )
    weights = [0] * len(candidates)
    for step in path:
        weights[pool[step.place]] = int(step.counts)
    return found, Choice(
        tuple(weights), tuple(replace(step, place=pool[step.place]) for step in path)
    )


def _members(
    candidates: Sequence[Candidate],
    validation: Sequence[Predictions],
    choice: Choice,
    dataset: Dataset,
    test: Part,
    evaluation: Mapping[str, Any],
    run: Run,
) -> dict[str, Any]:
    """The facts about members, about candidates that are none, and how the ensemble compares.

    Members are asked about the test part here, when all is chosen; the others are not. All are
    judged by the labels that the ensemble was judged by.
    """
    settings = run.config.evaluate
    taken = [place for place, weight in enumerate(choice.weights) if weight]
    on_test = []
    with progress("Judging members", len(taken), "members") as meter:
        for place in taken:
            on_test.append(thoughts(candidates[place], dataset, test))
            meter.advance(1)
    own = {name: Predictions.load(run.storage, f"predictions/{name}.parquet") for name in PARTS}

    def relabelled(each: Predictions, name: str) -> Predictions:
        return replace(each, labels=own[name].labels, groups=own[name].groups)

    validation = [relabelled(each, "validation") for each in validation]
    answers = {
        "validation": [validation[place] for place in taken],
        "test": [relabelled(each, "test") for each in on_test],
    }
    left = [place for place, weight in enumerate(choice.weights) if not weight]

    def figures(predictions: Predictions) -> dict[str, Any]:
        return standing.brief(judge(predictions, settings))

    return {
        "members": [
            {
                **standing.described(candidates[place], run),
                "weight": choice.weights[place],
                **{name: figures(answers[name][n]) for name in PARTS},
            }
            for n, place in enumerate(taken)
        ],
        "left_out": [
            {**standing.described(candidates[n], run), "validation": figures(validation[n])}
            for n in left
        ],
        "path": [
            {
                "name": candidates[step.place].name,
                "accuracy": step.score.accuracy,
                "loss": step.score.loss,
                "counts": step.counts,
            }
            for step in choice.path
        ],
        **{
            name: standing.compare(own[name], answers[name], evaluation[name], settings)
            for name in PARTS
        },
    }


def _score(predictions: Predictions) -> Score:
    labels = predictions.labels
    assert labels is not None
    known = labels >= 0
    codes = torch.from_numpy(labels[known].astype(np.int64))
    return selection.score(torch.from_numpy(predictions.probabilities[known]), codes)


def _training(model: Model, split: Split) -> dict[str, Any]:
    """What `run.json` says of a training, as far as there was one."""
    return {
        "parameters": count_parameters(model.network),
        "epochs": 0,
        "best_epoch": None,
        "stopped": "",
        "device": model.device.name,
        "precision": model.device.precision,
        "images": len(split.indices("train")),
        "normalization": {},
    }


def _begin(
    run: Run, noted: dict[str, Any], best: Candidate, dataset: Dataset, training: dict[str, Any]
) -> None:
    """Note what was asked for and chosen; settings are those of the best member."""
    record = {"format": RUN_FORMAT, "dataset": dataset.location}
    if decisions := best.run.read("run.json").get(DECISIONS, ""):
        record[DECISIONS] = decisions
    run.write("run.json", {**record, NOTE: noted, "training": training})
    info = dataset.info
    settings = best.config.model_copy(update={"source": info.source, "prepare": info.prepare})
    run.begin(settings, dataset.location)
    run.storage.write(SPLIT, best.run.storage.read(SPLIT))


def _noted(run: Run, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What was noted of an ensemble that was begun here; empty if the directory is.

    Raises:
        ModelError: the directory holds something else.
    """
    record = run.read("run.json")
    if not record and not (run.root / "config.toml").is_file():
        return {}
    known: dict[str, Any] | None = record.get(NOTE)
    if known is None:
        raise ModelError(
            f"{run.root} holds a run that is no ensemble: choose another --out, or start again "
            "with --overwrite."
        )
    differ = differences(run, plan)
    if differ:
        raise ModelError(
            f"{run.root} holds another ensemble; what differs: {'; '.join(differ)}. Choose another "
            "--out, or start again with --overwrite."
        )
    return known


def plan_of(
    runs: Sequence[Run], run: Run, combine: How, select: Select, above: float | None, best: int
) -> dict[str, Any]:
    """What is asked for, as it is noted."""
    return {
        "members": [os.path.relpath(each.root, run.root) for each in runs],
        "combine": combine,
        "select": select,
        "above": above,
        "best": best if select == "best" else None,
    }


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_arguments(combine: str, select: str, above: float | None, best: int) -> None:
    for option, value, known in (("combine", combine, COMBINES), ("select", select, SELECTS)):
        if value not in known:
            raise ConfigError(
                f"--{option} is {', '.join(known[:-1])} or {known[-1]}, got '{value}': "
                f"{nearest(value, known)}"
            )
    if above is not None and not 0 <= above < 1:
        raise ConfigError(f"--above is an accuracy from 0 to 1, got {above:g}: 0.89, say.")
    if best < 1:
        raise ConfigError(f"--best takes one run or more, got {best}.")
