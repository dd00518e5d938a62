"""Settings of all other stages, and where work runs."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lorgnette.config.base import (
    Positive,
    Settings,
)


class AuditConfig(Settings):
    """How labels are judged."""

    folds: int = Field(default=5, ge=2)
    """Parts of the data; each is judged by a network trained on the others."""
    rounds: int = Field(default=4, ge=2)
    """The first learns the labels as they are, each later one those that the last has mended."""
    epochs: Positive | None = None
    """Passes of each network over its part. None: as many as a training makes."""
    divisions: Positive = 1
    """How often each round divides the data anew; more make opinions steadier."""
    hold_out: bool = True
    """Judge the test part of the split by networks that have seen none of it, so that its labels
    change nothing elsewhere."""


class EvaluateConfig(Settings):
    """How results are judged."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """The coverage of the intervals."""
    mistakes: int = Field(default=24, ge=0)
    """How many of the worst mistakes the report shows."""


class EngineConfig(Settings):
    """Where work runs."""

    name: Literal["local", "spark", "ray"] = "local"
    """`local`: processes on this machine. `spark` and `ray`: those of a cluster, which needs this
    package and storage that all its machines reach."""
    workers: Positive | None = None
    """Processes; as many as there are processors, here or in the cluster, if not given."""
    master: str | None = None
    """Spark: the URL of the master (`spark://host:7077`, `yarn`, `local-cluster[2,1,1024]`). None:
    the session that is open, or what the environment configures."""
    address: str | None = None
    """Ray: the address of a cluster (`host:6379`, `ray://host:10001`, `auto`). None: the one that
    is connected, or a new one on this machine."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs for each worker and each member of a gang; below 1 several share one (Ray)."""
    patience_seconds: float = Field(default=120.0, gt=0)
    """How long to wait for a cluster that does not answer, or that has no worker to give."""
    limit_minutes: float = Field(default=1440.0, gt=0)
    """An item of work, or a member of a gang, that takes longer is ended and started again."""

    @model_validator(mode="after")
    def _of_this_engine(self) -> Self:
        for name, engine in (("master", "spark"), ("address", "ray")):
            if getattr(self, name) is not None and self.name != engine:
                raise ValueError(
                    f"{name} is for the engine {engine}, and the engine is {self.name}"
                )
        return self
