"""Which items come next, and who has them: several reviewers never get the same one.

An item that is handed out is leased to a session for a while. The session renews its leases
whenever it asks for anything; one that has gone lets them run out, or gives them back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LEASE_SECONDS = 90.0
"""How long an item stays with a session that is not heard of."""

PASSED_MOST = 10_000
"""So many items that a session passed over are remembered; the oldest come again before that."""

Mask = NDArray[np.bool_]


@dataclass
class Session:
    """One open page.

    Attributes:
        who: the reviewer's name.
        until: when its leases run out.
        holds: places of the items that it has.
        passed: those that it did not want to decide now, the oldest first.
    """

    who: str
    until: float
    holds: set[int] = field(default_factory=set)
    passed: dict[int, None] = field(default_factory=dict)


class Queue:
    """Items by worth, and leases on them. Not thread-safe: its owner holds a lock."""

    def __init__(
        self, worth: NDArray[np.float32], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Sort the items.

        Args:
            worth: what a look at each item is worth, (N,).
            clock: in seconds.
        """
        self.clock = clock
        self.sessions: dict[str, Session] = {}
        self.order = _order(worth)

    def reorder(self, worth: NDArray[np.float32]) -> None:
        """Sort anew, by another worth (N,); leases stay."""
        self.order = _order(worth)

    def session(self, name: str, who: str) -> Session:
        """The session of a page, with its leases renewed; sessions that have gone are forgotten."""
        now = self.clock()
        for other in [key for key, each in self.sessions.items() if each.until < now]:
            if other != name:
                del self.sessions[other]
        session = self.sessions.setdefault(name, Session(who, now))
        session.who, session.until = who, now + LEASE_SECONDS
        return session

    def leave(self, name: str) -> None:
        """Give back what a session has."""
        self.sessions.pop(name, None)

    def elsewhere(self, session: Session) -> set[int]:
        """What other sessions hold."""
        now = self.clock()
        others = (each for each in self.sessions.values() if each is not session)
        return set().union(*(each.holds for each in others if each.until >= now))

    def take(self, session: Session, count: int, wanted: Mask, have: Collection[int]) -> list[int]:
        """Lease the next items to a session.

        Args:
            session: whose; it keeps `have`, and everything else that it held goes back.
            count: how many at most.
            wanted: which items may come, (N,).
            have: what it holds and wants to keep; these do not come again.

        Returns:
            Places, the most valuable first. Items that it passed over come when no other is left.
        """
        away = self.elsewhere(session) | set(have)
        taken = self._first(count, wanted, away | session.passed.keys())
        if len(taken) < count:
            again = [place for place in session.passed if wanted[place] and place not in away]
            taken += again[: count - len(taken)]
            for place in taken:
                session.passed.pop(place, None)
        session.holds = set(have) | set(taken)
        return taken

    def pass_over(self, session: Session, places: Iterable[int]) -> None:
        """Let items come again later."""
        for place in places:
            session.passed.pop(place, None)
            session.passed[place] = None
        while len(session.passed) > PASSED_MOST:
            session.passed.pop(next(iter(session.passed)))

    def _first(self, count: int, wanted: Mask, without: Collection[int]) -> list[int]:
        """The first items in order that are wanted and not among some."""
        found: list[int] = []
        # A piece at a time: nearly always the first has enough.
        for start in range(0, len(self.order), 1 << 16):
            piece = self.order[start : start + (1 << 16)]
            candidates = piece[wanted[piece]][: count + len(without)].tolist()
            found += [place for place in candidates if place not in without]
            if len(found) >= count:
                break
        return found[:count]


def _order(worth: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.argsort(-worth, kind="stable")
