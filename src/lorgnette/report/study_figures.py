"""The figures of a search over time: history, curves, cost and workers; and what the best is worth.

States of trials differ in shape as well as in colour, the same in all figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from lorgnette.report import words
from lorgnette.report.study_axes import MARKS, Window, time_axis, value_axis, window
from lorgnette.report.study_words import figure, interval, measure, tally
from lorgnette.report.svg import (
    ACCENT,
    BAD,
    INK,
    MUTED,
    OTHER,
    PAPER,
    Drawing,
    epoch_axes,
    grid,
    shorten,
)
from lorgnette.tuning.facts import StudyFacts, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = {"complete": ACCENT, "pruned": MUTED, "failed": BAD, "running": INK}
CURVES = 60
"""Curves in one picture, at most."""
WIDE = 9.2
"""Of a figure over the whole width, in inches."""
WORKERS = 24
"""Workers that are drawn."""


def best_so_far(facts: StudyFacts, trials: Sequence[Trial]) -> list[float]:
    """The best value of the complete trials up to each; NaN before the first."""
    better = max if facts.direction == "maximize" else min
    found: list[float] = []
    for trial in trials:
        so_far = found[-1] if found else math.nan
        if trial.state == "complete" and trial.value is not None:
            so_far = trial.value if math.isnan(so_far) else better(so_far, trial.value)
        found.append(so_far)
    return found


def in_time(facts: StudyFacts) -> list[Trial]:
    """The trials that have cost something, in the order in which they ended, else of numbers."""
    spent = [trial for trial in facts.trials if trial.seconds > 0]
    late = math.inf
    return sorted(spent, key=lambda t: (late if t.finished is None else t.finished, t.number))


def worth(facts: StudyFacts) -> str:
    """The best trial's own figure, what it is worth on other items, and the default's."""
    rows: list[tuple[str, float, tuple[float, float] | None, str, str]] = []
    best, default, judged = facts.trial(facts.best), facts.trial(facts.default), facts.optimism
    if best is None or best.value is None:
        return ""
    rows.append((f"best, trial {best.number}", best.value, interval(facts, best.value), MUTED, "o"))
    if judged is not None:
        corrected = (judged.low, judged.high)
        rows.append(("best, corrected", judged.corrected, corrected, ACCENT, "D"))
    if default is not None and default.value is not None and default.number != best.number:
        own = interval(facts, default.value)
        rows.append((f"default, trial {default.number}", default.value, own, INK, "s"))
    if len(rows) == 1:
        return ""
    text = "; ".join(f"{name} {figure(facts, value)}" for name, value, *_ in rows)
    label = f"The {measure(facts)}: {text}."
    with Drawing("worth", label, 5.4, 0.42 * len(rows) + 0.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "x")
        for place, (_, value, limits, color, marker) in enumerate(rows):
            if limits is not None:
                axes.plot(limits, [place, place], color=color, linewidth=3.4, alpha=0.45)
            axes.plot([value], [place], marker, color=color, markersize=7)
            axes.annotate(
                figure(facts, value), (value, place), (0, 7), textcoords="offset points",
                ha="center", fontsize=8.5, color=INK,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.75)
        value_axis(axes.xaxis, facts)
        axes.margins(x=0.08)
        axes.set_xlabel(measure(facts))
    return drawing.svg


def history(facts: StudyFacts) -> str:
    """The value of every trial by its number, and the best so far."""
    if not any(trial.value is not None for trial in facts.trials):
        return ""
    trials = sorted(facts.trials, key=lambda trial: trial.number)
    shown = window(facts)
    label = f"{words.count(len(trials), 'trial')}: {tally(facts)}."
    with Drawing("history", label, WIDE, 3.4) as drawing:
        from matplotlib.ticker import MaxNLocator

        axes = drawing.figure.subplots()
        grid(axes, "y")
        numbers = [trial.number for trial in trials]
        if facts.best_first:
            axes.plot(
                numbers, best_so_far(facts, trials), color=ACCENT, drawstyle="steps-post",
                linewidth=1.6, zorder=3,
            )  # fmt: skip
        for state in ("pruned", "complete"):
            own = [t for t in trials if t.state == state and t.value is not None]
            shown.dots(axes, [t.number for t in own], [t.value or 0.0 for t in own], state)
        floor = shown.low - 0.07 * (shown.high - shown.low)
        for trial in trials:
            if trial.value is None or trial.state not in ("complete", "pruned"):
                axes.plot([trial.number], [floor], linestyle="none", zorder=4, **MARKS[trial.state])
        _notable(axes, facts, shown)
        axes.set_ylim(floor - 0.07 * (shown.high - shown.low), shown.high)
        beside = max(0.8, 0.012 * len(numbers))
        axes.set_xlim(min(numbers) - beside, max(numbers) + beside)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        value_axis(axes.yaxis, facts)
        axes.set_title(measure(facts).capitalize())
        axes.set_xlabel("trial")
    return drawing.svg


def _notable(axes: Axes, facts: StudyFacts, shown: Window) -> None:
    """A star at the best trial, a square around the default one."""
    default, best = facts.trial(facts.default), facts.trial(facts.best)
    if default is not None and default.value is not None and default.state == "complete":
        axes.plot(
            [default.number], [default.value], "s", color=INK, markersize=10, mfc="none", mew=1.3,
            zorder=5,
        )  # fmt: skip
    if best is not None and best.value is not None:
        axes.plot(
            [best.number], [best.value], "*", color=INK, markersize=13, mec=PAPER, mew=0.8,
            zorder=6,
        )  # fmt: skip


def curves(facts: StudyFacts) -> list[str]:
    """The objective over the epochs: of finished trials, and of pruned ones with the best."""
    groups = [(state, [t for t in facts.in_state(state) if t.curve]) for state in _LEARNT]
    if not any(trials for _, trials in groups):
        return []
    best = facts.trial(facts.best)
    made = []
    ends = _curve_window(facts)
    longest = max(epoch for _, trials in groups for t in trials for epoch, _ in t.curve)
    for state, trials in groups:
        if trials:
            made.append(_curves(facts, state, _some(trials), best, ends, longest))
    return made


_LEARNT: tuple[Any, ...] = ("complete", "pruned")


def _curve_window(facts: StudyFacts) -> tuple[float, float]:
    """The ends of the axis of curves: a twentieth of the points, the worst, may lie outside."""
    points = [at for t in facts.in_state(*_LEARNT) for _, at in t.curve]
    if facts.direction == "maximize":
        low, high = float(np.quantile(points, 0.05)), max(points)
    else:
        low, high = min(points), float(np.quantile(points, 0.95))
    pad = 0.06 * (high - low) or 0.05
    return low - pad, high + pad


def _some(trials: Sequence[Trial]) -> list[Trial]:
    """As many trials as can be drawn, evenly from all of them."""
    if len(trials) <= CURVES:
        return list(trials)
    places = np.linspace(0, len(trials) - 1, CURVES).round().astype(int)
    return [trials[place] for place in places]


def _curves(
    facts: StudyFacts,
    state: str,
    trials: Sequence[Trial],
    best: Trial | None,
    ends: tuple[float, float],
    longest: int,
) -> str:
    name = facts.objective.partition("_")[2]
    said = {"complete": "finished", "pruned": "pruned"}[state]
    label = f"The {measure(facts)} of {words.count(len(trials), f'{said} trial')} over the epochs."
    alpha = max(0.28, min(0.9, 8 / len(trials)))
    with Drawing(f"curves-{state}", label, 4.7, 2.9) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        color = ACCENT if state == "complete" else MUTED
        for trial in trials:
            x, y = zip(*trial.curve, strict=True)
            axes.plot(
                x, y, color=color, linewidth=1.1, alpha=alpha,
                marker="o" if len(x) == 1 and state == "complete" else None, markersize=3,
            )  # fmt: skip
            if state == "pruned":
                axes.plot(x[-1:], y[-1:], linestyle="none", **MARKS["pruned"])
        if best is not None and best.curve:
            x, y = zip(*best.curve, strict=True)
            mark = "o" if len(x) == 1 else None
            axes.plot(x, y, color=INK, linewidth=2.2, zorder=5, marker=mark, markersize=4)
        epoch_axes(axes, name)
        value_axis(axes.yaxis, facts)
        axes.set_title(f"{said.capitalize()} trials")
        axes.set_ylim(*ends)
        axes.set_xlim(1 - 0.02 * longest, longest + 0.02 * longest + 0.5)
    return drawing.svg


def cost(facts: StudyFacts) -> list[str]:
    """The best so far against the seconds that were spent; and every trial's value by its own."""
    trials = in_time(facts)
    if not trials or not facts.best_first:
        return []
    return [_spent(facts, trials), _each(facts)]


