"""Facts as pictures: each function takes facts and returns SVG text, empty where nothing is to see.

Nothing is computed here that a report would state as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lorgnette.report import words
from lorgnette.report.facts import Calibration, Epoch, Evaluation, Histogram
from lorgnette.report.svg import (
    ACCENT,
    BAD,
    CLASS_COLORS,
    INK,
    MUTED,
    PAPER,
    RULE,
    Drawing,
    class_color,
    epoch_axes,
    grid,
    percent_axis,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MATRIX_CLASSES = 50
"""With more classes a confusion matrix cannot be read."""
NUMBERED = 26
"""With more classes there is no room for numbers in its cells."""
CELLS = ((3, 0.92), (8, 0.62), (16, 0.42), (NUMBERED, 0.33), (MATRIX_CLASSES, 0.16))
"""The edge of a confusion matrix's cell in inches, by the number of classes."""
SQUARE = 3.35
"""The edge of a curve's picture, in inches."""
MANY_CLASSES = len(CLASS_COLORS)
"""Up to here each class has a colour of its own."""
CURVES_SHOWN = 4
"""With many classes, the worst few curves are drawn in colour."""


def learning(epochs: Sequence[Epoch], best: int | None, name: str) -> str:
    """Training and validation `loss` or `accuracy` over the epochs, the best epoch marked."""
    if not epochs:
        return ""
    label = f"The {name} over {words.count(len(epochs), 'epoch')}; the best epoch is {best}."
    with Drawing(f"learning-{name}", label, 4.7, 2.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        x = [epoch.epoch for epoch in epochs]
        for part, color, dash in (("train", MUTED, (0, (3, 1.6))), ("val", ACCENT, "-")):
            y = [getattr(epoch, f"{part}_{name}") for epoch in epochs]
            y = [np.nan if value is None else value for value in y]
            mark = "o" if len(x) == 1 else None
            axes.plot(x, y, color=color, linestyle=dash, marker=mark, markersize=4)
            if part == "val" and best in x:
                axes.axvline(best, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
                axes.plot([best], [y[x.index(best)]], "o", color=ACCENT, markersize=6, zorder=5)
        epoch_axes(axes, name)
    return drawing.svg


def confusion(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """Given labels by answers: counts, and shares of each row; empty beyond `MATRIX_CLASSES`."""
    label = f"Confusion matrix: {evaluation.mistakes} of {evaluation.n} answers were wrong."
    counts = np.array(evaluation.confusion, float)
    return matrix(counts, classes, "confusion", label, ("given", "answered"))


def matrix(
    counts: NDArray[np.float64],
    classes: Sequence[str],
    name: str,
    label: str,
    axes_names: tuple[str, str],
) -> str:
    """Counts (K, K) with shares of each row; empty beyond `MATRIX_CLASSES`.

    Args:
        counts: what is off the diagonal is drawn as wrong.
        classes: K names.
        name: of the drawing, one for each on a page.
        label: the picture in words.
        axes_names: of rows and columns.
    """
    K = len(classes)
    if K > MATRIX_CLASSES:
        return ""
    rows = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    cell = next(edge for most, edge in CELLS if most >= K)
    names = [shorten(name, 18) for name in classes]
    longest = max(map(len, names)) * (0.075 if K <= NUMBERED else 0.055)
    turned = K > 3 and longest > cell
    extra = longest + 0.5, (longest if turned else 0.2) + 0.4
    with Drawing(name, label, cell * K + extra[0], cell * K + extra[1]) as drawing:
        from matplotlib.patches import Rectangle

        axes = drawing.figure.subplots()
        axes.set_aspect("equal")
        if K > 8:
            axes.add_patch(Rectangle((-0.5, -0.5), K, K, color=RULE, alpha=0.35, linewidth=0))
        for i, j in np.ndindex(K, K):
            share = float(shares[i, j])
            if counts[i, j]:
                # Errors are rare and must be seen: their tint starts darker.
                alpha = 0.12 + 0.83 * share if i == j else 0.2 + 0.75 * share
                color = ACCENT if i == j else BAD
                square = Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, color=color, alpha=alpha)
                axes.add_patch(square)
            elif K <= 8:
                square = Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, color=RULE, alpha=0.35)
                axes.add_patch(square)
            if K > NUMBERED or (K > 8 and not counts[i, j]):
                continue
            ink = PAPER if share > 0.7 else INK
            large = K <= 3
            axes.text(
                j, i - (0.13 if K <= 8 else 0), f"{counts[i, j]:,.0f}", ha="center", va="center",
                color=ink, fontsize=14 if large else 9.5 if K <= 8 else 7,
            )  # fmt: skip
            if K <= 8 and rows[i, 0]:
                text = words.percent(share)
                axes.text(
                    j, i + 0.2, text, ha="center", va="center", color=ink,
                    fontsize=9 if large else 7,
                )  # fmt: skip
        size = 9 if K <= 8 else 8 if K <= NUMBERED else 6
        axes.set_xticks(range(K), names, rotation=90 if turned else 0, fontsize=size, color=INK)
        axes.set_yticks(range(K), names, fontsize=size, color=INK)
        axes.set_xlim(-0.5, K - 0.5)
        axes.set_ylim(K - 0.5, -0.5)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(axes_names[1], labelpad=6)
        axes.set_ylabel(axes_names[0], labelpad=6)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return drawing.svg


def _chosen(evaluation: Evaluation, classes: Sequence[str], name: str) -> list[int]:
    """The classes whose curves are drawn in colour: all, or the worst few that are not perfect."""
    values = {k: getattr(evaluation.per_class[c], name).value for k, c in enumerate(classes)}
    have = [k for k, value in values.items() if value is not None]
    if len(classes) <= MANY_CLASSES:
        return have
    worst = sorted(have, key=lambda k: values[k])[:CURVES_SHOWN]
    return [k for k in worst if values[k] < 1] or worst[:1]


def _curve_axes(drawing: Drawing, title: str, x: str, y: str) -> Axes:
    axes = drawing.figure.subplots()
    grid(axes)
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(-0.015, 1.015)
    axes.set_ylim(-0.015, 1.03)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
        percent_axis(axis)
    return axes


def _legend(axes: Axes, place: str) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc=cast(Any, place), frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.4,
            labelspacing=0.45, borderaxespad=0.9,
        )  # fmt: skip


