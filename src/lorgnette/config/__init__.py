"""Every setting, one frozen model per stage; the meaning stands under each field.

`data`, `model`, `train` and `stages` hold the sections, `base` what they share. How a configuration
is put together from these defaults, a recipe and the command line is in `lorgnette.resolve`.
"""

from __future__ import annotations

from pydantic import Field

from lorgnette.config.base import Activation, LabelChoice, Norm, Settings
from lorgnette.config.data import PrepareConfig, SourceConfig, SplitConfig
from lorgnette.config.model import CnnConfig, MlpConfig, ModelConfig, PerceptronConfig, ResnetConfig
from lorgnette.config.stages import AuditConfig, EngineConfig, EvaluateConfig
from lorgnette.config.train import (
    Augment,
    OptimizerConfig,
    ScheduleConfig,
    StoppingConfig,
    TrainConfig,
    UpdateConfig,
)

__all__ = [
    "Activation",
    "AuditConfig",
    "Augment",
    "CnnConfig",
    "Config",
    "EngineConfig",
    "EvaluateConfig",
    "LabelChoice",
    "MlpConfig",
    "ModelConfig",
    "Norm",
    "OptimizerConfig",
    "PerceptronConfig",
    "PrepareConfig",
    "ResnetConfig",
    "ScheduleConfig",
    "Settings",
    "SourceConfig",
    "SplitConfig",
    "StoppingConfig",
    "TrainConfig",
    "UpdateConfig",
]


class Config(Settings):
    """A whole run: one section per stage."""

    recipe: str = "default"
    """The recipe that this configuration started from; for the record."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Fixes splits, initial weights, order and augmentation."""
    source: SourceConfig = SourceConfig()
    """Where images and labels come from."""
    prepare: PrepareConfig = PrepareConfig()
    """How images become arrays."""
    split: SplitConfig = SplitConfig()
    """How items are divided."""
    model: ModelConfig = ResnetConfig()
    """The network."""
    train: TrainConfig = TrainConfig()
    """How it is trained."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How it is judged."""
    audit: AuditConfig = AuditConfig()
    """How labels are judged."""
    engine: EngineConfig = EngineConfig()
    """Where work runs."""