def _spent(facts: StudyFacts, trials: Sequence[Trial]) -> str:
    spent = list(accumulate(trial.seconds for trial in trials))
    best = best_so_far(facts, trials)
    steps = [n for n, at in enumerate(best) if not math.isnan(at) and (n == 0 or at != best[n - 1])]
    label = f"The best {measure(facts)} by the seconds of training spent, {spent[-1]:.0f} in all."
    with Drawing("spent", label, 4.7, 2.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        limits = interval(facts, best[-1])
        if limits is not None:
            axes.axhspan(*limits, color=ACCENT, alpha=0.1, linewidth=0)
            pad = 0.12 * (limits[1] - limits[0])
            lowest = min(at for at in best if not math.isnan(at))
            axes.set_ylim(min(limits[0], lowest) - pad, limits[1] + pad)
        axes.plot(spent, best, color=ACCENT, drawstyle="steps-post")
        axes.plot([spent[n] for n in steps], [best[n] for n in steps], "o", color=ACCENT,
                  markersize=4.6)  # fmt: skip
        axes.set_xlim(0, spent[-1] * 1.03)
        time_axis(axes.xaxis, spent[-1])
        value_axis(axes.yaxis, facts)
        axes.set_title("Best so far")
        axes.set_xlabel("training time of all trials together")
    return drawing.svg


def _each(facts: StudyFacts) -> str:
    shown = window(facts)
    label = f"The {measure(facts)} of each trial by its seconds of training."
    with Drawing("each", label, 4.7, 2.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "y")
        longest = 0.0
        for state in ("pruned", "complete"):
            own = [t for t in facts.in_state(state) if t.value is not None]
            shown.dots(axes, [t.seconds for t in own], [t.value or 0.0 for t in own], state)
            longest = max([longest, *(trial.seconds for trial in own)])
        best = facts.trial(facts.best)
        if best is not None and best.value is not None:
            axes.plot([best.seconds], [best.value], "*", color=INK, markersize=13, mec=PAPER,
                      mew=0.8, zorder=6)  # fmt: skip
        axes.set_xlim(0, max(longest, 1e-9) * 1.04)
        axes.set_ylim(shown.low, shown.high)
        time_axis(axes.xaxis, longest)
        value_axis(axes.yaxis, facts)
        axes.set_title("Each trial")
        axes.set_xlabel("training time of the trial")
    return drawing.svg


def workers(facts: StudyFacts, names: Sequence[str]) -> str:
    """What each worker did when: a bar from the beginning to the end of each trial."""
    shown = list(names[:WORKERS])
    trials = [t for t in facts.trials if t.started is not None and t.worker in shown]
    if not trials:
        return ""
    ends = [t.finished if t.finished is not None else facts.seconds for t in trials]
    longest = max([*ends, *(t.started or 0.0 for t in trials)])
    label = f"What {words.count(len(shown), 'worker')} did over {words.seconds(longest)}."
    with Drawing("workers", label, WIDE, 0.34 * len(shown) + 0.75) as drawing:
        axes = drawing.figure.subplots()
        grid(axes, "x")
        for trial, end in zip(trials, ends, strict=True):
            place, start = shown.index(trial.worker), trial.started or 0.0
            axes.barh(
                place, max(end - start, longest / 900), left=start, height=0.56, linewidth=0.6,
                color=BARS.get(trial.state, OTHER), edgecolor=PAPER, zorder=3,
                alpha=0.55 if trial.state == "pruned" else 0.9,
            )  # fmt: skip
            if trial.taken_up:
                axes.plot([start], [place], ">", color=INK, markersize=4.5, zorder=5)
            if trial.state == "failed":
                axes.plot([end], [place], linestyle="none", zorder=5, **MARKS["failed"])
        axes.set_yticks(range(len(shown)), [shorten(name, 24) for name in shown], color=INK)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(0, max(longest, 1e-9) * 1.01)
        time_axis(axes.xaxis, longest)
        axes.set_xlabel("since the study began")
    return drawing.svg
