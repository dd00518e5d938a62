"""What is left of a map: items that nobody has taken, and those to be tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Generic

from lorgnette.engines.attempt import Report
from lorgnette.engines.base import ATTEMPTS, Item, Outcome


class Backlog(Generic[Item]):
    """Hands out items one at a time, drawn as they are asked for, and bounds the tries of each."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._source = iter(items)
        self._again: deque[tuple[Item, int]] = deque()
        self._drained = False

    def take(self) -> tuple[Item, int] | None:
        """An item and how often it was tried before; None if there is none at the moment.

        Items to be tried again come first; there may be more of them while others still run.
        """
        if self._again:
            return self._again.popleft()
        if not self._drained:
            for item in self._source:
                return item, 0
            self._drained = True
        return None

    def judge(self, item: Item, attempts: int, report: Report) -> Outcome[Item, Any] | None:
        """The outcome of an item after so many tries; None where it is put back to be tried again.

        Args:
            item: as it was taken.
            attempts: tries in all.
            report: of the last one.
        """
        if not report.final and attempts < ATTEMPTS:
            self._again.append((item, attempts))
            return None
        return Outcome(item, report.value, report.error, report.traceback, report.seconds, attempts)
