"""A worker: takes trials out of the queue, one after another, until the study is over."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import DatasetError, LorgnetteError, TrainingError
from lorgnette.tuning.leases import REASON, VERDICT, Lease, LeaseLostError, sign, worker_name
from lorgnette.tuning.samplers import pruner
from lorgnette.tuning.storages import storage_at
from lorgnette.tuning.study import Plan, StudyDir, dataset_digest, join, run_name
from lorgnette.tuning.trial import RejectedError, Result, conduct, epochs_of, parts, spent

CLOSING = "closing"
"""Of the study: no further trial is begun."""
WANTED = "wanted"
"""Of the study: how many trials its budget has; None where another budget decides."""
IDLE_SECONDS = 0.3


def labour(
    engine: Engine,
    *,
    location: str,
    name: str | None,
    dataset: str,
    directory: str | None,
    over: Callable[[], bool],
) -> list[str]:
    """Keep the engine's workers at a study until it is over.

    A worker that dies is replaced; its trial is taken back by the chief and goes on elsewhere.

    Args:
        engine: where workers run.
        location: of the study's storage.
        name: of the study in it; the only one if not given.
        dataset: where these workers find it.
        directory: of the study, as these workers see it; as the chief sees it if not given.
        over: whether no more workers are wanted.

    Returns:
        What ended workers for good, a sentence each.
    """
    import torch

    ended: list[str] = []
    task: Task[int, str] = Task.of(
        work,
        location=location,
        name=name,
        dataset=dataset,
        directory=directory,
        threads=max(torch.get_num_threads() // engine.workers, 1),
    )
    finished = False

    def places() -> Iterator[int]:
        number = 0
        while not (finished or ended or over()):
            yield number
            number += 1

    for outcome in engine.map(task, places()):
        if outcome.error is None:
            finished = True
        elif outcome.traceback is not None:  # not a process that died: something is wrong
            ended.append(outcome.error)
    return ended


def work(
    place: int,
    *,
    location: str,
    name: str | None,
    dataset: str,
    directory: str | None,
    threads: int,
) -> str:
    """Do trials until the study is over; the worker's name.

    Raises:
        DatasetError: the dataset is not the one that the chief has.
        EngineError: the chief has not answered for too long.
    """
    import torch

    torch.set_num_threads(threads)
    with storage_at(location) as storage:
        return _until_over(storage, name, dataset, directory)


def _until_over(storage: BaseStorage, name: str | None, dataset: str, directory: str | None) -> str:
    me = worker_name()
    study, plan = join(storage, name)
    opened = Dataset.load(dataset)
    if dataset_digest(opened) != plan.digest:
        raise DatasetError(
            f"All workers of a study learn one dataset, and {dataset} is not the one that the "
            f"chief has ({plan.dataset}), or has other decisions: give the same --dataset, or a "
            "whole copy of it."
        )
    place_of = StudyDir(directory or plan.directory)
    splits = parts(opened, plan)
    study.pruner = pruner(plan.settings, epochs_of(plan.space.config({}), splits[0]))
    while not study.user_attrs.get(CLOSING, False):
        trial = take(study, me)
        if trial is None:
            time.sleep(IDLE_SECONDS)
        else:
            do(trial, study, plan, place_of, opened, splits, me)
    return me


def take(study: optuna.Study, me: str) -> optuna.Trial | None:
    """The next trial of the queue, which is this worker's from now on; None where it is empty."""
    storage = study._storage
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    for found in due(trials, study.user_attrs.get(WANTED)):
        with contextlib.suppress(UpdateFinishedTrialError):
            if storage.set_trial_state_values(found._trial_id, TrialState.RUNNING):
                sign(study, found._trial_id, me)  # before a sampler thinks, for it may take long
                return optuna.Trial(study, found._trial_id)
    return None


def due(trials: Sequence[FrozenTrial], wanted: int | None) -> list[FrozenTrial]:
    """The waiting trials that are to be done, in their order.

    More may wait than are wanted: a study that is continued can have a smaller budget than before.
    """
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    waiting.sort(key=lambda trial: trial.number)
    return waiting if wanted is None else waiting[: max(wanted - len(trials) + len(waiting), 0)]


def do(
    trial: optuna.Trial,
    study: optuna.Study,
    plan: Plan,
    place: StudyDir,
    dataset: Dataset,
    splits: list[Split],
    me: str,
) -> None:
    """Conduct a trial and tell what became of it, unless it was given to another meanwhile."""
    started = time.time()
    state, value = TrialState.FAIL, None
    told: dict[str, Any] = {}
    with contextlib.suppress(LeaseLostError, UpdateFinishedTrialError):
        with Lease(study, trial._trial_id, me) as lease:
            if "started" not in trial.user_attrs:
                trial.set_user_attr("started", started)
            try:
                result = same_as_before(trial, study, plan) or conduct(
                    trial, plan, place, dataset, splits, lease.check
                )
                if math.isfinite(result.value):
                    state, value = TrialState.COMPLETE, result.value
                else:
                    told = {VERDICT: "failed", REASON: f"{plan.settings.objective} is no number."}
                told |= {
                    "executions": result.executions,
                    "epochs": result.epochs,
                    "seconds": result.seconds,
                }
            except optuna.TrialPruned as reason:
                state, told = TrialState.PRUNED, {REASON: str(reason)}
                tidy(place, trial.number)
            except RejectedError as error:
                told = {VERDICT: "rejected", REASON: str(error)}
            except TrainingError as error:
                told = {VERDICT: "failed", REASON: str(error)}
            except (LorgnetteError, LeaseLostError, UpdateFinishedTrialError):
                raise
            except Exception as error:  # one configuration's bug must not end the search
                told = {VERDICT: "failed", REASON: f"{type(error).__name__}: {error}"}
            lease.check()
            if "epochs" not in told:
                told["epochs"], told["seconds"] = spent(place, trial.number)
            told = {"run": run_name(trial.number), "worker": me, "finished": time.time()} | told
            for key, fact in told.items():
                trial.set_user_attr(key, fact)
        study.tell(trial, value, state, skip_if_finished=True)


def same_as_before(trial: optuna.Trial, study: optuna.Study, plan: Plan) -> Result | None:
    """The result of a finished trial with the same settings, which would come out again."""
    values = plan.space.suggest(trial)
    trial.set_user_attr("values", values)
    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if other.user_attrs.get("values") == values:
            assert other.value is not None
            trial.set_user_attr("repeats", other.number)
            return Result(other.value, other.user_attrs["executions"], 0, 0.0)
    return None


def tidy(place: StudyDir, number: int) -> None:
    """Remove the checkpoints of a trial that will not go on."""
    run = place.run(number)
    for name in run.storage.names("checkpoints"):
        run.storage.remove(f"checkpoints/{name}")
