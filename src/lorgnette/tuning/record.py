"""From a study's trials to the facts that its page and the live table show."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from lorgnette.errors import ModelError
from lorgnette.predictions import Predictions
from lorgnette.tuning import facts
from lorgnette.tuning.chief import BEGAN, ranked
from lorgnette.tuning.leases import LEASE, REASON, TAKEN_UP, VERDICT
from lorgnette.tuning.study import STUDY, Plan, StudyDir
from lorgnette.tuning.trial import VALIDATION
from lorgnette.tuning.worker import due

STATES: dict[TrialState, facts.State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
IMPORTANT_TRIALS = 8
"""Complete trials from which on the importance of settings is estimated."""


def collect(
    study: optuna.Study,
    plan: Plan,
    place: StudyDir,
    trials: Sequence[FrozenTrial],
    seconds: float,
    *,
    whole: bool = True,
) -> facts.StudyFacts:
    """Everything that is told of a study.

    Args:
        study: its trials' home.
        plan: what is searched.
        place: its directory.
        trials: all of them; those that wait beyond a smaller budget than before are not told.
        seconds: wall time so far.
        whole: with what takes a moment: importance, and what the best is worth.
    """
    began = float(study.user_attrs.get(BEGAN, 0.0))
    waiting = {trial.number for trial in due(trials, plan.settings.budget_trials)}
    told = [
        _trial(trial, plan, place, began, whole)
        for trial in trials
        if trial.state != TrialState.WAITING or trial.number in waiting
    ]
    best = next(iter(ranked(trials, plan)), None)
    record, settings = place.read(STUDY), plan.settings
    executions = max(settings.executions, settings.folds, 1)
    epochs = plan.space.config({}).train.epochs
    return facts.StudyFacts(
        title=place.root.name,
        dataset=plan.dataset,
        objective=settings.objective,
        direction=plan.direction,
        sampler=settings.sampler,
        pruner=settings.pruner,
        budget=budget(plan),
        seed=plan.seed,
        created=record.get("created", ""),
        dimensions=[facts.Dimension.model_validate(each) for each in plan.space.describe()],
        trials=told,
        best=None if best is None else best.number,
        default=0 if settings.default_first and settings.sampler != "grid" and trials else None,
        seconds=seconds,
        compute=sum(trial.seconds for trial in told),
        workers=sorted({trial.worker for trial in told if trial.worker}),
        importance=importance(study, plan) if whole else {},
        **(_optimism(place, trials, plan) if whole else {}),
        machine=_machine(place, trials) if whole else {},
        command=f"lorgnette train {plan.dataset} --recipe {place.root}/{{run}}/config.toml "
        "--out runs/trial-{number}",
        planned=settings.budget_trials,
        planned_seconds=settings.minutes and 60 * settings.minutes,
        planned_epochs=settings.total_epochs,
        trial_epochs=epochs and epochs * executions,
    )


def budget(plan: Plan) -> str:
    """What the search may use, in words."""
    settings = plan.settings
    parts = []
    if settings.budget_trials is not None:
        parts.append(f"{settings.budget_trials:,} trials")
    elif settings.sampler == "grid":
        parts.append("every point of the grid")
    if settings.minutes is not None:
        parts.append(f"{settings.minutes:g} minutes")
    if settings.total_epochs is not None:
        parts.append(f"{settings.total_epochs:,} epochs in all")
    epochs = plan.space.config({}).train.epochs
    each = f", at most {epochs:,} epochs each" if epochs else ""
    more = f", {settings.executions} executions of each" if settings.executions > 1 else ""
    more = f", {settings.folds} folds each" if settings.folds else more
    return " or ".join(parts) + each + more


def _trial(
    trial: FrozenTrial, plan: Plan, place: StudyDir, began: float, whole: bool
) -> facts.Trial:
    told, state = trial.user_attrs, STATES[trial.state]
    if state == "failed" and told.get(VERDICT) == "rejected":
        state = "rejected"
    reason = told.get(REASON, "")
    if "repeats" in told:
        reason = f"the same settings as trial {told['repeats']}"
    curve = sorted(trial.intermediate_values.items())
    seconds, epochs = told.get("seconds", 0.0), told.get("epochs", len(curve))
    return facts.Trial(
        number=trial.number,
        state=state,
        reason=reason,
        values=plan.space.decode(trial.params),
        value=trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        curve=curve,
        epochs=epochs,
        seconds=seconds,
        executions=told.get("executions", []),
        worker=_short(told.get("worker") or told.get(LEASE, {}).get("worker", "")),
        taken_up=told.get(TAKEN_UP, 0),
        run=told.get("run", ""),
        started=_since(told.get("started"), began),
        finished=_since(told.get("finished"), began),
    )


def _short(worker: str) -> str:
    """A worker's name without what makes it unique beyond host and process."""
    host, _, rest = worker.partition(":")
    return f"{host.rpartition('-')[0] or host}:{rest.partition(':')[0]}" if worker else ""


