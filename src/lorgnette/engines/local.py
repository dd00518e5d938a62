"""The local engine: processes on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import types
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

from lorgnette.engines.attempt import Report, attempt, death
from lorgnette.engines.backlog import Backlog
from lorgnette.engines.base import ATTEMPTS, Item, Outcome, Task, Value
from lorgnette.engines.environment import variable
from lorgnette.engines.member import failed, member, values
from lorgnette.machine import processors

LAUNCHER = ("torch.distributed.elastic", "torch.multiprocessing")
"""Whose logs are the launcher's."""
UNKNOWN = "To enable traceback see"
"""What the launcher says of a member that left no word."""


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C comes after this, and never in a process that is started within.

    A terminal interrupts all processes at once. The parent alone decides what follows; a worker
    would print a traceback, wherever it is just then.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed parent cannot ask for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where loky itself replaced a process

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
        self.begun = 0.0

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

    def submit(self, task: Task[Any, Any], item: Any, limit: float | None) -> Future[Report]:
        """Start on an item."""
        self.begun = time.monotonic()
        with interrupts_held_back():  # the first item starts the process
            try:
                future: Future[Report] = self.pool.submit(attempt, task, item, limit)
            except BrokenProcessPool:  # it died while it had nothing to do
                self.replace()
                future = self.pool.submit(attempt, task, item, limit)
        return future

    @property
    def seconds(self) -> float:
        """Since it was given its item."""
        return time.monotonic() - self.begun

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

    def __init__(self, workers: int | None = None, limit: float | None = None) -> None:
        """Note how many workers there are to be; none is started.

        Args:
            workers: one per processor if not given.
            limit: seconds that an item, or a member of a gang, may take; no limit if not given.
        """
        self.workers = workers or processors()
        self.limit = limit

    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        """See `Engine.map`."""
        backlog = Backlog(items)
        running: dict[Future[Report], tuple[Worker, Item, int]] = {}
        idle: list[Worker] = []
        count = 0
        try:
            while True:
                while idle or count < self.workers:
                    if (taken := backlog.take()) is None:
                        break
                    item, attempts = taken
                    if not idle:
                        idle.append(Worker())
                        count += 1
                    worker = idle.pop()
                    running[worker.submit(task, item, self.limit)] = (worker, item, attempts + 1)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, item, attempts = running.pop(future)
                    try:
                        report = future.result()
                    except BrokenProcessPool:
                        report = death(worker.seconds, self.limit)
                        worker.replace()
                    idle.append(worker)
                    outcome = backlog.judge(item, attempts, report)
                    if outcome is not None:
                        yield outcome
        finally:
            for worker in [*idle, *(entry[0] for entry in running.values())]:
                worker.stop()

    def gang(self, task: Task[int, Value], members: int) -> list[Value]:
        """See `Engine.gang`."""
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        has = LaunchConfig.__dataclass_fields__
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=members,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=ATTEMPTS - 1,
            start_method="spawn",
            monitor_interval=0.1,
            # The launcher would take Ctrl-C for its own, also after the gang: it is given a signal
            # that nobody sends. (Before PyTorch 2.10 it cannot be told.)
            **({"signals_to_handle": "SIGURG"} if "signals_to_handle" in has else {}),
        )
        begun = time.monotonic()
        try:
            with (
                _own_store(),
                _few_threads(members),
                _launcher_silenced(),
                _interrupts_are_mine(),
                _without_main(),
            ):
                launch = elastic_launch(config, entrypoint=_member)
                reports: dict[int, list[Report] | None] = launch(os.getpid(), task, self.limit)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            spent = (time.monotonic() - begun) / ATTEMPTS
            raise failed(members, _reason(rank, failure, spent, self.limit)) from error
        return values(reports[0] or [])


def _few_threads(members: int) -> contextlib.AbstractContextManager[None]:
    """Let members share the processors, as PyTorch's own command for gangs does not."""
    if "OMP_NUM_THREADS" in os.environ:
        return contextlib.nullcontext()
    return variable("OMP_NUM_THREADS", str(max(processors() // members, 1)))


@contextlib.contextmanager
def _interrupts_are_mine() -> Iterator[None]:
    """Let Ctrl-C reach this process, and none that is started within.

    It is blocked in this thread, as it will be in what this thread starts, and let in by another
    one; the interpreter raises KeyboardInterrupt in its main thread, wherever it came in.
    """
    ended = threading.Event()
    door = threading.Thread(target=ended.wait, daemon=True)
    door.start()
    resource_tracker.ensure_running()  # started later, it would unblock the signal here
    try:
        with interrupts_held_back():
            yield
    finally:
        ended.set()
        door.join()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the user's script again: it may have no guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _launcher_silenced() -> Iterator[None]:
    """Leave what the launcher logs of members that die to the one sentence that follows.

    LOGLEVEL, its own setting, brings it back.
    """
    names = [name for name in logging.root.manager.loggerDict if name.startswith(LAUNCHER)]
    loggers = [] if "LOGLEVEL" in os.environ else [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _member(driver: int, task: Task[int, Any], limit: float | None) -> list[Report] | None:
    """Be one member of a gang, in a process that ends with its driver; see `member`."""
    end_with(driver)
    return member(task, limit)


def _reason(rank: int, failure: Any, seconds: float, limit: float | None) -> str:
    """What ended a member, in a few words.

    Args:
        rank: the member's.
        failure: what the launcher knows.
        seconds: that a start has taken, on average.
        limit: see `LocalEngine`.
    """
    message = failure.message
    if isinstance(message, dict):
        message = message.get("message", "")
    text = str(message).strip()
    if not text or UNKNOWN in text:  # it left no word, as one that its watch has ended
        return f"member {rank}: {death(seconds, limit, 'its process died').error}"
    said = text.splitlines()[0].removeprefix("MemberError: ")
    return said if said.startswith("member ") else f"member {rank}: {said}"


def _own_store() -> contextlib.AbstractContextManager[None]:
    """Give each start of a gang a store of its own.

    The launcher shares one store among all starts, without a prefix for each; a gang that starts
    again may read the addresses of the members that died and knock there in vain
    (https://github.com/pytorch/pytorch/issues/135712).
    """
    return variable("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
