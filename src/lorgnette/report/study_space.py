"""The figures of a search's settings: the objective by each, and all together in parallel."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lorgnette.report import words
from lorgnette.report.study_axes import Window, value_axis, window
from lorgnette.report.study_words import measure, parted, said, share
from lorgnette.report.svg import ACCENT, INK, MUTED, PAPER, RULE, Drawing, grid, shorten
from lorgnette.tuning.facts import Dimension, StudyFacts, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = 12
"""Settings that are drawn, the most important ones."""
FEW = 6
"""So many different numbers are drawn as choices."""
BINS = 5
"""Ranges over which numbers are averaged, at most."""


def ordered(facts: StudyFacts) -> list[Dimension]:
    """The settings, the most important first; those of unknown importance as they came."""
    return sorted(facts.dimensions, key=lambda each: -facts.importance.get(each.key, -1.0))


def drawn(facts: StudyFacts) -> list[Dimension]:
    """The most important settings that a finished trial has."""
    done = facts.best_first
    used = [d for d in ordered(facts) if any(d.key in trial.values for trial in done)]
    return used[:DRAWN]


class Scale:
    """Where the values of a setting stand on an axis.

    Attributes:
        categories: the values in a row, at 0, 1, 2, ...; None where numbers have an axis.
        log: whether numbers stand at their logarithm.
        integer: whether they are whole.
        low, high: the least and the greatest number.
    """

    def __init__(self, dimension: Dimension, trials: Sequence[Trial]) -> None:
        present = [t.values[dimension.key] for t in trials if dimension.key in t.values]
        self.log, self.integer = dimension.kind == "log", dimension.integer
        self.categories: list[Any] | None = None
        if dimension.kind == "choice" or not all(map(_number, present)):
            keys = {_key(value): value for value in [*dimension.choices, *present]}
            self.categories = list(keys.values())
        elif (many := len(set(present))) <= FEW and len(present) >= 2 * many > 2:
            self.categories = sorted(set(present))
        self._places = {_key(value): n for n, value in enumerate(self.categories or [])}
        numbers = [float(value) for value in present if _number(value)]
        ends = [end for end in (dimension.low, dimension.high) if end is not None]
        if self.log:
            numbers = [value for value in [*numbers, *ends] if value > 0] or [1.0]
        else:
            numbers = [*numbers, *ends] or [0.0]
        self.low, self.high = min(numbers), max(numbers)

    def at(self, value: Any) -> float:
        """The place of a value on the axis: its category's, or the number itself."""
        if self.categories is not None:
            return float(self._places[_key(value)])
        return max(float(value), self.low) if self.log else float(value)

    def share(self, value: Any) -> float:
        """The place of a value from 0, the lower end, to 1."""
        if self.categories is not None:
            return (self.at(value) + 0.5) / len(self.categories)
        low, high, at = self.low, self.high, self.at(value)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low) if high > low else 0.5


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any) -> str:
    """What tells choices apart: 0 and false are two, 1 and 1.0 are one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, default=str)


def by_value(facts: StudyFacts) -> list[str]:
    """For each setting, the objective of every trial by its value; mean and deviation of each.

    Numbers are averaged over up to five ranges with equally many trials in each.
    """
    done = facts.best_first
    if len(done) < 2:
        return []
    shown = window(facts)
    return [
        _by_value(facts, dimension, place, done, shown)
        for place, dimension in enumerate(drawn(facts))
    ]


def _by_value(
    facts: StudyFacts, dimension: Dimension, place: int, done: Sequence[Trial], shown: Window
) -> str:
    trials = sorted(
        (trial for trial in done if dimension.key in trial.values), key=lambda t: t.number
    )
    cut = [t for t in facts.in_state("pruned") if dimension.key in t.values and t.value is not None]
    scale = Scale(dimension, [*trials, *cut])
    label = f"The {measure(facts)} of {words.count(len(trials), 'trial')} by {dimension.key}."
    with Drawing(f"by-{place}", label, 4.7, 2.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        if scale.categories is not None:
            _by_category(axes, dimension, scale, trials, cut, shown)
        else:
            _by_number(axes, dimension, scale, trials, cut, shown)
        axes.set_title(shorten(dimension.key, 40))
        if dimension.key in facts.importance:
            part = f"{share(facts.importance[dimension.key])} of the differences"
            axes.set_title(part, loc="right", color=MUTED, fontsize=8.5)
        axes.set_ylim(shown.low, shown.high)
        value_axis(axes.yaxis, facts)
    return drawing.svg


def _by_category(
    axes: Axes,
    dimension: Dimension,
    scale: Scale,
    trials: Sequence[Trial],
    cut: Sequence[Trial],
    shown: Window,
) -> None:
    """A column for each choice: trials from left to right as they came, then what they have."""
    assert scale.categories is not None
    names, many = [], len(trials) + len(cut)
    for column, category in enumerate(scale.categories):
        own = [t for t in trials if scale.at(t.values[dimension.key]) == column]
        ended = [t for t in cut if scale.at(t.values[dimension.key]) == column]
        for group, mark in ((ended, "pruned"), (own, "complete")):
            across = np.linspace(-0.24, 0.24, len(group)) if len(group) > 1 else np.zeros(1)
            shown.dots(axes, column + across, [t.value or 0.0 for t in group], mark, many)
        values = shown.inside([t.value or 0.0 for t in own])
        if len(values):
            _mean(axes, column - 0.36, column + 0.36, values, log=False)
        names.append((shorten(said(category), 18), f"{len(values):,}"))
    long = max(len(name) for name, _ in names) * len(names) > 54
    if long:
        ticks = [f"{name} ({n})" for name, n in names]
        axes.set_xticks(range(len(names)), ticks, rotation=32, ha="right", rotation_mode="anchor")
    else:
        ticks = [f"{name}\nn = {n}" for name, n in names]
        axes.set_xticks(range(len(names)), ticks)
    for text in axes.get_xticklabels():
        text.set_color(INK)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _by_number(
    axes: Axes,
    dimension: Dimension,
    scale: Scale,
    trials: Sequence[Trial],
    cut: Sequence[Trial],
    shown: Window,
) -> None:
    """Trials at their numbers, and means over ranges of them."""
    if scale.log:
        axes.set_xscale("log")
    many = len(trials) + len(cut)
    for group, mark in ((cut, "pruned"), (trials, "complete")):
        x = np.array([scale.at(t.values[dimension.key]) for t in group], float)
        shown.dots(axes, x, [t.value or 0.0 for t in group], mark, many)
    x = np.array([scale.at(t.values[dimension.key]) for t in trials], float)
    y = np.array([t.value for t in trials], float)
    for part in _bins(x):
        values = shown.inside(y[part])
        if len(values):
            _mean(axes, x[part].min(), x[part].max(), values, scale.log)
    if scale.high > scale.low:
        axes.set_xlim(*_padded(scale))
    _numbers(axes, scale)


def _bins(x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Places in ranges of x with about as many each, none of fewer than four; equals together."""
    count = min(BINS, len(x) // 4)
    if count < 2:
        return []
    edges = np.quantile(x, np.linspace(0, 1, count + 1)[1:-1])
    of = np.searchsorted(edges, x, side="left")
    parts = [np.flatnonzero(of == n) for n in range(count)]
    return [part for part in parts if len(part)]


def _padded(scale: Scale) -> tuple[float, float]:
    """The ends of an axis, a little beyond those of the range."""
    if scale.log:
        by = (scale.high / scale.low) ** 0.03
        return scale.low / by, scale.high * by
    by = 0.03 * (scale.high - scale.low)
    return scale.low - by, scale.high + by


def _numbers(axes: Axes, scale: Scale) -> None:
    """Few ticks with short numbers; on a logarithmic axis never fewer than two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: said(float(value))))
    if not scale.log:
        axes.xaxis.set_major_locator(MaxNLocator(6))
        return
    decades = math.log10(scale.high / scale.low)
    subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=8))


def _mean(axes: Axes, left: float, right: float, values: np.ndarray[Any, Any], log: bool) -> None:
    """A mean as a line from left to right, and its deviation, if there is any, as a bar."""
    from matplotlib.patheffects import Normal, Stroke

    mean = float(values.mean())
    middle = math.sqrt(left * right) if log else (left + right) / 2
    if len(values) > 1:
        spread = float(values.std(ddof=1))
        axes.plot(
            [middle, middle], [mean - spread, mean + spread], color=INK, linewidth=1.2, zorder=6,
            solid_capstyle="butt",
            path_effects=[Stroke(linewidth=2.4, foreground=PAPER), Normal()],
        )  # fmt: skip
    axes.plot(
        [left, right], [mean, mean], color=INK, linewidth=2.2, zorder=7,
        path_effects=[Stroke(linewidth=3.4, foreground=PAPER), Normal()],
    )  # fmt: skip


def parallel(facts: StudyFacts) -> str:
    """A line for each finished trial through its settings to its value, the best ones in colour."""
    done, dimensions = facts.best_first, drawn(facts)
    if len(done) < 2 or len(dimensions) < 2:
        return ""
    shown = window(facts)
    scales = [Scale(dimension, done) for dimension in dimensions]
    count = len(dimensions)
    label = f"The settings and the {measure(facts)} of {words.count(len(done), 'finished trial')}."
    with Drawing("parallel", label, max(5.4, min(9.2, (count + 1) + 0.4)), 3.9) as drawing:
        axes = drawing.figure.subplots()
        axes.set_axis_off()
        best = max(1, min(len(done) // 10, 20))
        faint = max(0.12, min(0.5, 25 / len(done)))
        for rank, trial in reversed(list(enumerate(done))):
            y = [
                scale.share(trial.values[each.key]) if each.key in trial.values else ABSENT
                for scale, each in zip(scales, dimensions, strict=True)
            ]
            y.append(shown.share(trial.value or 0.0))
            # Lines through one choice would lie on each other; this keeps them a little apart.
            y = [at + 0.016 * math.sin(2.4 * trial.number + k) for k, at in enumerate(y)]
            color, width, alpha = MUTED, 0.8, faint
            if rank < best:
                color, width, alpha = ACCENT, 1.5, 0.9
            if rank == 0:
                color, width, alpha = INK, 2.6, 1.0
            axes.plot(range(count + 1), y, color=color, linewidth=width, alpha=alpha)
        for place, (each, scale) in enumerate(zip(dimensions, scales, strict=True)):
            lacking = any(each.key not in trial.values for trial in done)
            own, section = parted(each.key)
            if count > 8:  # there is no room for all of it
                section = section.rpartition(".")[2]
            _upright(axes, place, (own, section), _marks(scale), lacking)
        ticks = [(shown.share(at), shown.said(at)) for at in shown.ticks()]
        _upright(axes, count, (facts.objective.partition("_")[2], "validation"), ticks, False)
        axes.set_xlim(-0.4, count + 0.4)
        axes.set_ylim(-0.16, 1.2)
    return drawing.svg


ABSENT = -0.1
"""Where lines run whose trials do not have the setting."""


def _marks(scale: Scale) -> list[tuple[float, str]]:
    """Places from 0 to 1 on an upright axis, and what stands there."""
    if scale.categories is not None:
        many = len(scale.categories)
        step = max(1, math.ceil(many / 8))
        kept = scale.categories[::step]
        return [(scale.share(value), shorten(said(value), 14)) for value in kept]
    if scale.high <= scale.low:
        return [(0.5, said(scale.low))]
    middle = math.sqrt(scale.low * scale.high) if scale.log else (scale.low + scale.high) / 2
    if scale.integer:
        middle = round(middle)
    values = [scale.low, middle, scale.high]
    return [(scale.share(value), said(float(value))) for value in values]


def _upright(
    axes: Axes,
    place: int,
    names: tuple[str, str],
    marks: Sequence[tuple[float, str]],
    lacking: bool,
) -> None:
    """An axis with two names above; `lacking` adds the place of trials without the setting."""
    axes.plot([place, place], [0, 1], color=RULE, linewidth=1, zorder=1)
    marks = [*marks, (ABSENT, "–")] if lacking else marks
    for at, text in marks:
        axes.text(
            place, at, text, ha="center", va="center", fontsize=7.5, color=INK, zorder=8,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )  # fmt: skip
    first, second = (shorten(name, 15) if name else "" for name in names)
    axes.text(place, 1.15, first, ha="center", va="bottom", fontsize=8.5, color=INK)
    axes.text(place, 1.14, second, ha="center", va="top", fontsize=7.5, color=MUTED)
