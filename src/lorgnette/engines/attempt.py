"""One try of a task inside a worker, the same on every engine."""

from __future__ import annotations

import contextlib
import faulthandler
import time
import traceback as tb
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lorgnette import errors
from lorgnette.engines.base import Task
from lorgnette.errors import EngineError, LorgnetteError

DIED = "the worker process died while it ran this item"


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker sends back: plain data, so that no exception has to survive pickling.

    Attributes:
        value: what the task returned; None where it failed.
        error: one sentence; None where it succeeded.
        traceback: the worker's, for `--debug`.
        kind: the class of a `LorgnetteError`, which is a verdict and not tried again; else empty.
        seconds: wall time.
    """

    value: Any = None
    error: str | None = None
    traceback: str | None = None
    kind: str = ""
    seconds: float = 0.0

    @property
    def final(self) -> bool:
        """Whether trying again makes no sense: it succeeded, or the error is a verdict."""
        return self.error is None or bool(self.kind)

    def verdict(self) -> LorgnetteError:
        """The error as it was raised in the worker."""
        made: LorgnetteError = getattr(errors, self.kind, EngineError)(self.error)
        return made


def attempt(task: Task[Any, Any], item: Any, limit: float | None = None) -> Report:
    """Run the task on one item, inside the worker, and tell what happened.

    Args:
        task: what to call.
        item: what to call it with.
        limit: seconds after which the process ends itself, whatever it is doing; see `limited`.
    """
    start = time.perf_counter()

    def spent() -> float:
        return time.perf_counter() - start

    try:
        with limited(limit):
            value = task(item)
    except LorgnetteError as error:
        return Report(
            error=str(error),
            traceback=tb.format_exc(),
            kind=type(error).__name__,
            seconds=spent(),
        )
    except Exception as error:
        return Report(
            error=f"{type(error).__name__}: {error}",
            traceback=tb.format_exc(),
            seconds=spent(),
        )
    return Report(value=value, seconds=spent())


@contextlib.contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """End this process when a block takes longer: a hang becomes a worker that died.

    The watch is a thread outside the interpreter, so that it works while C code holds it up.
    """
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def death(seconds: float, limit: float | None, died: str = DIED) -> Report:
    """The report of a worker that sent none, by how long the engine has waited for it.

    Args:
        seconds: the wait.
        limit: after which it ends itself.
        died: what is said of one that has ended before.
    """
    if limit is not None and seconds >= limit:
        return Report(
            error=f"it took longer than {limit / 60:g} minutes (engine.limit_minutes) and was ended"
        )
    return Report(error=died, seconds=seconds)
