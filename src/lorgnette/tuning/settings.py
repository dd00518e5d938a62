"""How a search is made: the `[tune]` section of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lorgnette.config.base import Fraction, NotNegative, Positive, Settings
from lorgnette.errors import ConfigError, nearest

SamplerName = Literal["random", "grid", "tpe", "gp"]
PrunerName = Literal["none", "hyperband", "halving", "median"]
Objective = Literal["val_accuracy", "val_loss"]


class Combination(Settings):
    """An ensemble that is made at the end of a search."""

    combine: Literal["average", "vote", "soup"] = "average"
    """Mean of probabilities, majority of votes, or mean of weights."""
    select: Literal["all", "best", "greedy"] = "all"
    """Which of the kept models: all, the best `best`, or chosen one by one on validation."""
    above: Fraction | None = None
    """Only models whose validation accuracy is above this."""
    best: Positive = 10
    """How many, where the best are taken."""


class Stage(Settings):
    """A further search that begins from the best configuration of the one before."""

    space: dict[str, Any]
    """Spaces by setting: `{"model.dropout" = {choice = [0.5, 0.7]}}`."""
    sampler: SamplerName = "grid"
    """See `TuneConfig.sampler`."""
    pruner: PrunerName = "none"
    """See `TuneConfig.pruner`."""
    trials: Positive | None = None
    """See `TuneConfig.trials`."""
    epochs: Positive | None = None
    """See `TuneConfig.epochs`."""


class TuneConfig(Settings):
    """How a search is made.

    A search ends with the first budget that is used up: trials, passes or minutes. A grid ends with
    its last point.
    """

    sampler: SamplerName = "tpe"
    """`random`; `grid`: every point once; `tpe`: tree-structured Parzen estimator; `gp`: Gaussian
    process."""
    pruner: PrunerName = "none"
    """What ends hopeless trials early: `hyperband`, `halving` (asynchronous successive halving) or
    `median`."""
    trials: Positive | None = None
    """Budget in trials. None: 30, where no other budget is given; a grid's points."""
    minutes: float | None = Field(default=None, gt=0)
    """Budget in minutes of wall time; trials under way are finished."""
    total_epochs: Positive | None = None
    """Budget in passes over the training part, of all trials together."""
    epochs: Positive | None = None
    """Passes of one trial, at most. None: those of the recipe."""
    objective: Objective = "val_accuracy"
    """What is best: the value of the epoch whose weights are kept."""
    executions: Positive = 1
    """How often each trial is trained, with other seeds; its value is the mean."""
    folds: NotNegative = 0
    """2 or more: a trial's value is the mean over so many folds of the training and validation
    parts."""
    keep: Positive = 10
    """How many of the best models are kept."""
    default_first: bool = True
    """Whether trial 0 is the default configuration."""
    balanced: tuple[str, ...] = ()
    """Searched settings whose choices take turns instead of being drawn."""
    reduction: int = Field(default=3, ge=2)
    """Hyperband and halving: one in so many trials goes on at each rung."""
    min_epochs: Positive = 1
    """Passes before a trial may be ended early."""
    then: tuple[Stage, ...] = ()
    """Further searches, each from the best configuration of the last."""
    retrain: bool = False
    """Train the best configuration at the end, read off the best epoch, and train it again for so
    many."""
    retrain_epochs: Positive | None = None
    """Passes of the first of these trainings. None: those of the recipe."""
    ensembles: tuple[Combination, ...] = ()
    """Ensembles that are made of the kept models."""

    @model_validator(mode="after")
    def _folds_or_executions(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds must be 0 (none) or 2 and more, got 1")
        if self.folds and self.executions > 1:
            raise ValueError(
                f"a trial has folds or executions, got {self.folds} folds and "
                f"{self.executions} executions"
            )
        return self

    @property
    def budget_trials(self) -> int | None:
        """The number of trials; None where another budget decides."""
        if self.trials is None and self.minutes is None and self.total_epochs is None:
            return None if self.sampler == "grid" else 30
        return self.trials


def stages(settings: TuneConfig) -> Iterator[tuple[TuneConfig, dict[str, Any]]]:
    """Each search of a study, and the spaces that are opened for it."""
    yield settings, {}
    for stage in settings.then:
        told = stage.model_dump(exclude={"space"}, exclude_none=True)
        own = {**settings.model_dump(exclude={"then", "trials", "balanced"}), **told}
        yield TuneConfig.model_validate(own), dict(stage.space)


def parse(data: Mapping[str, Any], origin: str) -> TuneConfig:
    """Check the plain data of a `[tune]` section.

    Raises:
        ConfigError: the first thing that is not allowed, with the nearest name or the rule.
    """
    try:
        return TuneConfig.model_validate(data)
    except ValidationError as error:
        finding = error.errors()[0]
        location = [str(part) for part in finding["loc"]]
        name, rule = ".".join(["tune", *location]), finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "extra_forbidden":
            owners: dict[str, type[Settings]] = {"then": Stage, "ensembles": Combination}
            owner = owners.get(location[0], TuneConfig)
            close = nearest(location[-1], owner.model_fields)
            raise ConfigError(f"There is no setting '{name}' ({origin}): {close}") from error
        got = "" if finding["type"] == "value_error" else f", got {finding['input']!r}"
        rule = rule[0].lower() + rule[1:]
        raise ConfigError(f"Setting {name}: {rule}{got} ({origin}).") from error
