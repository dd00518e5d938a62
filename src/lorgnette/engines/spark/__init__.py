"""Work on a Spark cluster. Spark is imported when an engine is made, and nowhere else."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from lorgnette.errors import MissingDependencyError

if TYPE_CHECKING:
    from lorgnette.engines.spark.engine import SparkEngine

__all__ = ["SparkEngine"]


def __getattr__(name: str) -> Any:
    """Import the engine when it is asked for.

    Raises:
        MissingDependencyError: pyspark is not installed.
    """
    if name != "SparkEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if importlib.util.find_spec("pyspark") is None:
        raise MissingDependencyError(
            "The engine spark needs the package pyspark, which is not installed. "
            "Run: pip install 'lorgnette[spark]'"
        )
    from lorgnette.engines.spark.engine import SparkEngine

    return SparkEngine
