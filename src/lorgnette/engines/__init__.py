"""Where work runs: the protocol in `base`, and one module per engine."""

from lorgnette.config import EngineConfig
from lorgnette.engines.base import Engine, Outcome, Task
from lorgnette.engines.local import LocalEngine

__all__ = ["Engine", "Outcome", "Task", "open_engine"]


def open_engine(settings: EngineConfig) -> Engine:
    """The engine of a configuration; a cluster is connected to when it is first given work.

    Raises:
        MissingDependencyError: the engine's package is not installed.
    """
    if settings.name == "spark":
        from lorgnette.engines.spark import SparkEngine

        return SparkEngine(settings)
    if settings.name == "ray":
        from lorgnette.engines.ray import RayEngine

        return RayEngine(settings)
    return LocalEngine(settings.workers, 60 * settings.limit_minutes)
