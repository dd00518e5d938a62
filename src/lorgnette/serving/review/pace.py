"""How long a decision takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

import numpy as np

from lorgnette.dataset.decisions import Decision

PAUSE_SECONDS = 120.0
"""A longer gap is a pause and not counted."""
REMEMBERED = 300
"""So many of the last decisions count."""


class Pace:
    """The median of seconds between a reviewer's decisions; several at once share their time."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.gaps: deque[float] = deque(maxlen=REMEMBERED)

    def add(self, who: str, count: int, when: float) -> None:
        """`count` decisions were made at once, at a time in seconds."""
        gap = when - self.last.get(who, -np.inf)
        if 0 < gap <= PAUSE_SECONDS:
            self.gaps.extend([gap / count] * count)
        self.last[who] = when

    def read(self, decisions: Iterable[Decision]) -> None:
        """Take in what a ledger says, the oldest first."""
        batch: tuple[str, str] | None = None
        count = 0
        for each in decisions:
            if each.by != "person" or each.action == "undo":
                continue
            if (each.who, each.when) != batch:
                self._close(batch, count)
                batch, count = (each.who, each.when), 0
            count += 1
        self._close(batch, count)

    def _close(self, batch: tuple[str, str] | None, count: int) -> None:
        if batch is not None:
            try:
                self.add(batch[0], count, datetime.fromisoformat(batch[1]).timestamp())
            except ValueError:  # written by hand
                return

    @property
    def seconds(self) -> float | None:
        """Per decision; None before there are two."""
        return float(np.median(self.gaps)) if self.gaps else None
