"""The axes that the figures of a search share: its objective, time, and the marks of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.report.svg import ACCENT, BAD, INK, MUTED, OTHER
from lorgnette.tuning.facts import StudyFacts

Floats = NDArray[np.float64]

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": ACCENT, "markersize": 4.6, "alpha": 0.7},
    "pruned": {"marker": "v", "color": MUTED, "markersize": 4.4, "alpha": 0.75, "mfc": "none"},
    "rejected": {"marker": "x", "color": OTHER, "markersize": 4.4},
    "failed": {"marker": "P", "color": BAD, "markersize": 6},
    "running": {"marker": "D", "color": INK, "markersize": 4.4, "mfc": "none"},
    "waiting": {"marker": "|", "color": MUTED, "markersize": 5},
}
"""How a trial is drawn, by its state."""
MANY = 60
"""More dots than these grow smaller and fainter."""


@dataclass(frozen=True)
class Window:
    """The part of the objective's axis that is shown; a few hopeless trials lie outside.

    Attributes:
        low, high: its ends.
        accuracy: whether values are shares.
        maximize: whether more is better.
    """

    low: float
    high: float
    accuracy: bool
    maximize: bool

    def dots(self, axes: Axes, x: Any, values: Sequence[float], state: str, among: int = 0) -> None:
        """Trials at x; those outside stand at the edge as a triangle that points outward.

        Args:
            axes: where.
            x: (n,) places.
            values: (n,) of the objective.
            state: of all of them.
            among: how many dots there are in all, where these are not all of them.
        """
        if not len(values):
            return
        at, y = np.asarray(x, float), np.asarray(values, float)
        style = MARKS[state]
        if (many := max(len(at), among)) > MANY:
            less = (MANY / many) ** 0.35
            style = {**style, "markersize": style["markersize"] * max(0.6, less),
                     "alpha": style.get("alpha", 1.0) * max(0.5, less)}  # fmt: skip
        inside = (y >= self.low) & (y <= self.high)
        axes.plot(at[inside], y[inside], linestyle="none", zorder=4, **style)
        for out, edge, marker in ((y < self.low, self.low, 7), (y > self.high, self.high, 6)):
            if out.any():
                axes.plot(
                    at[out], np.full(out.sum(), edge), linestyle="none", marker=marker,
                    color=style["color"], markersize=5, alpha=0.7, clip_on=False, zorder=4,
                )  # fmt: skip

    def inside(self, values: Sequence[float] | Floats) -> Floats:
        """Those of the values that are shown."""
        found = np.asarray(values, float)
        return found[(found >= self.low) & (found <= self.high)]

    def share(self, value: float) -> float:
        """Where a value stands, from 0 at the worse end to 1 at the better."""
        held = min(max(value, self.low), self.high)
        up = (held - self.low) / (self.high - self.low)
        return up if self.maximize else 1 - up

    def ticks(self) -> list[float]:
        """Some round values inside."""
        from matplotlib.ticker import MaxNLocator

        found = MaxNLocator(5).tick_values(self.low, self.high)
        return [float(value) for value in found if self.low <= value <= self.high]

    def said(self, value: float) -> str:
        """A round value as text."""
        return f"{100 * value:.4g}%" if self.accuracy else f"{value:.4g}"


def window(facts: StudyFacts) -> Window:
    """What is shown of the objective's axis: all, unless a few are far worse than the others.

    The worse end is three interquartile ranges beyond the worse quartile, at most (Tukey's far
    outliers); the default configuration is always inside.
    """
    trials = [t for t in facts.in_state("complete", "pruned") if t.value is not None]
    values = np.array([trial.value for trial in trials], float)
    accuracy, more = facts.objective == "val_accuracy", facts.direction == "maximize"
    if not len(values):
        return Window(0.0, 1.0, accuracy, more)
    low, high = float(values.min()), float(values.max())
    first, third = np.quantile(values, [0.25, 0.75])
    reach = 3 * float(third - first)
    if reach > 0:
        if more:
            low = max(low, float(first) - reach)
        else:
            high = min(high, float(third) + reach)
    default = facts.trial(facts.default)
    if default is not None and default.value is not None and default.state == "complete":
        low, high = min(low, default.value), max(high, default.value)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return Window(low - pad, high + pad, accuracy, more)


def value_axis(axis: Any, facts: StudyFacts) -> None:
    """Label an axis of the objective, percent without needless zeros."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(6))
    if facts.objective == "val_accuracy":
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.5g}%"))


def time_axis(axis: Any, longest: float) -> None:
    """Label an axis of seconds in the unit that suits the longest of them."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    unit, name = (
        (1.0, "s") if longest < 180 else (60.0, "min") if longest < 10800 else (3600.0, "h")
    )
    nice = MaxNLocator(6, integer=longest > 5, steps=[1, 1.5, 2, 3, 5, 10])
    ticks = [unit * at for at in nice.tick_values(0, max(longest, 1e-9) / unit)]
    axis.set_ticks([at for at in ticks if at <= longest * 1.02])
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g} {name}"))
