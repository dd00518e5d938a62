"""The Ray engine: actors for `map`, Ray Train for `gang`; needs the extra `ray`."""

from lorgnette.engines.ray.engine import RayEngine

__all__ = ["RayEngine"]
