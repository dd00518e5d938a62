"""Which trial comes next, and which one ends early: Optuna's samplers and pruners, seeded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from optuna import pruners, samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lorgnette.errors import ConfigError
from lorgnette.tuning.settings import TuneConfig

AT_ONCE = 64
"""Trials whose samplers are held; one process never has more under way."""


def sampler(settings: TuneConfig, seed: int) -> samplers.BaseSampler:
    """The sampler of a search.

    Every trial is drawn by a sampler of its own that is seeded from `seed` and the trial's number.
    A random search is therefore the same one with any number of workers and after any restart; the
    others also go by the trials that are finished, and repeat themselves where those do.
    """
    return Seeded(settings, seed)


def pruner(settings: TuneConfig, epochs: int) -> pruners.BasePruner:
    """What ends trials early. Steps are epochs, from 1.

    Args:
        settings: which one, and with which reduction and least number of epochs.
        epochs: the passes of a trial that is not ended early.
    """
    first = min(settings.min_epochs, epochs)
    with _experiments():
        if settings.pruner == "hyperband":
            return pruners.HyperbandPruner(
                min_resource=first, max_resource=epochs, reduction_factor=settings.reduction
            )
        if settings.pruner == "halving":
            return pruners.SuccessiveHalvingPruner(
                min_resource=first, reduction_factor=settings.reduction
            )
        if settings.pruner == "median":
            return pruners.MedianPruner(n_warmup_steps=first)
    return pruners.NopPruner()


def startup(settings: TuneConfig) -> int:
    """How many trials are drawn at random before there is something to go by: 4 to 10.

    A quarter of the budget: Optuna's own 10 would leave nothing of a search of 10 trials.
    """
    trials = settings.budget_trials
    return 10 if trials is None else min(10, max(4, trials // 4))


class Seeded(samplers.BaseSampler):
    """Draws each trial with a sampler of its own, seeded from the study's seed and its number."""

    def __init__(self, settings: TuneConfig, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self._samplers: dict[int, samplers.BaseSampler] = {}

    def __str__(self) -> str:
        return f"{self.settings.sampler} with seed {self.seed}"

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin a trial."""
        self._samplers.pop(trial.number, None)
        self._of(trial).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of the parameters that are drawn together."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one parameter.

        Raises:
            ConfigError: the search is a grid, whose points are enqueued and not drawn.
        """
        if self.settings.sampler == "grid":
            raise ConfigError(
                f"The points of a grid are enqueued, and trial {trial.number} has no value for "
                f"{param_name}: begin the study anew."
            )
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """End a trial."""
        self._of(trial).after_trial(study, trial, state, values)
        self._samplers.pop(trial.number, None)

    def reseed_rng(self) -> None:
        """Nothing: trials are seeded by their numbers."""

    def _of(self, trial: FrozenTrial) -> samplers.BaseSampler:
        found = self._samplers.get(trial.number)
        if found is None:
            found = self._new(trial.number)
            while len(self._samplers) >= AT_ONCE:  # of trials that ended elsewhere
                self._samplers.pop(next(iter(self._samplers)), None)
            self._samplers[trial.number] = found
        return found

    def _new(self, number: int) -> samplers.BaseSampler:
        """The sampler of one trial."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        first = startup(self.settings)
        with _experiments():
            if self.settings.sampler == "tpe":
                # Settings that exist only beside others are modelled by groups; trials under way
                # count as bad ones, so that parallel workers do not all try the same.
                return samplers.TPESampler(
                    n_startup_trials=first,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                    seed=seed,
                )
            if self.settings.sampler == "gp":
                return samplers.GPSampler(
                    n_startup_trials=first, warn_independent_sampling=False, seed=seed
                )
        return samplers.RandomSampler(seed=seed)


@contextmanager
def _experiments() -> Iterator[None]:
    """Without Optuna's warning that a feature may change: constraints pin its version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
