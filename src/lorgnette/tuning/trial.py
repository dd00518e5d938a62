"""One trial: a configuration out of the space, trained and judged on validation.

Every execution, or fold, is a run of its own with checkpoints: whoever takes the trial up goes on
from the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from lorgnette.config import Config
from lorgnette.dataset.split import UNUSED, Split, divide, split
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError
from lorgnette.evaluation.crossval import fold_seed, quiet
from lorgnette.evaluation.folds import units
from lorgnette.lock import locked
from lorgnette.rundir import SPLIT, Run
from lorgnette.tuning.settings import TuneConfig
from lorgnette.tuning.study import Plan, StudyDir

VALIDATION = "predictions/validation.parquet"
EPOCHS = 10**6
"""More than any execution has; how far a trial is counts executions in these."""
LOCK_SECONDS = 60
"""How long a run's directory is waited for: a worker that was taken for dead may still hold it."""


class RejectedError(Exception):
    """The settings of a trial do not go together, or no network can be built of them."""


@dataclass(frozen=True)
class Result:
    """What came out of a trial.

    Attributes:
        value: the objective, the mean over executions.
        executions: the objective of each.
        epochs: passes made, of all of them.
        seconds: spent training, of all of them.
    """

    value: float
    executions: list[float]
    epochs: int
    seconds: float


def parts(dataset: Dataset, plan: Plan) -> list[Split]:
    """What a trial's executions are trained and judged on: one split, or one for each fold.

    Folds divide what the split calls train and validation; its test part is in none of them.

    Raises:
        SplitError: the items cannot be divided so.
    """
    config = plan.space.config({})
    whole = split(dataset, config.split, config.seed, config.train.labels)
    if not plan.settings.folds:
        return [whole]
    return folds(dataset, whole, plan.settings.folds, config.seed)


def folds(dataset: Dataset, whole: Split, k: int, seed: int) -> list[Split]:
    """Divide the training and validation parts of a split into k folds; groups stay whole.

    Args:
        dataset: labels and groups.
        whole: the split whose test part is left alone.
        k: two or more.
        seed: of the division.
    """
    labels, together = dataset.labels("given"), units(dataset)
    pool = np.sort(np.concatenate([whole.indices("train"), whole.indices("val")]))
    shares = np.append(np.full(k, 1 / k), 0.0)
    rng = np.random.default_rng([seed, k])
    # Items of the pool without a given label have one that a decision gave them: a class apart.
    strata = np.where(labels[pool] < 0, len(dataset.info.classes), labels[pool])
    fold = divide(strata, None if together is None else together[pool], shares, rng)
    found = []
    for number in range(k):
        codes = np.full(len(labels), UNUSED, np.int8)
        codes[whole.members("test")] = 2
        codes[pool] = np.where(fold == number, 1, 0)
        found.append(Split(codes))
    return found


def settled(config: Config, dataset: Dataset) -> Config:
    """The configuration of a trial with the dataset's own source and preparation."""
    info = dataset.info
    return config.model_copy(update={"source": info.source, "prepare": info.prepare})


def conduct(
    trial: optuna.Trial,
    plan: Plan,
    study: StudyDir,
    dataset: Dataset,
    splits: list[Split],
    check: Callable[[int], None],
) -> Result:
    """Train a trial, from its last checkpoint where it was begun before.

    Args:
        trial: out of the queue.
        plan: what is searched.
        study: where runs go.
        dataset: what is learnt.
        splits: see `parts`.
        check: told after every epoch how far the trial is, a number that rises; raises where the
            trial is not this worker's any more.

    Returns:
        What came out.

    Raises:
        RejectedError: there is no such configuration or network.
        TrialPruned: the pruner ended it.
        TrainingError: the loss is not a number, or memory ran out.
    """
    try:
        values = plan.space.suggest(trial)
        trial.set_user_attr("values", values)
        config = settled(plan.space.config(values), dataset)
        pieces = [
            execute(trial, config, plan.settings, study, dataset, splits, number, check)
            for number in range(max(plan.settings.executions, plan.settings.folds, 1))
        ]
    except ConfigError as error:
        raise RejectedError(str(error)) from error
    executions = [value for value, _, _ in pieces]
    return Result(
        value=float(np.mean(executions)),
        executions=executions,
        epochs=sum(epochs for _, epochs, _ in pieces),
        seconds=sum(seconds for _, _, seconds in pieces),
    )


def execute(
    trial: optuna.Trial,
    config: Config,
    settings: TuneConfig,
    study: StudyDir,
    dataset: Dataset,
    splits: list[Split],
    number: int,
    check: Callable[[int], None],
) -> tuple[float, int, float]:
    """One execution or fold of a trial: its objective, passes and seconds."""
    from lorgnette.evaluation.evaluate import predict_items
    from lorgnette.training.loop import train

    # The first is the run that `lorgnette train --recipe config.toml` gives again.
    seed = fold_seed(config.seed, 0, number) if number else config.seed
    own = config.model_copy(update={"seed": seed})
    parts = splits[number % len(splits)]
    run, last = study.run(trial.number, number), epochs_of(own, parts)
    reported = set(trial.storage.get_trial(trial._trial_id).intermediate_values)

    def watch(line: dict[str, Any]) -> None:
        value, epoch = float(line[settings.objective]), int(line["epoch"])
        check(number * EPOCHS + epoch)
        if number:
            return
        if epoch not in reported and math.isfinite(value):
            trial.report(value, epoch)
            reported.add(epoch)
        if epoch == last or settings.pruner == "none" or epoch not in reported:
            return  # what was trained to its end is not thrown away
        if trial.should_prune():
            raise optuna.TrialPruned(f"ended by {settings.pruner} after epoch {epoch}")

    with locked(run.storage, patience=LOCK_SECONDS), quiet():
        if "dataset" not in run.read("run.json"):
            run.begin(own, dataset.location)
        if not run.storage.exists(SPLIT):
            parts.save(run.storage, SPLIT, dataset)
        if not run.is_trained:
            model = train(dataset, parts, own, run, watch=watch, mapped=True)
            rows = parts.indices("val")
            labels = dataset.labels(own.train.labels)
            predict_items(model, dataset, rows, labels).save(run.storage, VALIDATION)
        for name in run.storage.names("checkpoints"):
            run.storage.remove(f"checkpoints/{name}")
    return outcome(run, settings)


def epochs_of(config: Config, parts: Split) -> int:
    """The passes of a training that nothing ends early."""
    from lorgnette.training.loop import default_epochs

    return config.train.epochs or default_epochs(len(parts.indices("train")))


def outcome(run: Run, settings: TuneConfig) -> tuple[float, int, float]:
    """Objective of the kept epoch, passes and seconds of a trained run."""
    lines = run.metrics()
    kept = run.read("run.json")["training"]["best_epoch"]
    value = float(lines[kept - 1][settings.objective])
    return value, len(lines), sum(float(line["seconds"]) for line in lines)


def spent(study: StudyDir, number: int) -> tuple[int, float]:
    """Passes and training seconds of a trial so far, over all its executions."""
    epochs, seconds, execution = 0, 0.0, 0
    while (study.root / "trials" / f"{number:04}" / str(execution)).is_dir():
        lines = study.run(number, execution).metrics()
        epochs += len(lines)
        seconds += sum(float(line["seconds"]) for line in lines)
        execution += 1
    return epochs, seconds
