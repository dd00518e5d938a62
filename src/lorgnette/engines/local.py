"""The local engine: processes on this machine."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import traceback as tb
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from lorgnette.engines.base import ATTEMPTS, Item, Outcome, Task, Value
from lorgnette.errors import EngineError, LorgnetteError


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker sends back: plain data, so that no exception has to survive pickling."""

    value: Any = None
    error: str | None = None
    traceback: str | None = None
    final: bool = False
    seconds: float = 0.0


def attempt(task: Task[Any, Any], item: Any) -> Report:
    """Run the task on one item, inside the worker, and tell what happened."""
    start = time.perf_counter()
    try:
        value = task(item)
    except LorgnetteError as error:
        return Report(
            error=str(error),
            traceback=tb.format_exc(),
            final=True,
            seconds=time.perf_counter() - start,
        )
    except Exception as error:
        return Report(
            error=f"{type(error).__name__}: {error}",
            traceback=tb.format_exc(),
            seconds=time.perf_counter() - start,
        )
    return Report(value=value, seconds=time.perf_counter() - start)


def end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed parent cannot ask for it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Worker:
    """One process that runs one item at a time, and is replaced when it dies.

    Each worker is a pool of one process. With a shared pool, a process that dies takes the futures
    of all the others with it and nobody can tell whose item killed it; here that is known.
    """

    def __init__(self) -> None:
        self.pool = self._start()

    @staticmethod
    def _start() -> Any:
        # loky rather than multiprocessing: it does not import the user's __main__ again, so a
        # script without an `if __name__ == "__main__"` guard works.
        from loky import ProcessPoolExecutor

        return ProcessPoolExecutor(
            max_workers=1,
            env={"OMP_NUM_THREADS": "1"},  # workers share the processors among themselves
            initializer=end_with,
            initargs=(os.getpid(),),
        )

    def submit(self, task: Task[Any, Any], item: Any) -> Future[Report]:
        """Start on an item."""
        future: Future[Report] = self.pool.submit(attempt, task, item)
        return future

    def replace(self) -> None:
        """Take a new process in place of a dead one."""
        self.stop()
        self.pool = self._start()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.pool.shutdown(wait=True, kill_workers=True)


class LocalEngine:
    """Processes on this machine for `map`, PyTorch's elastic launcher for `gang`."""

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))

    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        """See `Engine.map`."""
        source = iter(items)
        waiting: list[tuple[Item, int]] = []  # items to try again, with the attempts so far
        running: dict[Future[Report], tuple[Worker, Item, int]] = {}
        idle: list[Worker] = []
        count = 0
        try:
            while True:
                while idle or count < self.workers:
                    if waiting:
                        item, attempts = waiting.pop(0)
                    else:
                        try:
                            item, attempts = next(source), 0
                        except StopIteration:
                            break
                    if not idle:
                        idle.append(Worker())
                        count += 1
                    worker = idle.pop()
                    running[worker.submit(task, item)] = (worker, item, attempts + 1)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, item, attempts = running.pop(future)
                    try:
                        report = future.result()
                    except BrokenProcessPool:
                        worker.replace()
                        report = Report(error="the worker process died while it ran this item")
                    idle.append(worker)
                    if report.error and not report.final and attempts < ATTEMPTS:
                        waiting.append((item, attempts))
                        continue
                    yield Outcome(
                        item,
                        report.value,
                        report.error,
                        report.traceback,
                        report.seconds,
                        attempts,
                    )
        finally:
            for worker in [*idle, *(entry[0] for entry in running.values())]:
                worker.stop()

    def gang(self, task: Task[int, Value], members: int) -> list[Value]:
        """See `Engine.gang`."""
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=members,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=ATTEMPTS - 1,
            start_method="spawn",
            monitor_interval=0.1,
        )
        try:
            with _own_store():
                values: dict[int, Value] = elastic_launch(config, entrypoint=member)(task)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise EngineError(
                f"a gang of {members} failed {ATTEMPTS} times; last, member {rank}: "
                f"{failure.message}"
            ) from error
        return [values[rank] for rank in sorted(values)]


@contextlib.contextmanager
def _own_store() -> Iterator[None]:
    """Give each start of a gang a store of its own.

    The launcher shares one store among all starts, without a prefix for each; a gang that starts
    again may read the addresses of the members that died and knock there in vain
    (https://github.com/pytorch/pytorch/issues/135712).
    """
    name = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def member(task: Task[int, Value]) -> Value:
    """Run a gang's task in the process of one member."""
    return task(int(os.environ["RANK"]))
