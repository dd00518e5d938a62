"""Lorgnette: from a pile of images with half-trusted labels to a classifier that can be trusted.

The verbs are functions with the names of the commands: `run`, `prepare`, `train`, `crossval`,
`tune`, `ensemble`, `evaluate`, `predict`. The nouns are what they leave on disk: `Dataset`, `Run`,
`Predictions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lorgnette.api import (
        crossval,
        ensemble,
        evaluate,
        load_model,
        predict,
        prepare,
        run,
        train,
        tune,
    )
    from lorgnette.config import Config, EngineConfig, PrepareConfig, SourceConfig
    from lorgnette.dataset.store import Dataset
    from lorgnette.errors import LorgnetteError
    from lorgnette.predictions import Predictions
    from lorgnette.resolve import load as load_config
    from lorgnette.rundir import Run

__all__ = [
    "Config",
    "Dataset",
    "EngineConfig",
    "LorgnetteError",
    "Predictions",
    "PrepareConfig",
    "Run",
    "SourceConfig",
    "crossval",
    "ensemble",
    "evaluate",
    "load_config",
    "load_model",
    "predict",
    "prepare",
    "run",
    "train",
    "tune",
]

_HOMES = {
    "Config": "config:Config",
    "Dataset": "dataset.store:Dataset",
    "EngineConfig": "config:EngineConfig",
    "LorgnetteError": "errors:LorgnetteError",
    "Predictions": "predictions:Predictions",
    "PrepareConfig": "config:PrepareConfig",
    "Run": "rundir:Run",
    "SourceConfig": "config:SourceConfig",
    "crossval": "api:crossval",
    "ensemble": "api:ensemble",
    "evaluate": "api:evaluate",
    "load_config": "resolve:load",
    "load_model": "api:load_model",
    "predict": "api:predict",
    "prepare": "api:prepare",
    "run": "api:run",
    "train": "api:train",
    "tune": "api:tune",
}
"""Where each public name lives: `module:name`."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `lorgnette --help` answers at once."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'lorgnette' has no attribute '{name}'")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"lorgnette.{module}"), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
