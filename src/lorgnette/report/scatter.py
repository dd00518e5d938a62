"""The figures of an inspection: clouds of points by label, spectra, class means of features."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lorgnette.report import words
from lorgnette.report.inspect_facts import Cloud, Inspection
from lorgnette.report.svg import (
    ACCENT,
    CLASS_COLORS,
    OTHER,
    RULE,
    Drawing,
    grid,
    percent_axis,
    shorten,
)

SQUARE = 3.6
"""The edge of a cloud, in inches."""
LAYERS = 8
"""Points are drawn in so many layers with every class in each, so that none hides the others."""


def palette(sizes: Sequence[int]) -> list[int]:
    """For each class the place of its colour; -1, grey, where there are more than colours.

    Up to seven classes have their own colours as everywhere; of more, the seven largest.
    """
    if len(sizes) <= len(CLASS_COLORS):
        return list(range(len(sizes)))
    largest = np.argsort(-np.asarray(sizes), kind="stable")[: len(CLASS_COLORS)].tolist()
    return [largest.index(code) if code in largest else -1 for code in range(len(sizes))]


def clouds(facts: Inspection) -> list[tuple[Cloud, str]]:
    """Each projection with its picture."""
    projections = facts.projections
    assert projections is not None
    places = [*palette([entry.items for entry in facts.classes]), -1]
    colors = np.array([places[code] for code in projections.labels])
    return [
        (cloud, _cloud(f"cloud-{n}", cloud, colors, projections.seed))
        for n, cloud in enumerate(projections.clouds)
    ]


def _cloud(name: str, cloud: Cloud, colors: np.ndarray, seed: int) -> str:
    """Points as dots: short paths with round ends, a tenth of the bytes of a marker each."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = np.array(cloud.points)
    n = len(points)
    label = f"{cloud.name}: {words.count(n, 'point')}, coloured by label."
    width = 5.4 if n <= 200 else 4.0 if n <= 1000 else 2.6
    layer = np.random.default_rng(seed).integers(0, LAYERS, n)
    with Drawing(name, label, SQUARE, SQUARE + 0.1) as drawing:
        axes = drawing.figure.subplots()
        axes.set_title(cloud.name)
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        reach = 0.53 * max(float(np.ptp(points, axis=0).max()), 1e-9)
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] - reach, middle[1] + reach)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(True)
        if cloud.axes:
            axes.set_xlabel(cloud.axes[0])
            axes.set_ylabel(cloud.axes[1])
        for step in range(LAYERS):
            for color in np.unique(colors):
                chosen = points[(colors == color) & (layer == step)]
                if not len(chosen):
                    continue
                codes = np.tile([Path.MOVETO, Path.LINETO], len(chosen))
                path = Path(chosen.repeat(2, axis=0), codes.astype(Path.code_type))
                path.should_simplify = False  # lines of no length are the points
                dots = PathPatch(
                    path,
                    fill=False,
                    edgecolor=OTHER if color < 0 else CLASS_COLORS[color],
                    linewidth=width,
                    capstyle="round",
                    alpha=0.4 if color < 0 else 0.72,
                    zorder=2 if color < 0 else 3,
                )
                axes.add_patch(dots)
    return re.sub(r"M (\S+ \S+) \nL \1 ?\n?", r"M\1h0", drawing.svg)


def spectrum(shares: Sequence[float]) -> str:
    """How much of the variance the first components hold, added up."""
    if len(shares) < 3:
        return ""
    total = np.concatenate([[0.0], np.cumsum(shares)])
    label = f"The first {len(shares)} components hold {words.percent(total[-1])} of the variance."
    with Drawing("spectrum", label, 4.7, 2.5) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        axes.fill_between(range(len(total)), total, color=ACCENT, alpha=0.14, linewidth=0)
        axes.plot(range(len(total)), total, color=ACCENT)
        axes.set_title("Variance held by the first components")
        axes.set_xlabel("components")
        axes.set_xlim(0, len(shares))
        axes.set_ylim(0, 1.02)
        percent_axis(axes.yaxis)
    return drawing.svg


def separation(facts: Inspection) -> str:
    """The class means of the features that separate most, in deviations from the mean of all."""
    found = facts.separation
    assert found is not None
    rows, colors = found.features, palette([entry.items for entry in facts.classes])
    label = f"Class means of the {len(rows)} features that separate the classes most."
    with Drawing("separation", label, 5.2, 0.29 * len(rows) + 0.9) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "x")
        axes.axvline(0, color=RULE, linewidth=1.2)
        for y, feature in enumerate(rows):
            axes.plot(
                [min(feature.means), max(feature.means)], [y, y], color=RULE, linewidth=3, zorder=2
            )
            for code in np.argsort(colors):  # grey ones below
                color = colors[code]
                axes.plot(
                    [feature.means[code]],
                    [y],
                    "o",
                    color=OTHER if color < 0 else CLASS_COLORS[color],
                    markersize=7 if color >= 0 else 4,
                    zorder=4 if color >= 0 else 3,
                )
        axes.set_yticks(range(len(rows)), [shorten(feature.name) for feature in rows])
        axes.invert_yaxis()
        axes.set_title("Class means")
        axes.set_xlabel("standard deviations from the mean of all")
    return drawing.svg
