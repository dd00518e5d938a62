"""Jobs that belong together: submitted from threads, watched and cancelled as one."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

from pyspark.sql import SparkSession

from lorgnette.engines.spark.session import slots
from lorgnette.errors import EngineError

Result = TypeVar("Result")

TICK_SECONDS = 1.0
"""How often the cluster is asked whether anything runs, while nothing ends."""
DEATHS = ("Python worker exited", "ExecutorLostFailure", "ExecutorLost", "ExecutorDeadException")
"""What Spark writes when the process of a task died."""


class JobGroup:
    """The jobs of one map or gang."""

    def __init__(self, session: SparkSession, description: str, patience: float) -> None:
        """Start none.

        Args:
            session: where jobs run.
            description: for Spark's own pages.
            patience: seconds in which the cluster must find a worker for at least one task.
        """
        self.session = session
        self.context = session.sparkContext
        self.description = description
        self.patience = patience
        self.name = f"lorgnette-{uuid.uuid4().hex}"
        self.seen = time.monotonic()

    def enter(self) -> None:
        """Put the jobs that this thread submits into the group."""
        self.context.setJobGroup(self.name, self.description, interruptOnCancel=True)

    def resume(self) -> None:
        """Begin to wait anew: what passed was not the cluster's time."""
        self.seen = time.monotonic()

    def ended(self, futures: Iterable[Future[Result]]) -> set[Future[Result]]:
        """Wait for one or more of the threads that submitted jobs.

        Raises:
            EngineError: no task has run for `patience` seconds, or Spark has ended.
        """
        futures = list(futures)
        while True:
            done = wait(futures, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED).done
            if done or self._tasks():
                self.resume()
            if done:
                return done
            if time.monotonic() - self.seen > self.patience:
                raise EngineError(
                    f"The Spark cluster at {self.context.master} has started no task for "
                    f"{self.patience:g} seconds (engine.patience_seconds); it can run "
                    f"{slots(self.session)} at once. Check that its workers run and are not taken "
                    "by other work. What was written is kept: start the same command again."
                )

    def cancel(self, futures: Iterable[Future[Any]]) -> None:
        """End what runs, and wait for the threads."""
        deadline = time.monotonic() + self.patience
        waiting = {future for future in futures if not future.cancel()}
        while waiting and time.monotonic() < deadline:
            # again and again: a thread may submit its job after the others were cancelled
            with contextlib.suppress(Exception):
                self.context.cancelJobGroup(self.name)
            waiting = wait(waiting, timeout=0.2).not_done

    def check_alive(self) -> None:
        """Refuse to go on with a Spark that has stopped.

        Raises:
            EngineError: it has.
        """
        try:
            stopped = bool(self.context._jsc.sc().isStopped())
        except Exception:  # its process is gone, or the session was stopped here
            stopped = True
        if stopped:
            raise EngineError(
                f"The Spark application on {self.context.master} has ended while work was left. "
                "What was written is kept: start the same command again."
            )

    def _tasks(self) -> int:
        """How many tasks of the group run now."""
        self.check_alive()
        tracker = self.context.statusTracker()
        count = 0
        for job in {*tracker.getActiveJobsIds()} & {*tracker.getJobIdsForGroup(self.name)}:
            for stage in getattr(tracker.getJobInfo(job), "stageIds", ()):
                count += getattr(tracker.getStageInfo(stage), "numActiveTasks", 0)
        return count


def check_installed(text: str) -> None:
    """Refuse to try again what cannot work: the machines of the cluster lack this package.

    Raises:
        EngineError: they do, by what Spark says of a job.
    """
    if re.search(r"No module named '(lorgnette|loky|torch)", text):
        raise EngineError(
            "The Python of the cluster's machines has no Lorgnette: install the same version "
            "there, and set PYSPARK_PYTHON to that interpreter where it is not their python3."
        )


def died(text: str) -> bool:
    """Whether a job failed because processes died, by what Spark says of it."""
    return any(sign in text for sign in DEATHS)


def tries(text: str) -> int:
    """How often Spark tried the task of a job that failed, by what it says of it."""
    found = re.search(r"failed (\d+) times", text)
    return int(found[1]) if found else 1


def reason(text: str) -> str:
    """What ended a job that failed, in one line, from the stack traces that Spark gives."""
    lines = [line.strip() for line in text.splitlines()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failure)\b.*:", line)]
    python = [line for line in named if not re.match(r"(org|java|py4j|pyspark)\.", line)]
    return (python or named or [line for line in lines if line] or ["no reason given"])[-1]
