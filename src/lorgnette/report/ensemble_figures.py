"""The figures of an ensemble: it beside its members, how it was chosen, who agrees with whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lorgnette.report import words
from lorgnette.report.svg import (
    ACCENT,
    INK,
    MUTED,
    PAPER,
    Drawing,
    grid,
    percent_axis,
    shorten,
)

Rows = Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]

SHOWN = 24
"""Members that are drawn, the best first."""
SQUARES = 16
"""With more members a matrix of pairs has no room for numbers."""


def rows(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Name, and accuracy on validation and test: the ensemble, the mean member, each member."""
    validation, test = found["validation"], found["test"]
    members = found["members"]
    listed = [("together", validation["ensemble"]["accuracy"], test["ensemble"]["accuracy"])]
    if len(members) > 1:
        listed.append(("mean member", validation["mean"]["accuracy"], test["mean"]["accuracy"]))
    return listed + [
        (each["name"], each["validation"]["accuracy"], each["test"]["accuracy"])
        for each in members[:SHOWN]
    ]


def forest(found: Mapping[str, Any]) -> str:
    """Test and validation accuracy with intervals; empty where there is none."""
    drawn = [row for row in rows(found) if row[2]["low"] is not None]
    if not drawn:
        return ""
    label = "Accuracy of the ensemble and of its members, with intervals."
    with Drawing("forest", label, 6.6, 0.3 * len(drawn) + 0.9) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "x")
        for place, (name, validation, test) in enumerate(drawn):
            color = ACCENT if name == "together" else MUTED
            for measure, y, faint in ((test, place - 0.1, False), (validation, place + 0.2, True)):
                if measure["low"] is None:
                    continue
                axes.plot(
                    [measure["low"], measure["high"]], [y, y], color=color,
                    linewidth=1.3 if faint else 3, alpha=0.4 if faint else 0.55, zorder=2,
                )  # fmt: skip
                axes.plot(
                    [measure["value"]], [y], "o", color=color, zorder=3,
                    markersize=3.2 if faint else 6.5, alpha=0.6 if faint else 1,
                )  # fmt: skip
        axes.set_yticks(range(len(drawn)), [shorten(name, 28) for name, _, _ in drawn])
        for tick in axes.get_yticklabels():
            tick.set_color(INK)
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        percent_axis(axes.xaxis)
        axes.set_xlabel("accuracy")
    return drawing.svg


def path(found: Mapping[str, Any]) -> str:
    """Validation accuracy after each step of a choice; empty where there was one step or none."""
    steps = found["path"]
    if len(steps) < 2:
        return ""
    label = "Validation accuracy after each step; filled dots are the steps that count."
    with Drawing("path", label, 6.6, 2.5) as drawing:
        from matplotlib.ticker import MaxNLocator

        axes = drawing.figure.subplots()
        grid(axes, "y")
        x = np.arange(1, len(steps) + 1)
        y = np.array([step["accuracy"] for step in steps])
        counts = np.array([step["counts"] for step in steps])
        axes.plot(x, y, color=ACCENT, linewidth=1.1, alpha=0.45)
        axes.plot(x[counts], y[counts], "o", color=ACCENT, markersize=6, zorder=4)
        axes.plot(
            x[~counts], y[~counts], "o", color=ACCENT, markerfacecolor=PAPER, markersize=5, zorder=3
        )
        axes.set_title("Validation accuracy, step by step")
        axes.set_xlabel("network added" if found["combine"] != "soup" else "network tried")
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
        spread = max(float(y.max() - y.min()), 0.01)
        axes.set_ylim(y.min() - 0.25 * spread, min(y.max() + 0.25 * spread, 1 + 0.1 * spread))
        percent_axis(axes.yaxis)
    return drawing.svg


def matrix(found: Mapping[str, Any]) -> str:
    """The share of test items on which each two members agree; empty where there is no pair."""
    members = found["members"]
    shares = found["test"]["agreement"]["matrix"]
    count = len(members)
    if not 2 <= count <= SQUARES or shares[0][0] is None:
        return ""
    values = np.array(shares, float)
    lowest = float(values.min())
    span = max(1 - lowest, 1e-9)
    names = [shorten(each["name"], 18) for each in members]
    cell = 0.5
    longest = max(map(len, names)) * 0.075 + 0.3
    label = "The share of test items on which each two members agree."
    with Drawing("agree", label, cell * count + longest, cell * count + longest) as drawing:
        from matplotlib.patches import Rectangle

        axes = drawing.figure.subplots()
        axes.set_aspect("equal")
        for i, j in np.ndindex(count, count):
            if i == j:
                continue
            apart = (1 - float(values[i, j])) / span
            axes.add_patch(
                Rectangle(
                    (j - 0.47, i - 0.47),
                    0.94,
                    0.94,
                    color=ACCENT,
                    linewidth=0,
                    alpha=0.1 + 0.7 * (1 - apart),
                )
            )
            axes.text(
                j, i, words.percent(float(values[i, j])).removesuffix("%"), ha="center",
                va="center", fontsize=7.5, color=PAPER if apart < 0.35 else INK,
            )  # fmt: skip
        axes.set_xticks(range(count), names, rotation=90, color=INK, fontsize=8.5)
        axes.set_yticks(range(count), names, color=INK, fontsize=8.5)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return drawing.svg
