"""An audit in a terminal: the page's facts as short tables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from lorgnette.report import audit as page
from lorgnette.report import words
from lorgnette.report.audit_facts import Audit

CLASSES = 10
"""Classes that are listed, the noisiest."""


def audit(facts: Audit) -> RenderableType:
    """How much is wrong, where, what was found besides, what was done, and what is left."""
    parts: list[RenderableType] = [f"[bold]{escape(''.join(page.headline(facts)))}[/]"]
    limits = words.limits(facts.noise.rate, "percent")
    if limits:
        parts[0] = f"{parts[0]} [dim]({limits})[/]"
    parts += [_classes(facts), _thresholds(facts), *_found(facts), *_done(facts)]
    parts += [f"[yellow]{escape(text)}[/]" for text in page.cautions(facts)]
    return Group(*parts)


def _classes(facts: Audit) -> Table:
    table = _table("given", "labels", "wrong", "share")
    rows = facts.noise.noisiest
    for row in rows[:CLASSES]:
        rate = row.rate
        limits = words.limits(rate, "percent")
        table.add_row(
            escape(row.name),
            f"{row.n:,}",
            words.NONE if rate.value is None else words.about(rate.value * row.n),
            words.percent(rate.value, row.n) + (f" [dim]({limits})[/]" if limits else ""),
        )
    if len(rows) > CLASSES:
        table.add_row(f"[dim]and {len(rows) - CLASSES} more[/]", "", "", "")
    return table


def _thresholds(facts: Audit) -> Table:
    table = _table("suspicion", "labels", "expected wrong", "not decided")
    for row in facts.thresholds:
        expected = words.about(row.expected)
        table.add_row(f"≥ {row.at:g}", f"{row.items:,}", expected, f"{row.open:,}")
    return table


def _found(facts: Audit) -> list[str]:
    """What was found besides suspicious labels, and what review costs; one line each."""
    found = [
        (facts.undecidable.total, "undecidable"),
        (facts.outliers.total, "odd ones"),
        (facts.conflicts.total, "clusters of copies at odds"),
        (facts.straddling.total, "clusters in several parts"),
        (facts.unlabelled_found.total, "unlabelled with a proposal"),
    ]
    lines = [", ".join(f"{n:,} {name}" for n, name in found if n)]
    targets = [row for row in facts.ranking.targets if row.share in (0.5, 0.9, 0.95)]
    if targets:
        costs = ", ".join(f"{row.share:.0%} in {row.looked:,}" for row in targets)
        lines.append(f"of what is wrong, the most suspicious hold: {costs}")
    return [line for line in lines if line]


def _done(facts: Audit) -> list[str]:
    decisions, left = facts.decisions, facts.left
    if not decisions.items:
        return []
    actions = ", ".join(f"{row.total:,} {row.action}" for row in decisions.tallies)
    lines = [
        f"decided: {actions}; {decisions.by('person'):,} by persons, {decisions.by('rule'):,} by "
        f"rule, {decisions.by('imported'):,} by import"
    ]
    lines += [
        f"  {escape(row.text)}: {row.matched or 0:,} matched, {row.changed or 0:,} changed"
        for row in decisions.grounds
        if row.by == "rule" and row.matched is not None
    ]
    share = "" if left.rate is None else f" ({words.percent(left.rate, left.labelled)})"
    lines.append(f"expected to be left: {words.about(left.expected)} wrong labels{share}")
    return lines


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", overflow="fold")
    return table
