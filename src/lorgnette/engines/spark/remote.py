"""What runs on the machines of the cluster: one item of a map, one member of a gang."""

from __future__ import annotations

import atexit
import os
import pickle
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from pyspark import TaskContext

from lorgnette.engines.attempt import Report, attempt
from lorgnette.engines.base import ATTEMPTS, Task
from lorgnette.engines.local import end_with
from lorgnette.engines.member import MemberError, member

FAILED = "lorgnette: a member failed: "
"""Marks the line of an error that says why a member failed."""


def run_item(blob: bytes) -> bytes:
    """Try one item, inside a task of Spark.

    Spark itself starts a task again whose Python process or executor died. Such tries count too.

    Args:
        blob: the pickled task, the pickled item, the limit in seconds, and the tries before this
            job.

    Returns:
        The pickled number of tries in all and the pickled `Report`; in place of the report None
        where the tries were used up by workers that died.
    """
    task, item, limit, before = pickle.loads(blob)
    context = TaskContext.get()
    tries = before + 1 + (context.attemptNumber() if context is not None else 0)
    if tries > ATTEMPTS:
        return pickle.dumps((ATTEMPTS, None))
    if context is not None and "gpu" in context.resources():
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(context.resources()["gpu"].addresses)
    start = time.perf_counter()
    report = attempt(task, item, limit)
    try:
        return pickle.dumps((tries, report))
    except Exception as error:  # whatever the value's own code raises
        reason = f"what the task returned cannot be pickled: {type(error).__name__}: {error}"
        report = Report(error=reason, seconds=time.perf_counter() - start)
        return pickle.dumps((tries, report))


def run_member(task: Task[int, Any], limit: float | None) -> list[Report] | Failure | None:
    """Be one member of a gang, in a process that the launcher has started; see `member`.

    The launcher passes on what this returns, but nothing of what it raises or writes.
    """
    end_with(os.getppid())
    try:
        return member(task, limit)
    except MemberError as error:
        atexit.register(os._exit, 1)  # the file with the value is closed before that
        return Failure(str(error).splitlines()[0])


@dataclass(frozen=True)
class Failure:
    """Why a member failed: a value that raises the reason in the task of Spark that reads it."""

    reason: str

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return fail, (self.reason,)


def fail(reason: str) -> NoReturn:
    """Raise a member's reason, marked so that it can be found in what Spark says."""
    raise MemberFailure(f"{FAILED}{reason}")


class MemberFailure(BaseException):
    """Ends a task of Spark; the launcher hides an `Exception` behind one of its own."""
