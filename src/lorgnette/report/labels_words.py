"""What a report says of labels: what a figure against each kind means, and what it hides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorgnette.report import words
from lorgnette.report.labels_facts import ENOUGH, Against, Kind

if TYPE_CHECKING:
    from lorgnette.report.facts import Facts
    from lorgnette.report.labels_facts import Labels

TITLES: dict[Kind, str] = {
    "given": "Given labels",
    "decided": "Decided labels",
    "confirmed": "Confirmed labels",
}


def headline(facts: Facts) -> tuple[str, str, str]:
    """The report's first sentence, which says by which labels where any was decided."""
    before, figure, after = words.headline(facts.judged, facts.reading.item)
    labels = facts.labels
    if labels is None or not labels.decisions.items or facts.judged is None:
        return before, figure, after
    if labels.leads == "confirmed":
        before = before.removesuffix(", ") + " and whose labels a person confirmed, "
        return before, figure, after
    return before, figure, after.removesuffix(".") + f" by the labels as {labels.tested}."


def meaning(kind: Kind, labels: Labels, item: str) -> str:
    """What a figure against one kind of labels says, and whom it flatters."""
    if kind == "given":
        return _given(labels)
    if kind == "decided":
        return _decided(labels, item)
    row = next((row for row in labels.yardsticks if row.kind == "confirmed"), None)
    text = (
        f"Settled by a person, on test {item}s drawn at random beforehand and whatever any model "
        "thought of them: the nearest to the truth that there is."
    )
    if row is not None and row.drawn and row.settled is not None and row.settled < row.drawn:
        text += f" Of {row.drawn:,} drawn, {row.settled:,} are settled so far."
    if row is not None and row.evaluation.n < ENOUGH:
        text += f" With {words.count(row.evaluation.n, 'label')} it is too rough to lead with."
    return text


def _given(labels: Labels) -> str:
    text = "As they came with the data. Where a label is wrong, a right answer counts as a mistake"
    rate = labels.audit.noise.rate if labels.audit else None
    if rate is not None and rate.value:
        text += f", and an estimated {words.percent(rate.value, rate.n)} of all are wrong"
    return text + "; a model that has learnt the same wrong labels is not found out."


def _decided(labels: Labels, item: str) -> str:
    part = labels.part("test")
    touched = part.changed + part.unlabelled
    text = "The given ones with every decision folded in"
    if not touched:
        return f"{text}; no label of the test part was changed."
    what = [f"{words.count(part.changed, 'test label')} changed"] if part.changed else []
    what += [f"{words.count(part.unlabelled, item)} left out"] if part.unlabelled else []
    text += f": {words.listed(what)}."
    if part.by_rule:
        return (
            f"{text} {words.count(part.by_rule)} of these by rule, and a rule follows models of "
            "the same kind as this one: what they get wrong together counts as right here, and "
            "hard items may be gone. This figure flatters."
        )
    return (
        f"{text} Persons decided, but they looked where models doubted the label: what models do "
        "not doubt was not looked at. This figure may flatter a little."
    )


def cautions(labels: Labels | None, item: str) -> list[str]:
    """What a reader must know of the labels before trusting the headline; often nothing."""
    found: list[str] = []
    if labels is None:
        return found
    ruled = labels.part("test").by_rule
    if labels.leads == "decided" and ruled:
        was = "was" if ruled == 1 else "were"
        found.append(
            f"{words.count(ruled, 'label')} of the test part {was} decided by rule, after models "
            "of the same kind: measured against decided labels, the accuracy flatters. Let a "
            f"person settle test {item}s drawn at random; from {ENOUGH} on, the report leads with "
            "them."
        )
    if labels.stale:
        found.append(
            "Labels were decided about since this run was judged: its figures are against the "
            "labels as they were then, and everything said of decisions is as of now."
        )
    return found


def verdict(labels: Labels, confidence: float) -> str:
    """What before and after prove; empty where there is nothing to compare."""
    rows = {row.kind: row for row in labels.against}
    if not rows:
        return ""
    confirmed = rows.get("confirmed")
    if confirmed is None or confirmed.n < ENOUGH:
        few = "None" if confirmed is None else f"Only {words.count(confirmed.n)}"
        were = "was" if confirmed is None or confirmed.n == 1 else "were"
        return (
            f"{few} of these test labels {were} drawn at random and confirmed by a person, so it "
            "is not known which of the two is nearer to the truth: given labels count against a "
            "model that does not repeat their mistakes, and decided ones for a model that agrees "
            "with the decisions."
        )
    shown = confirmed.p < 1 - confidence
    points = f"{100 * confirmed.difference:+.1f} points"
    if not shown:
        return (
            f"Against confirmed labels the difference is {points}, no more than chance would give: "
            "it is not shown that the audit made the network better, or worse."
        )
    better = "better" if confirmed.difference > 0 else "worse"
    return f"Against confirmed labels the network is {better} by {points}, beyond chance."


def method(rows: list[Against]) -> str:
    """How the differences were tested."""
    if rows and rows[0].groups is not None:
        return (
            f"Sign test over {words.count(rows[0].groups, 'group')}, since items of a group do not "
            "stand alone; intervals robust to groups."
        )
    return "McNemar’s exact test (1947); intervals by Newcombe’s method 10 (1998)."
