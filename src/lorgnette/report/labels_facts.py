"""The facts of a report's section on labels: which were learnt, and which it is judged by."""

from __future__ import annotations

from typing import Literal

from lorgnette.report.audit_facts import Decisions, Found, Noise
from lorgnette.report.measures import Evaluation, Fact, Measure

Kind = Literal["given", "decided", "confirmed"]
KINDS: tuple[Kind, ...] = ("given", "decided", "confirmed")

ENOUGH = 50
"""Confirmed test labels from which on the page leads with them."""


class Yardstick(Fact):
    """The test figures against one kind of labels."""

    kind: Kind
    evaluation: Evaluation
    drawn: int | None = None
    """Test items that were drawn for a person to settle; None but for confirmed labels."""
    settled: int | None = None
    """Of these, the ones that a person has settled."""


class PartChanges(Fact):
    """What decisions did to one part of the data."""

    name: str
    items: int
    """Items of the part, whatever became of their labels."""
    changed: int
    """Labels that are another class now."""
    unlabelled: int
    """Items that had a label and have none now: dropped, or their class is not to be told."""
    by_rule: int
    """Of both, by a rule or an import."""


class Against(Fact):
    """Before and after on the same test items, against one kind of labels."""

    kind: Kind
    n: int
    left_out: int
    """Test items of one of the two trainings that the other was not tested on."""
    before: Measure
    after: Measure
    gained: int
    """Items that only the model after is right about."""
    lost: int
    """Items that only the model before is right about."""
    difference: float
    """Accuracy after minus that before."""
    low: float | None
    high: float | None
    p: float
    groups: int | None


class AuditBrief(Fact):
    """What the audit beside a run found."""

    path: str
    noise: Noise
    found: dict[str, int]


class Labels(Fact):
    """All that a report says of labels."""

    learnt: Literal["given", "decided"]
    """Which labels the network was trained on."""
    tested: Literal["given", "decided"]
    """Which labels the report's test figures are measured against."""
    decisions: Decisions
    parts: list[PartChanges]
    yardsticks: list[Yardstick]
    audit: AuditBrief | None
    changed: Found
    against: list[Against]
    """Before and after; empty where there was one training only."""
    before_apart: str = ""
    """Why the training before is not set against this one; empty where it is, or was not made."""
    stale: bool = False
    """Whether something was decided since the run was judged."""

    def yardstick(self, kind: Kind) -> Evaluation | None:
        """The test figures against one kind of labels; None where there are none."""
        return next((row.evaluation for row in self.yardsticks if row.kind == kind), None)

    @property
    def leads(self) -> Kind:
        """The labels that the page leads with."""
        confirmed = self.yardstick("confirmed")
        enough = confirmed is not None and confirmed.n >= ENOUGH
        return "confirmed" if enough else self.tested

    def leading(self, test: Evaluation | None) -> Evaluation | None:
        """The test figures that the page leads with, `test` unless confirmed ones suffice."""
        return self.yardstick("confirmed") if self.leads == "confirmed" else test

    def part(self, name: str) -> PartChanges:
        """What decisions did to a part."""
        return next(part for part in self.parts if part.name == name)
