"""The Spark engine: one small job per item, and `TorchDistributor` for gangs."""

from __future__ import annotations

import importlib.util
import pickle
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pyspark.sql import SparkSession

from lorgnette.config import EngineConfig
from lorgnette.engines.attempt import Report, death
from lorgnette.engines.backlog import Backlog
from lorgnette.engines.base import ATTEMPTS, Item, Outcome, Task, Value
from lorgnette.engines.member import failed, values
from lorgnette.engines.spark.jobs import JobGroup, check_installed, died, reason, tries
from lorgnette.engines.spark.remote import run_item
from lorgnette.engines.spark.session import grows, session_of, settled_slots, wait_for_slots
from lorgnette.errors import EngineError, MissingDependencyError


class SparkEngine:
    """Tasks of Spark for `map`, barrier stages with PyTorch's launcher for `gang`."""

    name = "spark"

    def __init__(self, settings: EngineConfig) -> None:
        """Note the settings; the cluster is connected to when it is first needed."""
        self.settings = settings
        self.limit = 60 * settings.limit_minutes
        self.patience = settings.patience_seconds

    @property
    def session(self) -> SparkSession:
        """The session, which is opened if there is none.

        Raises:
            ConfigError: a session on another master is open.
            EngineError: the master does not answer.
        """
        return session_of(self.settings)

    @property
    def workers(self) -> int:
        """As many as the settings say, or as the cluster can run tasks at once.

        Raises:
            EngineError: the cluster has no worker in `patience_seconds`.
        """
        if self.settings.workers is not None:
            return self.settings.workers
        session = self.session
        if grows(session):
            raise EngineError(
                "A Spark cluster that grows with its work (spark.dynamicAllocation.enabled) must "
                "be told how far. Give the number of workers (engine.workers)."
            )
        return settled_slots(session, self.patience)

    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        """See `Engine.map`."""
        backlog = Backlog(items)
        session = self.session
        workers = self.workers
        group = JobGroup(session, task.function, self.patience)
        running: dict[Future[tuple[int, Report]], Item] = {}
        pool = ThreadPoolExecutor(workers, thread_name_prefix="lorgnette-spark")
        try:
            while True:
                while len(running) < workers and (taken := backlog.take()) is not None:
                    item, attempts = taken
                    future = pool.submit(self._try, group, task, item, attempts)
                    running[future] = item
                if not running:
                    return
                for future in group.ended(running):
                    item = running.pop(future)
                    attempts, report = future.result()
                    outcome = backlog.judge(item, attempts, report)
                    if outcome is not None:
                        yield outcome
                        group.resume()
        finally:
            group.cancel(running)
            pool.shutdown(wait=False, cancel_futures=True)

    def gang(self, task: Task[int, Value], members: int) -> list[Value]:
        """See `Engine.gang`."""
        if importlib.util.find_spec("pandas") is None:  # the launcher of Spark imports it
            raise MissingDependencyError(
                "A gang on Spark needs the package pandas, which is not installed. "
                "Run: pip install 'lorgnette[spark]'"
            )
        from lorgnette.engines.spark.gang import launch, why

        session = self.session
        if grows(session):
            raise EngineError(
                "Spark starts no gang on a cluster that grows with its work. Set "
                "spark.dynamicAllocation.enabled to false, with as many executors as members."
            )
        group = JobGroup(session, task.function, self.patience)
        error: Exception | None = None
        for _ in range(ATTEMPTS):
            wait_for_slots(session, members, self.patience)
            group.resume()
            pool = ThreadPoolExecutor(1, thread_name_prefix="lorgnette-spark")
            job = pool.submit(launch, group, task, members, self.settings.gpus > 0, self.limit)
            try:
                group.ended([job])
                error = job.exception()  # type: ignore[assignment]
            finally:
                group.cancel([job])
                pool.shutdown(wait=False, cancel_futures=True)
            if error is None:
                return values(job.result())
            if isinstance(error, EngineError):
                raise error
            group.check_alive()
            check_installed(str(error))
        raise failed(members, why(str(error))) from error

    def _try(
        self, group: JobGroup, task: Task[Any, Any], item: Any, attempts: int
    ) -> tuple[int, Report]:
        """Run one item as a job of its own; returns the tries in all and the last report."""
        begun, before = time.monotonic(), attempts
        blob = pickle.dumps((task, item, self.limit, attempts))
        group.enter()
        try:
            (answer,) = group.context.parallelize([blob], 1).map(run_item).collect()
        except Exception as error:
            group.check_alive()
            text = str(error)
            check_installed(text)
            attempts = min(attempts + tries(text), ATTEMPTS)
            if not died(text):
                return attempts, Report(error=reason(text), traceback=text)
            report = None
        else:
            attempts, report = pickle.loads(answer)
        if report is None:
            spent = time.monotonic() - begun
            each = spent / max(attempts - before, 1)  # a job tries more than once where it can
            report = death(each, self.limit)
        return attempts, report
