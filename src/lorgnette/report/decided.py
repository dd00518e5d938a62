"""From a dataset's ledger to facts: what was decided on its labels, by whom and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorgnette.dataset.ledger import Standing
from lorgnette.dataset.store import Dataset
from lorgnette.report.audit_facts import Decisions, Flow, Ground, Hand, Tally, Verdict

ACTIONS = ("relabel", "confirm", "drop", "undecidable")
"""In the order in which pages list them."""
LISTED = 12
"""Hands, reasons and kinds of changes that are listed."""


@dataclass(frozen=True)
class Decided:
    """The decisions in force.

    Attributes:
        standings: by id, of decided items only.
        facts: their summary.
    """

    standings: Mapping[str, Standing]
    facts: Decisions

    @property
    def changed(self) -> list[str]:
        """The ids whose label in force is not the given one."""
        return [id_ for id_, one in self.standings.items() if one.label != one.given]

    def verdict(self, id_: str) -> Verdict | None:
        """The decision in force on an item."""
        one = self.standings.get(id_)
        if one is None:
            return None
        return Verdict(action=one.action, to=one.label, who=one.who, by=one.by)


def decided(dataset: Dataset, applied: Sequence[Mapping[str, Any]] = ()) -> Decided:
    """What stands in the dataset's ledger.

    Memory goes with the number of decisions, not of items.

    Args:
        dataset: a prepared one.
        applied: rules as `audit.json` has them: `rule`, `matched`, `changed`.

    Raises:
        DatasetError: the ledger is damaged.
    """
    ledger = dataset.ledger
    standings = ledger.standings()
    reasons = ledger.reasons(ledger.places(standings).tolist())
    pairs: Counter[tuple[str, str]] = Counter()
    hands: Counter[tuple[str, str]] = Counter()
    grounds: Counter[tuple[str, str]] = Counter()
    flows: Counter[tuple[str | None, str | None]] = Counter()
    own: Counter[tuple[str | None, str | None]] = Counter()
    for one, reason in zip(standings.values(), reasons, strict=True):
        pairs[one.action, one.by] += 1
        hands[one.by, one.who] += 1
        grounds[one.by, reason] += 1
        if one.label != one.given:
            flows[one.given, one.label] += 1
            own[one.given, one.label] += one.by == "person"
    times = [one.when for one in standings.values()]
    facts = Decisions(
        items=len(standings),
        lines=ledger.tally()["decisions"],
        tallies=[
            Tally(
                action=action,
                person=pairs[action, "person"],
                rule=pairs[action, "rule"],
                imported=pairs[action, "import"],
            )
            for action in ACTIONS
            if any(pairs[action, by] for by in ("person", "rule", "import"))
        ],
        hands=[Hand(who=who, by=by, count=n) for (by, who), n in hands.most_common(LISTED)],
        grounds=_grounds(grounds, applied),
        flows=[
            Flow(given=given, now=now, count=n, person=own[given, now])
            for (given, now), n in flows.most_common()
        ],
        first=min(times, default=""),
        last=max(times, default=""),
    )
    return Decided(standings, facts)


def _grounds(
    counts: Counter[tuple[str, str]], applied: Sequence[Mapping[str, Any]]
) -> list[Ground]:
    """Rules in the order in which they were applied, then the commonest other reasons."""
    rules = {str(one["rule"]): one for one in applied}
    found = [
        Ground(
            by="rule",
            text=text,
            count=counts["rule", text],
            matched=one.get("matched"),
            changed=one.get("changed"),
        )
        for text, one in rules.items()
    ]
    others = [
        Ground(by=by, text=text, count=n)
        for (by, text), n in counts.most_common()
        if by != "rule" or text not in rules
    ]
    return found + others[:LISTED]
