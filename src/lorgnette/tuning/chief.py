"""The chief: fills the queue, takes back what dead workers had, keeps the budget and the best.

There is one for a study, in the process that began it. It may be killed at any moment: what it
knows is in the storage, and started again it goes on.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from lorgnette.errors import ConfigError
from lorgnette.tuning.leases import GRACE_SECONDS, Reaper
from lorgnette.tuning.space import Space
from lorgnette.tuning.spaces import encode, same
from lorgnette.tuning.study import KEPT, Plan, StudyDir, run_name
from lorgnette.tuning.worker import CLOSING, WANTED

POLL_SECONDS = 0.5
AHEAD = 4
"""Trials that wait in the queue for each worker where their number is not known beforehand."""
ELAPSED, BEGAN = "elapsed", "began"
"""Of the study: seconds that it took so far, of all sessions; and when it began."""

Trials = list[FrozenTrial]
Watcher = Callable[[Trials, float], None]
"""Is shown all trials and the seconds so far, twice a second."""


@dataclass
class Chief:
    """Whoever looks after a study.

    Attributes:
        study: in this process's own storage.
        plan: what is searched.
        place: the study's directory.
        workers: how many there are likely to be.
        watcher: shown the trials.
        grace: seconds after which a silent worker of another machine counts as dead.
    """

    study: optuna.Study
    plan: Plan
    place: StudyDir
    workers: int
    watcher: Watcher | None = None
    grace: float = GRACE_SECONDS
    over: bool = False
    error: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Take up what an earlier session left."""
        attributes = self.study.user_attrs
        self.before = float(attributes.get(ELAPSED, 0.0))
        self.began = time.monotonic()
        if BEGAN not in attributes:
            self.study.set_user_attr(BEGAN, time.time())
        self.reaper = Reaper(self.study, self.grace)
        self.queue = Queue(self.study, self.plan)
        self.study.set_user_attr(WANTED, self.queue.wanted)
        self.study.set_user_attr(CLOSING, False)
        self.kept: dict[int, bool] = {}
        trials = self._trials()
        self.lost = {trial.number for trial in trials if self._has_lost_its_model(trial)}
        self.queue.fill(trials, AHEAD * self.workers)

    @property
    def elapsed(self) -> float:
        """Seconds that the study took so far, of all sessions."""
        return self.before + time.monotonic() - self.began

    def __enter__(self) -> Chief:
        """Begin to look after the study, beside whatever else this process does."""
        self._thread = threading.Thread(target=self._look_after, name="chief", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self) -> None:
        """Return when the study is over."""
        self._thread.join()

    def _look_after(self) -> None:
        try:
            while not self.over and not self._stop.wait(POLL_SECONDS):
                self.look()
        except BaseException as error:  # told by whoever waits; a thread has nobody to tell
            self.error, self.over = error, True

    def look(self) -> None:
        """Look once: take back, refill, count, keep."""
        trials = self._trials()
        if self.reaper.reap(trials):
            trials = self._trials()
        used_up = self._used_up(trials)
        if not used_up and self.queue.fill(trials, AHEAD * self.workers):
            trials = self._trials()
        self.study.set_user_attr(ELAPSED, round(self.elapsed, 2))
        self._keep(trials)
        states = {trial.state for trial in trials}
        if used_up or not states & {TrialState.WAITING, TrialState.RUNNING}:
            self.study.set_user_attr(CLOSING, True)
            # Whoever took one just before that ends it.
            self.over = TrialState.RUNNING not in {trial.state for trial in self._trials()}
        if self.watcher is not None:
            self.watcher(trials, self.elapsed)

    def _used_up(self, trials: Trials) -> bool:
        settings, wanted = self.plan.settings, self.queue.wanted
        # Those under way do not count yet: were workers sent home now, nobody would be there to
        # take up the trial of one that dies. `take` gives out no more than are wanted.
        finished = sum(trial.state.is_finished() for trial in trials)
        if wanted is not None and finished >= wanted:
            return True
        if settings.minutes is not None and self.elapsed >= 60 * settings.minutes:
            return True
        if settings.total_epochs is None:
            return False
        done = sum(
            trial.user_attrs.get("epochs", len(trial.intermediate_values)) for trial in trials
        )
        return bool(done >= settings.total_epochs)

    def _keep(self, trials: Trials) -> None:
        """Note the best models and remove the weights of the others."""
        there = (trial for trial in ranked(trials, self.plan) if trial.number not in self.lost)
        best = list(itertools.islice(there, self.plan.settings.keep))
        now = {trial.number: False for trial in trials if trial.state == TrialState.COMPLETE}
        now |= {trial.number: True for trial in best}
        if now == self.kept:
            return
        self.place.write(
            KEPT,
            {
                "objective": self.plan.settings.objective,
                "direction": self.plan.direction,
                "trials": [
                    {"number": each.number, "run": run_name(each.number), "value": each.value}
                    for each in best
                ],
            },
        )
        for number, stays in now.items():
            if self.kept.get(number) != stays:
                self._thin(trials[number], stays)
        self.kept = now

    def _thin(self, trial: FrozenTrial, stays: bool) -> None:
        """Remove the weights of a trial: of all executions but the first, of that too or not."""
        executions = len(trial.user_attrs.get("executions", ())) or 1
        for execution in range(1 if stays else 0, executions):
            run = self.place.run(trial.number, execution)
            for name in ("model.json", "model.safetensors"):
                run.storage.remove(name)

    def _has_lost_its_model(self, trial: FrozenTrial) -> bool:
        """Whether an earlier session, which kept fewer models, has removed that of a trial.

        Asked of what was finished before this session alone: on a network drive a model that a
        worker has just written may not be seen yet.
        """
        if trial.state != TrialState.COMPLETE:
            return False
        run = self.place.run(trial.number)
        return run.storage.exists("config.toml") and not run.is_trained  # else it is elsewhere

    def _trials(self) -> Trials:
        return self.study.get_trials(deepcopy=False)


