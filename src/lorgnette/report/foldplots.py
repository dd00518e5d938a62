"""The figures of a cross-validation: boxes over folds, and learning curves of all folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lorgnette.report import words
from lorgnette.report.svg import ACCENT, INK, MUTED, PAPER, Drawing, epoch_axes, grid, percent_axis

PARTS = ("train", "validation", "test")
PART_COLORS = {"train": MUTED, "validation": ACCENT, "test": INK}


def boxes(folds: Sequence[dict[str, Any]], name: str) -> str:
    """`accuracy` or `loss` of each part: median, quartiles, whiskers, and every fold as a dot.

    Whiskers reach the last fold within 1.5 interquartile ranges of the box (Tukey).
    """
    if not folds:
        return ""
    label = f"The {name} of {words.count(len(folds), 'fold')} on training, validation and test."
    with Drawing(f"boxes-{name}", label, 4.7, 2.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        for place, part in enumerate(PARTS):
            values = [fold[part][name] for fold in folds if fold[part][name] is not None]
            color = PART_COLORS[part]
            line = {"color": color, "linewidth": 1.2}
            axes.boxplot(
                values, positions=[place], widths=0.46, showfliers=False, patch_artist=True,
                boxprops={"edgecolor": color, "facecolor": PAPER, "linewidth": 1.2},
                medianprops={"color": color, "linewidth": 2}, whiskerprops=line, capprops=line,
                manage_ticks=False,
            )  # fmt: skip
            # Side by side in the order of the folds, so that equal values do not hide each other.
            across = place + np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else [place]
            axes.plot(across, values, "o", color=color, alpha=0.6, markersize=3.4, zorder=4)
        axes.set_title(name.capitalize())
        axes.set_xticks(range(len(PARTS)), ["training", "validation", "test"])
        axes.set_xlim(-0.6, len(PARTS) - 0.4)
        if name == "accuracy":
            percent_axis(axes.yaxis)
    return drawing.svg


def curves(histories: Sequence[Sequence[dict[str, Any]]], name: str) -> str:
    """Training and validation `accuracy` or `loss` over the epochs, a pair of lines per fold."""
    histories = [history for history in histories if history]
    if not histories:
        return ""
    label = f"The {name} over the epochs of {words.count(len(histories), 'fold')}."
    alpha = max(0.25, min(0.9, 4 / len(histories)))
    with Drawing(f"curves-{name}", label, 4.7, 2.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        for history in histories:
            x = [line["epoch"] for line in history]
            mark = "o" if len(x) == 1 else None
            for part, color, dash in (("train", MUTED, (0, (3, 1.6))), ("val", ACCENT, "-")):
                axes.plot(
                    x, [line[f"{part}_{name}"] for line in history], color=color, linestyle=dash,
                    linewidth=1.1, alpha=alpha, marker=mark, markersize=3,
                )  # fmt: skip
        epoch_axes(axes, name)
    return drawing.svg
