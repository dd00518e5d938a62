"""Inspections, explanations and comparisons in a terminal: the page's facts as short tables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from lorgnette.report import compare, inspect, words
from lorgnette.report.compare_facts import Comparison
from lorgnette.report.explain import Explanation
from lorgnette.report.facts import Measure
from lorgnette.report.inspect_facts import Inspection

CLASSES = 20
"""Classes that are listed."""
FEATURES = 5


def inspection(facts: Inspection) -> RenderableType:
    """Counts, balance, what separates the classes, and what the projections found."""
    noun, reading = facts.noun, facts.reading
    table = _table("class", f"{noun}s", "share")
    for entry in facts.classes[:CLASSES]:
        table.add_row(escape(entry.name), f"{entry.items:,}", words.percent(entry.share))
    if len(facts.classes) > CLASSES:
        table.add_row(f"and {len(facts.classes) - CLASSES} more", "", "")
    if facts.unlabelled:
        table.add_row("[dim]without a label[/]", f"{facts.unlabelled:,}", "")
    lines = [f"{words.count(facts.items, noun)} usable of {reading.total:,}"]
    lost = [f"{n:,} {status}" for status, n in reading.counts.items() if status != "ok" and n]
    if lost:
        lines[0] += f" ({', '.join(lost)})"
    if reading.conflicts:
        lines.append(f"{words.count(reading.conflicts, 'exact copy', 'exact copies')} with another "
                     "label")  # fmt: skip
    if facts.groups:
        groups = facts.groups
        lines.append(f"{words.count(groups.count, 'group')} of {groups.least} to {groups.most:,}")
    if facts.given:
        given = ", ".join(f"{n:,} {part}" for part, n in facts.given.items())
        lines.append(f"split that the source gives: {given}")
    if facts.separation:
        best = ", ".join(
            f"{escape(row.name)} ({words.percent(row.separation)})"
            for row in facts.separation.features[:FEATURES]
        )
        lines.append(
            f"{facts.separation.found:,} of {words.count(facts.separation.count, 'feature')} "
            f"separate the classes; most (share of variance explained): {best}"
        )
    projections = facts.projections
    if projections and projections.variance:
        lines.append(
            f"variance in 2 components {words.percent(sum(projections.variance[:2]))}, in "
            f"{len(projections.variance)} {words.percent(sum(projections.variance))}"
        )
    if projections and projections.agreement is not None:
        lines.append(
            f"nearest neighbours with the same label {words.percent(projections.agreement)}, by "
            f"chance {words.percent(projections.chance)}"
        )
    return Group(table, *lines, *(f"[yellow]{escape(text)}[/]" for text in inspect.cautions(facts)))


def explanation(facts: Explanation) -> RenderableType:
    """The pictures with their answers."""
    mistakes = facts.mistakes is not None
    table = _table("picture", "answer", "", "label" if mistakes else "second", "")
    for case in facts.cases:
        table.add_row(
            escape(case.id),
            escape(case.answered),
            words.percent(case.answered_probability),
            escape(case.other),
            words.percent(case.other_probability),
        )
    bad = (f"{escape(name)}: {escape(reason)}" for name, reason in facts.unreadable.items())
    if not facts.cases:
        return Group("There is no mistake on test to explain.", *bad)
    return Group(table, *bad)


def comparison(facts: Comparison) -> RenderableType:
    """A row for each run, narrow enough for a terminal, and what the paired tests found."""
    table = _table("run", "recipe", "parameters", "test", "validation", "test loss", "AUC")
    for run in facts.runs:
        parameters = run.training.parameters
        table.add_row(
            escape(run.name),
            escape(run.recipe),
            words.NONE if parameters is None else f"{parameters:,}",
            _figure(run.test.accuracy, "percent"),
            _figure(run.validation.accuracy, "percent"),
            _figure(run.test.loss, "plain"),
            _figure(run.test.roc_auc, "score"),
        )
    lines = [
        f"{escape(pair.first)} − {escape(pair.second)}: {100 * pair.difference:+.1f} points"
        + (f" ({100 * pair.low:+.1f} to {100 * (pair.high or 0):+.1f})" if pair.low else "")
        + f", p = {words.score(pair.corrected)}"
        for pair in facts.pairs[:10]
    ]
    lines += [
        f"{escape(pair.first)}, {escape(pair.second)}: not paired, {pair.why}"
        for pair in facts.apart[:10]
    ]
    found = escape("".join(compare.headline(facts)))
    return Group(table, *lines, f"[bold]{found}[/]")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    numbers = {"share", "", "parameters", "epochs", "time", "test", "validation", "training",
               "test loss", "AUC", "images", "rows"}  # fmt: skip
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return table


def _figure(measure: Measure, kind: str) -> str:
    """A value with its interval below."""
    shown = {"percent": words.percent, "score": words.score, "plain": words.plain}[kind]
    limits = words.limits(measure, kind)
    return f"{shown(measure.value)}" + (f"\n[dim]{limits}[/]" if limits else "")
