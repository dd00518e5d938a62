"""The Ray engine: actors for `map`, Ray Train for `gang`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from lorgnette.config import EngineConfig
from lorgnette.engines.backlog import Backlog
from lorgnette.engines.base import Item, Outcome, Task, Value
from lorgnette.engines.ray.session import connect, places, require

__all__ = ["RayEngine"]


class RayEngine:
    """Processes of a Ray cluster, or of Ray on this machine."""

    name = "ray"

    def __init__(self, settings: EngineConfig) -> None:
        """Note the settings; the cluster is connected to when it is first given work.

        Raises:
            MissingDependencyError: Ray is not installed.
        """
        require()
        self.settings = settings

    @cached_property
    def workers(self) -> int:
        """As many as the configuration says, or as the cluster has places for when first asked.

        Raises:
            EngineError: no cluster answered.
        """
        if self.settings.workers:
            return self.settings.workers
        connect(self.settings)
        return max(1, places(self.settings.gpus))

    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        """See `Engine.map`.

        Raises:
            EngineError: no cluster answered, or it had no worker to give, for
                `engine.patience_seconds`.
        """
        connect(self.settings)
        from lorgnette.engines.ray.workers import Crew

        backlog = Backlog(items)
        waiting: list[tuple[Item, int]] = []  # items to be given out, with the tries so far
        crew = Crew(task, self.settings, self.workers)
        try:
            while True:
                drained = False
                while not drained and len(crew.busy) + len(waiting) < crew.size:
                    taken = backlog.take()
                    drained = taken is None
                    waiting += [taken] if taken is not None else []
                crew.hand_out(waiting)
                if drained and not waiting:
                    crew.dismiss_idle()
                    if not crew.busy:
                        return
                for item, attempts, report in crew.reports():
                    outcome = backlog.judge(item, attempts, report)
                    if outcome is not None:
                        yield outcome
        finally:
            crew.stop()

    def gang(self, task: Task[int, Value], members: int) -> list[Value]:
        """See `Engine.gang`.

        Raises:
            EngineError: the gang failed on every attempt, or the cluster did not answer, or had no
                room for all members, for `engine.patience_seconds`.
        """
        connect(self.settings)
        from lorgnette.engines.ray.gang import run

        return run(task, members, self.settings)
