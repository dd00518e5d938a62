"""What can go wrong, as a tree.

Every message is written for the person at the keyboard: the rule, the value received, the fix.

    LorgnetteError
    ├── ConfigError             a setting, a name or an argument is not allowed     (ValueError)
    ├── SourceError             the images and labels cannot be read as described
    ├── DatasetError            a prepared dataset is damaged, foreign or does not match
    │   └── LockedError         another process is writing to the same directory
    ├── SplitError              the items cannot be divided as asked
    ├── TrainingError           training cannot go on: not a number, no memory
    ├── ModelError              a run directory or a model in it cannot be used
    ├── StorageError            a disk or an object store refused: full, read-only, unreachable
    ├── EngineError             work failed on every attempt
    └── MissingDependencyError  an optional extra is not installed                 (ImportError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LorgnetteError(Exception):
    """Anything that Lorgnette reports in one sentence instead of a traceback."""


class ConfigError(LorgnetteError, ValueError):
    """A setting, a name or an argument is not allowed."""


class SourceError(LorgnetteError):
    """The images and labels cannot be read as described."""


class DatasetError(LorgnetteError):
    """A prepared dataset is damaged, foreign or does not match what is asked of it."""


class LockedError(DatasetError):
    """Another process is writing to the same directory."""


class SplitError(LorgnetteError):
    """The items cannot be divided as asked."""


class TrainingError(LorgnetteError):
    """Training cannot go on; the last good checkpoint stays."""


class ModelError(LorgnetteError):
    """A run directory or a model in it cannot be used."""


class StorageError(LorgnetteError):
    """A disk or an object store refused to read or write."""


class EngineError(LorgnetteError):
    """Work failed on every attempt."""


class MissingDependencyError(LorgnetteError, ImportError):
    """An optional extra is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the known names, the nearest one first: "did you mean ...?"."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}." if names else "none are known."
