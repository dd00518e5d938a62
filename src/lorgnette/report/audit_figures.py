"""The figures of an audit: the noise by class and pair, the suspicions, and the cost of review."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lorgnette.report import figures, words
from lorgnette.report.audit_facts import ClassNoise, Histogram, Noise, Ranking
from lorgnette.report.measures import Measure
from lorgnette.report.svg import (
    ACCENT,
    BAD,
    INK,
    MUTED,
    RULE,
    Drawing,
    grid,
    percent_axis,
    shorten,
)

LISTED = 20
"""Classes whose noise is drawn, the noisiest."""
MARKED = (0.5, 0.9, 0.95)
"""Shares of the wrong labels that are marked on the ranking's curve."""


def joint(noise: Noise, classes: Sequence[str]) -> str:
    """Given labels by likely true classes: estimated counts and shares of each given class."""
    counts = np.array(noise.joint, float)
    counts[counts < 0.5] = 0  # would be written as 0, and coloured all the same
    label = f"Noise matrix: an estimated {noise.wrong:.0f} of {counts.sum():.0f} labels are wrong."
    return figures.matrix(counts, classes, "joint", label, ("given", "likely true"))


def by_class(rows: Sequence[ClassNoise], overall: Measure) -> str:
    """The share of wrong labels in each class with its interval, the noisiest first."""
    known = [row for row in rows if row.rate.value is not None]
    shown = sorted(known, key=lambda row: -(row.rate.value or 0))[:LISTED]
    if not shown:
        return ""
    height = 0.3 * len(shown) + 0.8
    with Drawing("by-class", "The share of wrong labels in each class.", 5.0, height) as drawing:
        from matplotlib.ticker import MaxNLocator

        axes = drawing.figure.subplots()
        grid(axes, "x")
        if overall.value is not None:
            axes.axvline(overall.value, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
        for place, row in enumerate(shown):
            low, high = row.rate.low, row.rate.high
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=BAD, linewidth=3.4, alpha=0.45)
            axes.plot([row.rate.value or 0.0], [place], "o", color=BAD, markersize=6.5)
        names = [f"{shorten(row.name)} ({row.n:,})" for row in shown]
        axes.set_yticks(range(len(shown)), names, color=INK)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        percent_axis(axes.xaxis)
        axes.set_xlabel("estimated share of wrong labels")
    return drawing.svg


def suspicions(facts: Histogram) -> str:
    """How many labels are how suspicious, on a logarithmic scale; above 0.5 in red."""
    counts, edges = np.array(facts.counts), np.array(facts.edges)
    if not counts.sum():
        return ""
    label = f"Histogram of the suspicion of {counts.sum():,} labels."
    with Drawing("suspicions", label, 5.6, 2.9) as drawing:
        from matplotlib.ticker import FuncFormatter, NullLocator

        axes = drawing.figure.subplots()
        grid(axes, "y")
        above = edges[:-1] >= 0.5
        for mask, color in ((~above, ACCENT), (above, BAD)):
            axes.bar(
                edges[:-1][mask], counts[mask], np.diff(edges)[mask] * 0.84, align="edge",
                color=color, alpha=0.9, linewidth=0,
            )  # fmt: skip
        axes.set_yscale("log")
        # A bar of one item needs a foot to stand on.
        axes.set_ylim(0.5, counts.max() * 1.6)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlim(-0.01, 1.01)
        percent_axis(axes.xaxis)
        axes.set_title("How suspicious the labels are")
        axes.set_xlabel("probability that the label is wrong")
        axes.set_ylabel("labels, logarithmic")
    return drawing.svg


def ranking(facts: Ranking) -> str:
    """Wrong labels expected among the items looked at, against looking at them in any order."""
    if not facts.targets:
        return ""
    n, total = facts.looked[-1], facts.total
    end = min(n, max(int(facts.targets[-1].looked * 1.25), 10))
    last = facts.targets[-1]
    label = (
        f"Of {total:.0f} wrong labels expected, {words.percent(last.share)} are among the "
        f"{last.looked:,} most suspicious of {n:,}."
    )
    with Drawing("ranking", label, 5.6, 2.9) as drawing:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes = drawing.figure.subplots()
        grid(axes)
        axes.axhline(total, color=RULE, linewidth=1)
        axes.plot([0, end], [0, total * end / n], color=MUTED, linewidth=1.1, linestyle=(0, (3, 2)))
        axes.plot(facts.looked, facts.found, color=ACCENT)
        for target in facts.targets:
            if target.share in MARKED and target.looked <= end:
                axes.plot([target.looked], [target.found], "o", color=ACCENT, markersize=5)
                axes.annotate(
                    words.percent(target.share), (target.looked, target.found), (7, -11),
                    textcoords="offset points", color=INK, fontsize=8.5,
                )  # fmt: skip
        axes.set_xlim(0, end)
        axes.set_ylim(0, total * 1.08)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_title("What review costs")
        axes.set_xlabel("items looked at, the most suspicious first")
        axes.set_ylabel("wrong labels expected")
    return drawing.svg