def roc(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """ROC curves: the positive class, or each against the rest; empty where undefined."""
    chosen = _chosen(evaluation, classes, "roc_auc")
    if evaluation.positive in classes:
        # Two classes have the same curve, read from both ends.
        chosen = [k for k in chosen if classes[k] == evaluation.positive]
    if not chosen:
        return ""
    K = len(classes)
    many = K > MANY_CLASSES
    area = words.score(evaluation.roc_auc.value)
    with Drawing("roc", f"ROC curves; the mean area is {area}.", SQUARE, SQUARE) as drawing:
        axes = _curve_axes(drawing, "ROC", "false positive rate", "true positive rate")
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, linestyle=(0, (3, 2)))
        curves = {
            k: evaluation.curves[c].roc for k, c in enumerate(classes) if c in evaluation.curves
        }
        if many:
            x = np.linspace(0, 1, 201)
            all_curves = [np.interp(x, c.fpr, c.tpr) for c in curves.values() if c.fpr]
            for curve in all_curves:
                axes.plot(x, curve, color=RULE, linewidth=0.7)
            axes.plot(x, np.mean(all_curves, axis=0), color=INK, label=f"mean: {area}")
        for place, k in enumerate(chosen):
            color = CLASS_COLORS[place] if many else class_color(k, K)
            value = words.score(evaluation.per_class[classes[k]].roc_auc.value)
            label = f"{shorten(classes[k])}: {value}"
            axes.plot(curves[k].fpr, curves[k].tpr, color=color, label=label, clip_on=False)
        _legend(axes, "lower right")
    return drawing.svg


def precision_recall(evaluation: Evaluation, classes: Sequence[str]) -> str:
    """Precision-recall curves, each class against the rest; empty where undefined."""
    chosen = _chosen(evaluation, classes, "pr_auc")
    if not chosen:
        return ""
    K = len(classes)
    many = K > MANY_CLASSES
    area = words.score(evaluation.pr_auc.value)
    with Drawing(
        "pr", f"Precision-recall curves; the mean area is {area}.", SQUARE, SQUARE
    ) as drawing:
        axes = _curve_axes(drawing, "Precision and recall", "recall", "precision")
        curves = {
            k: evaluation.curves[c].pr for k, c in enumerate(classes) if c in evaluation.curves
        }
        if many:
            for curve in curves.values():
                axes.plot(curve.recall, curve.precision, color=RULE, linewidth=0.7)
        for place, k in enumerate(chosen):
            color = CLASS_COLORS[place] if many else class_color(k, K)
            value = words.score(evaluation.per_class[classes[k]].pr_auc.value)
            label = f"{shorten(classes[k])}: {value}"
            axes.plot(
                curves[k].recall, curves[k].precision, color=color, label=label, clip_on=False
            )
        _legend(axes, "lower left")
    return drawing.svg


def reliability(calibration: Calibration) -> str:
    """How often answers were right against how sure they were; empty without answers."""
    if not calibration.bins:
        return ""
    label = f"Reliability; the expected calibration error is {words.score(calibration.error)}."
    with Drawing("reliability", label, SQUARE, SQUARE) as drawing:
        axes = _curve_axes(
            drawing, "Reliability", "probability of the answer", "share of right answers"
        )
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, linestyle=(0, (3, 2)))
        bins = calibration.bins
        x = [row.confidence for row in bins]
        y = np.array([row.accuracy for row in bins])
        spread = np.array([[row.accuracy - row.low, row.high - row.accuracy] for row in bins]).T
        axes.errorbar(x, y, spread.clip(0), fmt="none", ecolor=ACCENT, elinewidth=1.3, alpha=0.5)
        largest = max(row.n for row in bins)
        areas = [18 + 90 * row.n / largest for row in bins]
        axes.scatter(x, y, areas, color=ACCENT, linewidth=0, zorder=4, clip_on=False)
    return drawing.svg


def histogram(facts: Histogram, classes: Sequence[str], positive: str) -> str:
    """Two classes: the positive class's probability, images of each given label on one side."""
    label = f"Histogram of the probability of {positive}, by given label."
    with Drawing("histogram", label, 5.6, 2.75) as drawing:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes = drawing.figure.subplots()
        grid(axes, "y")
        edges = np.array(facts.edges)
        for k, (name, side) in enumerate(zip(classes, (-1, 1), strict=True)):
            heights = side * np.array(facts.counts[name])
            axes.bar(
                edges[:-1], heights, np.diff(edges) * 0.86, align="edge",
                color=class_color(k, len(classes)), alpha=0.9, linewidth=0, label=shorten(name),
            )  # fmt: skip
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_title("Probabilities on test")
        axes.set_xlabel(f"probability of {shorten(positive)}")
        axes.set_ylabel("number, by given label")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
        percent_axis(axes.xaxis)
        _legend(axes, "best")
    return drawing.svg
