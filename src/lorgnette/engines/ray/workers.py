"""Workers of `map` on Ray: actors that hold a processor each and run one item at a time.

Actors rather than Ray's tasks: the driver knows which worker has an item and since when, so that a
death counts against the item that was running, and work that waits for a place in the cluster is
told from work that takes long.
"""

from __future__ import annotations

import contextlib
import pickle
import time
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from lorgnette.config import EngineConfig
from lorgnette.engines.attempt import Report, attempt, death
from lorgnette.engines.base import ATTEMPTS, Task
from lorgnette.engines.ray.session import needs, room
from lorgnette.errors import EngineError

TICK_SECONDS = 0.5
"""How often somebody who waits for workers to start looks up."""


class Runner:
    """The worker's side: what runs in the cluster.

    Tasks, items and reports travel as bytes, so that arrays arrive as they do on other engines:
    writable, and not held in Ray's object store.
    """

    def ready(self) -> None:
        """Answer as soon as the cluster has given a place."""

    def run(self, task: bytes, item: bytes, limit: float) -> bytes:
        """Try one item."""
        return pickle.dumps(attempt(pickle.loads(task), pickle.loads(item), limit))


class Worker:
    """The driver's side of one worker.

    Attributes:
        ref: what is waited for: that it is ready, or the report on its item.
    """

    def __init__(self, gpus: float) -> None:
        """Ask the cluster for a place; `ref` is done when it has given one."""
        made = ray.remote(Runner).options(
            num_cpus=1, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self.actor: Any = made.remote()
        self.ref: Any = self.actor.ready.remote()
        self.item: Any = None
        self.number = 0
        self.begun = 0.0

    def begin(self, task: bytes, item: Any, number: int, limit: float) -> None:
        """Start on an item."""
        self.item, self.number = item, number
        self.ref = self.actor.run.remote(task, pickle.dumps(item), limit)
        self.begun = time.monotonic()

    def started(self) -> str | None:
        """None if the place it asked for is there, else why it never will be."""
        try:
            ray.get(self.ref)
        except RayError as error:
            return sentence(error)
        return None

    def report(self, limit: float) -> tuple[Report, bool]:
        """What became of its item, and whether the worker lives on."""
        try:
            report: Report = pickle.loads(ray.get(self.ref))
        except RayTaskError as error:
            # no report could be made: what was to travel cannot be pickled, there or here
            return Report(error=sentence(error), traceback=str(error)), True
        except RayError:
            # the process is gone, or the node, or the report that lay on it
            return death(time.monotonic() - self.begun, limit), False
        return report, True

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        with contextlib.suppress(Exception):  # Ray itself may be gone
            ray.kill(self.actor)


class Crew:
    """The workers of one `map`: hired as there is work, replaced when they die."""

    def __init__(self, task: Task[Any, Any], settings: EngineConfig, size: int) -> None:
        """Hire nobody yet.

        Args:
            task: what all of them do.
            settings: `gpus`, `patience_seconds` and `limit_minutes` are read.
            size: the greatest number of workers.
        """
        self.task = pickle.dumps(task)
        self.settings = settings
        self.size = size
        self.limit = 60 * settings.limit_minutes
        self.starting: list[Worker] = []
        self.idle: list[Worker] = []
        self.busy: list[Worker] = []
        self.failures = 0  # of workers to start, since one did
        self.waited = 0.0  # seconds without a worker

    def hand_out(self, waiting: list[tuple[Any, int]]) -> None:
        """Give items to workers, and hire for those that are left.

        Args:
            waiting: items with the number of tries they have had; those that are given go.
        """
        while waiting and self.idle:
            item, tries = waiting.pop(0)
            worker = self.idle.pop()
            worker.begin(self.task, item, tries + 1, self.limit)
            self.busy.append(worker)
        while len(self.starting) < len(waiting) and len(self.starting) + len(self.busy) < self.size:
            self.starting.append(Worker(self.settings.gpus))

    def dismiss_idle(self) -> None:
        """Give back the places of those who have nothing to do."""
        while self.idle:
            self.idle.pop().stop()

    def reports(self) -> list[tuple[Any, int, Report]]:
        """Wait a moment; items that ended, with the number of the try and what became of them.

        Raises:
            EngineError: the cluster has had no worker to give for too long.
        """
        begun = time.monotonic()
        refs = [worker.ref for worker in [*self.starting, *self.busy]]
        done = set(ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if refs else set()
        if not done:
            if refs:
                done = set(ray.wait(refs, timeout=TICK_SECONDS)[0])
            else:
                time.sleep(TICK_SECONDS)
        for worker in [worker for worker in self.starting if worker.ref in done]:
            self.starting.remove(worker)
            self._greet(worker)
        ended = []
        for worker in [worker for worker in self.busy if worker.ref in done]:
            self.busy.remove(worker)
            report, lives = worker.report(self.limit)
            ended.append((worker.item, worker.number, report))
            if lives:
                self.idle.append(worker)
            else:
                worker.stop()
        self.waited += time.monotonic() - begun
        if self.busy or self.idle or ended:
            self.waited = 0.0
        elif self.waited > self.settings.patience_seconds:
            raise self._impatient()
        return ended

    def _greet(self, worker: Worker) -> None:
        """Take in a worker that has started, or give up after too many that could not."""
        reason = worker.started()
        if reason is None:
            self.idle.append(worker)
            self.failures = 0
            return
        worker.stop()
        self.failures += 1
        if self.failures > ATTEMPTS * self.size:
            raise EngineError(
                f"No worker could be started on Ray in {self.failures} tries; last: {reason}"
            )
        time.sleep(TICK_SECONDS)  # a node that is dying takes some time to be known as dead

    def _impatient(self) -> EngineError:
        gpus = self.settings.gpus
        return EngineError(
            f"Ray had no worker to give within {self.settings.patience_seconds:g} s "
            f"(engine.patience_seconds): each needs {needs(gpus)}, and the cluster has "
            f"{room(gpus)}. Add nodes, or wait until others have ended"
        )

    def stop(self) -> None:
        """End all processes."""
        for worker in [*self.starting, *self.idle, *self.busy]:
            worker.stop()


def sentence(error: Exception) -> str:
    """The line of a message of Ray that names the cause: the last, under the tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