def ranked(trials: Sequence[FrozenTrial], plan: Plan) -> Trials:
    """The complete trials, best first, those that only repeat another one left out."""
    sign = 1 if plan.direction == "minimize" else -1
    complete = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and trial.value is not None
        and "repeats" not in trial.user_attrs
    ]
    return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


class Queue:
    """Trials that wait to be taken: as many as the budget has, or some ahead of the workers."""

    def __init__(self, study: optuna.Study, plan: Plan) -> None:
        self.study, self.plan = study, plan
        settings = plan.settings
        self.wanted = settings.budget_trials
        self.points = self._grid() if settings.sampler == "grid" else None
        if self.points is not None:
            self.wanted = min(len(self.points), self.wanted or len(self.points))

    def fill(self, trials: Trials, ahead: int) -> int:
        """Add what is missing; how many.

        Args:
            trials: all that there are.
            ahead: how many shall wait where their number is not known.
        """
        count, waiting = len(trials), sum(trial.state == TrialState.WAITING for trial in trials)
        until = self.wanted if self.wanted is not None else count + max(ahead - waiting, 0)
        for number in range(count, until):
            self.study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    system_attrs={"fixed_params": self._fixed(number)},
                )
            )
        return max(until - count, 0)

    def _fixed(self, number: int) -> dict[str, Any]:
        """What is not drawn in a trial."""
        settings, space = self.plan.settings, self.plan.space
        if self.points is not None:
            return self.points[number]
        if number == 0 and settings.default_first:
            return space.defaults()
        turn = number - int(settings.default_first)
        fixed = {}
        for key in settings.balanced:
            choices = space.dimension(key).points(space.origin)
            turn, place = divmod(turn, len(choices))
            fixed[key] = choices[place]
        return fixed

    def _grid(self) -> list[dict[str, Any]]:
        """The points that are wanted, the default configuration first where it is one of them.

        Their order does not depend on how many are wanted: a study that is continued with another
        budget has its trials by number already.
        """
        space = self.plan.space
        points, default = space.grid(), space.defaults()
        if self.plan.settings.default_first and _is_point(space, default):
            others = (point for point in points if not _is_same(point, default))
            points = itertools.chain([default], others)
        found = list(itertools.islice(points, self.wanted))
        if not found:
            raise ConfigError("A grid needs a space with at least one point.")
        return found


def _is_point(space: Space, parameters: dict[str, Any]) -> bool:
    """Whether a configuration is on the grid: each of its parameters is at a countable value."""
    return all(
        any(same(encode(value), stored) for value in space.dimension(key).points(space.origin))
        for key, stored in parameters.items()
    )


def _is_same(point: dict[str, Any], other: dict[str, Any]) -> bool:
    return point.keys() == other.keys() and all(same(point[key], other[key]) for key in point)
