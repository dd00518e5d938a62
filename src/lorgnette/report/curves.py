"""The figures of a comparison: one colour for each run, the same in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lorgnette.report import words
from lorgnette.report.compare_facts import Comparison, Contender
from lorgnette.report.svg import (
    CLASS_COLORS,
    INK,
    MUTED,
    OTHER,
    RULE,
    Drawing,
    grid,
    percent_axis,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SQUARE = 3.6
"""The edge of the ROC curves' picture, in inches."""
DASH = (0, (3, 1.6))


def color(place: int) -> str:
    """The colour of a run; grey for those beyond the palette."""
    return CLASS_COLORS[place] if place < len(CLASS_COLORS) else OTHER


def forest(facts: Comparison) -> str:
    """Test and validation accuracy of each run with its interval."""
    n = len(facts.runs)
    with Drawing("forest", "Accuracy of each run with its interval.", 6.6, 0.42 * n + 0.85) as d:
        axes = d.figure.subplots()
        grid(axes, "x")
        for place, run in enumerate(facts.runs):
            for measure, y, faint in (
                (run.test.accuracy, place - 0.1, False),
                (run.validation.accuracy, place + 0.22, True),
            ):
                if measure.value is None or measure.low is None or measure.high is None:
                    continue
                axes.plot(
                    [measure.low, measure.high], [y, y], color=color(place),
                    linewidth=1.6 if faint else 3.4, alpha=0.45 if faint else 0.55, zorder=2,
                )  # fmt: skip
                axes.plot(
                    [measure.value], [y], "o", color=color(place), zorder=3,
                    markersize=3.6 if faint else 7.5, alpha=0.6 if faint else 1,
                )  # fmt: skip
        axes.set_yticks(range(n), [shorten(run.name, 28) for run in facts.runs])
        for label in axes.get_yticklabels():
            label.set_color(INK)
        axes.set_ylim(n - 0.5, -0.5)
        percent_axis(axes.xaxis)
        axes.set_xlabel("accuracy")
    return d.svg


def together(facts: Comparison, name: str) -> str:
    """Validation `loss` or `accuracy` of all runs over their epochs."""
    if not any(run.epochs for run in facts.runs):
        return ""
    label = f"Validation {name} of each run over its epochs."
    with Drawing(f"together-{name}", label, 4.7, 3.0) as drawing:
        axes = drawing.figure.subplots()
        for place, run in enumerate(facts.runs):
            _curve(axes, run, f"val_{name}", color(place))
        _epochs(axes, name)
        axes.set_title(f"Validation {name}")
        if name == "loss":
            axes.set_ylim(0, _top(facts))
    return drawing.svg


def single(facts: Comparison, place: int) -> str:
    """Training and validation loss of one run, on the scale that all have."""
    run = facts.runs[place]
    if not run.epochs:
        return ""
    label = f"Training and validation loss of {run.name}."
    with Drawing(f"single-{place}", label, 3.5, 2.5) as drawing:
        axes = drawing.figure.subplots()
        _curve(axes, run, "train_loss", MUTED, dashed=True)
        _curve(axes, run, "val_loss", color(place))
        _epochs(axes, "loss")
        axes.set_title(shorten(run.name, 34))
        axes.set_ylim(0, _top(facts))
    return drawing.svg


def roc(facts: Comparison) -> str:
    """ROC curves of all runs on their test parts."""
    if not any(run.roc.fpr for run in facts.runs):
        return ""
    with Drawing("roc", "ROC curves on test.", SQUARE, SQUARE) as drawing:
        axes = drawing.figure.subplots()
        grid(axes)
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, linestyle=(0, (3, 2)))
        for place, run in enumerate(facts.runs):
            if run.roc.fpr:
                area = words.score(run.test.roc_auc.value)
                axes.plot(
                    run.roc.fpr, run.roc.tpr, color=color(place), clip_on=False,
                    label=f"{shorten(run.name)}: {area}",
                )  # fmt: skip
        axes.set_title("ROC on test")
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        axes.set_xlim(-0.015, 1.015)
        axes.set_ylim(-0.015, 1.03)
        axes.set_aspect("equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
            percent_axis(axis)
        axes.legend(
            loc=cast(Any, "lower right"), frameon=False, fontsize=8.5, labelcolor=INK,
            handlelength=1.4, labelspacing=0.45,
        )  # fmt: skip
    return drawing.svg


def _curve(axes: Axes, run: Contender, name: str, shade: str, *, dashed: bool = False) -> None:
    """One curve, with a dot at the epoch whose weights were kept."""
    x = [epoch.epoch for epoch in run.epochs]
    y = [np.nan if v is None else v for v in (getattr(epoch, name) for epoch in run.epochs)]
    axes.plot(
        x, y, color=shade, linestyle=DASH if dashed else "-",
        marker="o" if len(x) == 1 else None, markersize=4,
    )  # fmt: skip
    best = run.training.best_epoch
    if not dashed and best in x:
        axes.plot([best], [y[x.index(best)]], "o", color=shade, markersize=6, zorder=5)


def _epochs(axes: Axes, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    grid(axes, "y")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    if name == "accuracy":
        percent_axis(axes.yaxis)


def _top(facts: Comparison) -> float:
    """The upper end of all losses' axes: one wild first epoch does not flatten the rest."""
    values = [
        value
        for run in facts.runs
        for epoch in run.epochs
        for value in (epoch.train_loss, epoch.val_loss)
        if value is not None and np.isfinite(value)
    ]
    if not values:
        return 1.0
    return 1.06 * min(max(values), 3 * float(np.median(values)))
