"""What is known of a search: its trials, settings and workers, as one frozen tree for JSON.

The collector fills it from a study; the page and the terminal turn it into something to look at.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

State = Literal["complete", "pruned", "rejected", "failed", "running", "waiting"]


class Fact(BaseModel):
    """The base: frozen; what a newer version adds is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Trial(Fact):
    """One configuration that was tried, or is about to be."""

    number: int
    """From 0, in the order in which they were drawn."""
    state: State
    """`rejected`: no network has these settings; `failed`: the training ended with an error."""
    reason: str = ""
    """Why it was rejected, failed or ended early."""
    values: dict[str, Any] = Field(default_factory=dict)
    """By setting; settings whose condition did not hold are absent."""
    value: float | None = None
    """The objective, over all executions; of a pruned trial its last or best one, if any."""
    curve: list[tuple[int, float]] = Field(default_factory=list)
    """Epoch from 1, and the objective after it."""
    epochs: int = 0
    """Epochs done, of all executions together."""
    seconds: float = 0.0
    """Spent training, over all executions."""
    executions: list[float] = Field(default_factory=list)
    """The objective of each execution or fold."""
    worker: str = ""
    """Who finished it, or is at it."""
    taken_up: int = 0
    """How often another worker went on with it."""
    run: str = ""
    """Its run, relative to the study."""
    started: float | None = None
    """Seconds since the study began."""
    finished: float | None = None
    """Seconds since the study began."""

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        return value if value is None or math.isfinite(value) else None

    @field_validator("curve")
    @classmethod
    def _finite_points(cls, curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
        return [point for point in curve if math.isfinite(point[1])]


class Dimension(Fact):
    """A setting that is searched."""

    key: str
    """Such as `train.lr`."""
    kind: Literal["choice", "linear", "log"]
    integer: bool = False
    """Whether its numbers are whole."""
    choices: list[Any] = Field(default_factory=list)
    """Of kind `choice`: scalars or lists."""
    low: float | None = None
    high: float | None = None
    """The ends of a range, both in it."""


class Optimism(Fact):
    """By how much the best of many trials is likely to overstate itself."""

    value: float
    """The best trial's own accuracy."""
    corrected: float
    """What the choice of the best is worth on items that did not choose it."""
    low: float
    high: float
    """Percentile interval of the corrected figure, 95%."""
    trials: int
    """Among which the best was chosen."""
    items: int
    """Validation items."""


class StudyFacts(Fact):
    """All that a study's page says."""

    title: str
    dataset: str
    objective: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"
    sampler: str
    pruner: str = "none"
    budget: str = ""
    """In words: "30 trials of at most 20 epochs"."""
    seed: int = 0
    created: str = ""
    """When the study began, ISO 8601."""
    items: int = 0
    """Validation items, by which trials are judged; 0 if unknown."""
    groups: int | None = None
    """Groups among them; None where each item stands alone."""
    dimensions: list[Dimension]
    trials: list[Trial]
    best: int | None = None
    """Number of the best complete trial."""
    default: int | None = None
    """Number of the trial of the default configuration."""
    seconds: float = 0.0
    """Wall time, of all sessions of the study."""
    compute: float = 0.0
    """Seconds spent training, of all trials together."""
    workers: list[str] = Field(default_factory=list)
    importance: dict[str, float] = Field(default_factory=dict)
    """Share of each setting in the spread of the objective; may be empty."""
    optimism: Optimism | None = None
    machine: dict[str, Any] = Field(default_factory=dict)
    """What `environment.json` says."""
    command: str = ""
    """How a trial is run again; `{number}` stands for the trial and `{run}` for its run."""
    planned: int | None = None
    """Trials that the budget allows; None where another budget decides."""
    planned_seconds: float | None = None
    """Wall time that the budget allows."""
    planned_epochs: int | None = None
    """Epochs of all trials together that the budget allows."""
    trial_epochs: int | None = None
    """Epochs of one trial at most, over all its executions."""

    def trial(self, number: int | None) -> Trial | None:
        """The trial of a number; None if there is none."""
        return next((trial for trial in self.trials if trial.number == number), None)

    def in_state(self, *states: State) -> list[Trial]:
        """The trials in one of these states, in their order."""
        return [trial for trial in self.trials if trial.state in states]

    @property
    def best_first(self) -> list[Trial]:
        """The complete trials that have a value, the best first, the earlier before its equals."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        sign = -1.0 if self.direction == "maximize" else 1.0
        return sorted(
            (trial for trial in done if trial.value is not None),
            key=lambda trial: (sign * (trial.value or 0.0), trial.number),
        )
