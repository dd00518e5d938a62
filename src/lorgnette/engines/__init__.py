"""Where work runs: the protocol in `base`, and one module per engine."""

from lorgnette.config import EngineConfig
from lorgnette.engines.base import Engine, Outcome, Task
from lorgnette.engines.local import LocalEngine

__all__ = ["Engine", "Outcome", "Task", "open_engine"]


def open_engine(settings: EngineConfig) -> Engine:
    """The engine of a configuration."""
    return LocalEngine(settings.workers)
