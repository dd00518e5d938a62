"""The state behind the page: the ledger, the queue over it, and what decisions do to both.

Everything that must outlive the server is in the ledger; what is held here (who looks at what, and
what was passed over) may be lost at any moment. Threads share one board.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lorgnette.dataset.decisions import Standing, Wanted
from lorgnette.dataset.history import Fold
from lorgnette.dataset.store import Dataset
from lorgnette.dataset.yardstick import Yardstick
from lorgnette.errors import ConfigError
from lorgnette.serving.review import advice
from lorgnette.serving.review.economy import PERSON, RULE, Economy, estimate, settled
from lorgnette.serving.review.findings import KINDS, Findings
from lorgnette.serving.review.last import GRID_REASON, done_before, last
from lorgnette.serving.review.pace import REMEMBERED, Pace
from lorgnette.serving.review.queue import Queue
from lorgnette.serving.review.views import Views, stamp

Mode = Literal["one", "grid", "blind"]
Wish = Literal["keep", "label", "drop", "undecidable"]

LONGEST_NAME = 80
"""Of a reviewer, in characters."""
BLIND_REASON = "yardstick"


class Choice:
    """What a reviewer wants of an item: a wish, its class, and the stamp that was seen."""

    __slots__ = ("place", "stamp", "to", "wish")

    def __init__(self, place: int, wish: Wish, to: str | None, stamp: str) -> None:
        self.place, self.wish, self.to, self.stamp = place, wish, to, stamp


class Board:
    """Items, their findings, and what was decided about them.

    Attributes:
        dataset: whose labels are settled.
        findings: what the audit says.
        yardstick: places of the items that are to be judged blind, in the order they come.
        target: the share of wrong labels that is good enough.
    """

    def __init__(
        self, dataset: Dataset, findings: Findings, yardstick: Yardstick | None, target: float
    ) -> None:
        """Read what was decided so far.

        Raises:
            DatasetError: the ledger is damaged.
        """
        self.dataset, self.findings, self.target = dataset, findings, target
        self.views = Views(dataset, findings)
        self.ledger = dataset.ledger
        ids = yardstick.ids if yardstick else ()
        places = self.ledger.places(ids)
        self.yardstick: NDArray[np.int64] = places[places >= 0]
        self._on_yardstick = np.zeros(len(findings), bool)
        self._on_yardstick[self.yardstick] = True
        self._lock = threading.RLock()
        self._seen: Fold | None = None
        self._economy: Economy | None = None
        self.version = 0
        self.queue = Queue(findings.worth)
        blind_worth = np.zeros(len(findings), np.float32)
        blind_worth[self.yardstick] = np.linspace(1, 0.5, len(self.yardstick), dtype=np.float32)
        self.blind_queue = Queue(blind_worth)
        self.pace = Pace()
        self.pace.read(reversed(self.ledger.recent(REMEMBERED)))
        self._follow()

    # Handing out

    def next(
        self,
        session: str,
        who: str,
        mode: Mode,
        kind: str | None,
        count: int,
        have: Sequence[int],
        passed: Sequence[int],
    ) -> dict[str, Any]:
        """The next items for a page.

        Args:
            session: the page.
            who: the reviewer.
            mode: `one` at a time, several as a `grid`, or `blind`.
            kind: only items of this finding.
            count: how many more at most.
            have: what the page has and keeps.
            passed: what it passes over.
        """
        with self._lock:
            fold = self._follow()
            queue = self.blind_queue if mode == "blind" else self.queue
            self._only(session, queue)
            mine = queue.session(session, who)
            queue.pass_over(mine, self._real(passed))
            kept = self._real(have)
            wanted = self._wanted(fold, mode, kind)
            if mode == "grid":
                return self._grid(mine, fold, wanted, count)
            places = queue.take(mine, count, wanted, kept)
            return {"items": [self._view(place, mode == "blind", fold) for place in places]}

    def look(self, place: int, blind: bool) -> dict[str, Any]:
        """One item, as it is now.

        Raises:
            ConfigError: there is no such item.
        """
        self._check(place)
        with self._lock:
            return self._view(place, blind, self._follow())

    def leave(self, session: str) -> None:
        """A page is closed: others may have what it had."""
        with self._lock:
            self.queue.leave(session)
            self.blind_queue.leave(session)

    def _only(self, session: str, queue: Queue) -> None:
        """A page holds items of one queue at a time."""
        other = self.queue if queue is self.blind_queue else self.blind_queue
        other.leave(session)

    def _wanted(self, fold: Fold, mode: Mode, kind: str | None) -> NDArray[np.bool_]:
        undecided: NDArray[np.bool_] = ~settled(fold)
        if mode == "blind":
            on_yardstick: NDArray[np.bool_] = undecided & self._on_yardstick
            return on_yardstick
        # Who has seen a suspicion is no longer blind: these wait for the yardstick.
        wanted: NDArray[np.bool_] = undecided & ~self._on_yardstick
        if kind is None:
            return wanted
        if kind not in KINDS:
            raise ConfigError(f"There is no finding '{kind}': it is one of {', '.join(KINDS)}.")
        wanted &= self.findings.kinds == KINDS.index(kind)
        return wanted

    def _grid(self, mine: Any, fold: Fold, wanted: NDArray[np.bool_], count: int) -> dict[str, Any]:
        """Several items with the same label and the same proposed change as the first in line."""
        first = self.queue.take(mine, 1, wanted, ())
        if not first:
            return {"items": [], "from": None, "to": None, "marked": None}
        label = int(fold.labels[first[0]])
        proposed = self.findings.proposed
        change = int(proposed[first[0]])
        if change in (-1, label):
            alike = wanted & (fold.labels == label) & ((proposed == label) | (proposed < 0))
            change = -1
        else:
            alike = wanted & (fold.labels == label) & (proposed == change)
        places = self.queue.take(mine, count, alike, ())
        names = self.dataset.info.classes
        to = names[change] if change >= 0 else None
        # What becomes of the marked ones: the other thing, where there is only one other thing.
        other = names[1 - label] if to is None and label >= 0 and len(names) == 2 else None
        return {
            "items": [self.views.cell(p, self.standing(p), fold) for p in places],
            "from": names[label] if label >= 0 else None,
            "to": to,
            "marked": (names[label] if label >= 0 else None) if to else other,
        }

    def _view(self, place: int, blind: bool, fold: Fold) -> dict[str, Any]:
        standing = self.standing(place)
        if blind:
            return self.views.blind(place, standing)
        return self.views.whole(place, standing, fold)

    def standing(self, place: int) -> Standing | None:
        """What stands for an item."""
        return self.ledger.standing(self.findings.id(place))

    # Deciding

    def decide(
        self, session: str, who: str, mode: Mode, choices: Sequence[Choice]
    ) -> dict[str, Any]:
        """Write decisions; when this returns they are on the disk.

        An item about which somebody else has decided since the page saw it is left as it is, and
        shown again: `conflicts`. A decision that is there already, because a page sends it a
        second time after the first answer was lost, is not written again.

        Raises:
            ConfigError: there is nothing to keep, or no such class or item.
            StorageError: the disk refuses; nothing was written.
        """
        grid = GRID_REASON + secrets.token_hex(4)
        reason = {"one": "", "grid": grid, "blind": BLIND_REASON}[mode]
        with self._lock:
            fold = self._follow()
            wanted: list[Wanted] = []
            conflicts: list[dict[str, Any]] = []
            for choice in choices:
                self._check(choice.place)
                standing = self.standing(choice.place)
                want = self._want(choice, fold, who, reason)
                if stamp(standing) == choice.stamp:
                    wanted.append(want)
                elif not _is_there(standing, want):
                    conflicts.append(self._view(choice.place, mode == "blind", fold))
            if wanted:
                self.ledger.append(wanted)
                self.pace.add(who, len(wanted), time.time())
            for queue in (self.queue, self.blind_queue):
                if session in queue.sessions:
                    queue.session(session, who).holds -= {each.place for each in choices}
            self._follow()
            return {"wrote": len(wanted), "conflicts": conflicts, "version": self.version}

    def undo(self, session: str, who: str, mode: Mode, key: str = "") -> dict[str, Any]:
        """Take back what a reviewer decided last: one item, or all that were decided at once.

        What others have decided anew since is left alone. A request that a page sends a second
        time, because the first answer was lost, has the same key and takes nothing more back.
        """
        reason = f"undo {key}" if key else ""
        with self._lock:
            batch = done_before(self.ledger, who, reason) if key else []
            if not batch:
                batch = last(self.ledger, who)
                self.ledger.append([Wanted(each.id, "undo", None, reason, who) for each in batch])
            fold = self._follow()
            places = self.ledger.places([each.id for each in batch]).tolist()
            hidden = [p for p in places if self._on_yardstick[p] and mode != "blind"]
            shown = [p for p in places if p not in hidden and mode != "blind"]
            blind = [p for p in places if mode == "blind" and self._on_yardstick[p]]
            for queue in (self.queue, self.blind_queue):
                for each in queue.sessions.values():
                    for place in places:
                        each.passed.pop(place, None)
                if session in queue.sessions:
                    queue.session(session, who).holds |= {*shown, *blind}
            return {
                "undone": len(places),
                "items": [self._view(p, mode == "blind", fold) for p in (*shown, *blind)],
                "actions": sorted({each.action for each in batch}),
                "version": self.version,
            }

    def _want(self, choice: Choice, fold: Fold, who: str, reason: str) -> Wanted:
        names = self.dataset.info.classes
        id_, code = self.findings.id(choice.place), int(fold.labels[choice.place])
        if choice.wish in ("drop", "undecidable"):
            return Wanted(id_, choice.wish, reason=reason, who=who)
        if choice.wish == "keep":
            given = int(self.findings.given[choice.place])
            if code < 0 and given < 0:
                raise ConfigError(f"There is no label to keep: '{id_}' has none; choose a class.")
            if code < 0:  # it was left out, and its given label comes into force again
                return Wanted(id_, "relabel", names[given], reason, who)
            return Wanted(id_, "confirm", names[code], reason, who)
        if choice.to is None or choice.to not in names:
            raise ConfigError(f"There is no class '{choice.to or ''}' in this dataset.")
        if code >= 0 and names[code] == choice.to:
            return Wanted(id_, "confirm", choice.to, reason, who)
        return Wanted(id_, "relabel", choice.to, reason, who)

    # Telling

    def progress(self, session: str, who: str) -> dict[str, Any]:
        """How far it is, what is left, and whether to stop; also renews a page's leases."""
        with self._lock:
            fold = self._follow()
            for queue in (self.queue, self.blind_queue):
                if session in queue.sessions:
                    queue.session(session, who)
            found = self._economy_of(fold)
            people = sorted(
                {
                    each.who
                    for queue in (self.queue, self.blind_queue)
                    for key, each in queue.sessions.items()
                    if key != session and each.until >= queue.clock()
                }
            )
            done = settled(fold)
            finding = self.findings.kinds != KINDS.index("none")
            tally = self.ledger.tally()
            return {
                "version": self.version,
                "items": len(self.findings),
                "settled": int(done.sum()),
                "by_person": int((fold.by == PERSON).sum()),
                "by_rule": int((fold.by == RULE).sum()),
                "findings": int(finding.sum()),
                "findings_settled": int((finding & done).sum()),
                "kinds": self._left(done),
                "who": tally["who"],
                "others": people,
                "yardstick": {
                    "items": len(self.yardstick),
                    "settled": int(done[self.yardstick].sum()),
                },
                "economy": asdict(found),
                "target": self.target,
                "seconds": self.pace.seconds,
                "advice": asdict(advice.advise(found, self.target, self.pace.seconds)),
            }

    def _left(self, done: NDArray[np.bool_]) -> dict[str, int]:
        rest = self.findings.kinds[~done & ~self._on_yardstick]
        counts = np.bincount(rest, minlength=len(KINDS)).tolist()
        return dict(zip(KINDS, counts, strict=True))

    def _economy_of(self, fold: Fold) -> Economy:
        if self._economy is None:
            self._economy = estimate(self.findings, fold, self.queue.order, self.target)
        return self._economy

    # Keeping up

    def _follow(self) -> Fold:
        """What stands now, with what others have decided since."""
        fold = self.ledger.fold()
        if fold is not self._seen:
            before, self._seen = self._seen, fold
            self._economy = None
            self.version += 1
            ruled = fold.by == RULE
            if ruled.any() if before is None else (ruled != (before.by == RULE)).any():
                # What a rule has settled is worth as little as the rule was sure.
                unsure = 1 - np.nan_to_num(self.findings.confidence)
                relabelled = ruled & (fold.labels >= 0)
                worth = np.where(relabelled, unsure, self.findings.worth)
                self.queue.reorder(np.where(ruled & ~relabelled, -2, worth).astype(np.float32))
        return fold

    def _check(self, place: int) -> None:
        if not 0 <= place < len(self.findings):
            raise ConfigError(
                f"There is no item {place}: there are {len(self.findings):,}; reload the page."
            )

    def _real(self, places: Sequence[int]) -> list[int]:
        return [place for place in places if 0 <= place < len(self.findings)]


def _is_there(standing: Standing | None, want: Wanted) -> bool:
    """Whether what stands is what the same reviewer wants."""
    if standing is None or (standing.by, standing.who) != ("person", want.who):
        return False
    alike = {standing.action, want.action} <= {"relabel", "confirm"}
    return standing.label == want.to and (alike or standing.action == want.action)