def _since(moment: float | None, began: float) -> float | None:
    return None if moment is None else max(moment - began, 0.0)


def importance(study: optuna.Study, plan: Plan) -> dict[str, float]:
    """Each parameter's share in the spread of the objective (functional ANOVA); may be empty.

    Hutter, Hoos & Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance",
    ICML 2014. Over parameters that all complete trials have.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = [trial.value for trial in complete]
    if len(complete) < IMPORTANT_TRIALS or len(set(values)) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=plan.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # no parameter varies in all of them
            return {}


def _optimism(place: StudyDir, trials: Sequence[FrozenTrial], plan: Plan) -> dict[str, Any]:
    """What the choice of the best is worth on other items, and the number of items."""
    from lorgnette.evaluation.optimism import best_of

    found = [each for trial in ranked(trials, plan) if (each := _judged(place, trial))]
    if not found:
        return {}
    first = found[0][0]
    told: dict[str, Any] = {"items": len(first)}
    if first.groups is not None:
        told["groups"] = len(np.unique(first.groups))
    same = [
        each
        for each in found
        if all(len(one) == len(first) and (one.ids == first.ids).all() for one in each)
    ]
    if len(same) < 2 or plan.settings.folds:
        return told
    better = np.stack(
        [np.mean([_better(one, plan.settings.objective) for one in each], axis=0) for each in same]
    )
    worth = best_of(better, first.groups, plan.seed)
    if worth is None:
        return told
    figures = (worth.value, worth.corrected, worth.low, worth.high)
    if plan.direction == "minimize":
        figures = (-worth.value, -worth.corrected, -worth.high, -worth.low)
    names = ("value", "corrected", "low", "high")
    told["optimism"] = facts.Optimism(
        **dict(zip(names, figures, strict=True)), trials=len(same), items=len(first)
    )
    return told


def _judged(place: StudyDir, trial: FrozenTrial) -> list[Predictions]:
    """What each execution of a trial thinks of its validation part; empty if that is elsewhere."""
    try:
        return [
            Predictions.load(place.run(trial.number, number).storage, VALIDATION)
            for number in range(len(trial.user_attrs["executions"]))
        ]
    except ModelError:  # a worker elsewhere has kept it to itself
        return []


def _better(predictions: Predictions, objective: str) -> NDArray[np.float64]:
    """Of each item, (n,), what the objective is the mean of; of a loss its negative."""
    assert predictions.labels is not None
    if objective == "val_accuracy":
        return np.asarray(predictions.predicted == predictions.labels, np.float64)
    own = predictions.probabilities[np.arange(len(predictions)), predictions.labels]
    return np.asarray(np.log(np.maximum(own.astype(np.float64), np.finfo(np.float32).tiny)))


def _machine(place: StudyDir, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    for trial in trials:
        if found := place.run(trial.number).read("environment.json"):
            return found
    return {}
