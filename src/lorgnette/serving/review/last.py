"""What an undo takes back: a reviewer's last decision, or all that were made at once."""

from __future__ import annotations

from lorgnette.dataset.decisions import Decision
from lorgnette.dataset.ledger import Ledger

GRID_REASON = "grid "
"""How the reason of decisions that were made at once begins; a number of their own follows."""
DEPTHS = (64, 512, 4096)
"""So many of the last decisions are looked through for the one to undo."""


def last(ledger: Ledger, who: str) -> list[Decision]:
    """The decisions that an undo by a reviewer takes back, in the order they were made.

    Items that the dataset does not have any more are passed over.
    """
    for depth in DEPTHS:
        batch: list[Decision] = []
        taken_back: dict[str, int] = {}
        newer: set[str] = set()
        recent = ledger.recent(depth)
        there = (ledger.places([each.id for each in recent]) >= 0).tolist()
        for each, known in zip(recent, there, strict=True):
            undone = taken_back.get(each.id, 0)
            if not known:
                continue
            if each.action == "undo":
                taken_back[each.id] = undone + 1
            elif undone:
                taken_back[each.id] = undone - 1
            elif each.who != who or each.by != "person":
                newer.add(each.id)
            elif not batch or (each.reason.startswith(GRID_REASON) and _same(each, batch[0])):
                if each.id not in newer:
                    batch.append(each)
                newer.add(each.id)
            else:
                return batch[::-1]
        if len(recent) < depth or depth == DEPTHS[-1]:
            return batch[::-1]
    return []


def done_before(ledger: Ledger, who: str, reason: str) -> list[Decision]:
    """The undos that a request has led to already, whose answer was lost; their reason is its."""
    return [
        each
        for each in reversed(ledger.recent(DEPTHS[1]))
        if (each.action, each.who, each.reason) == ("undo", who, reason)
    ]


def _same(one: Decision, other: Decision) -> bool:
    return (one.who, one.reason) == (other.who, other.reason)
