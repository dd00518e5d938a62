"""A search in words: settings and figures as text, the headline, and what to beware of."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from lorgnette.evaluation.intervals import wilson
from lorgnette.report import words
from lorgnette.tuning.facts import Dimension, State, StudyFacts, Trial

STATES: tuple[State, ...] = ("complete", "pruned", "rejected", "failed", "running", "waiting")
SLIGHT = 0.05
"""A setting of less importance may well be at the end of its range."""
EDGE = 0.02
"""So near to an end of its range, as a share of it, a setting is at the end."""


def said(value: Any) -> str:
    """A setting's value for people: "32·64·128", "0.00312", "adam", "true"; lists in one piece."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if 0.99 < abs(value) < 1:
            return f"{value:.6g}"  # of a decay rate the distance from 1 counts
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        if not value:
            return "(empty)"
        return "·".join(f"({said(each)})" if _nested(each) else said(each) for each in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _nested(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) != 1


def settings(trial: Trial, keys: Iterable[str]) -> str:
    """The settings that a trial has, as "train.lr 0.003, model.dropout 0.5"."""
    return ", ".join(f"{key} {said(trial.values[key])}" for key in keys if key in trial.values)


def parted(key: str) -> tuple[str, str]:
    """A setting's own name and its section: "lr" and "train", "filters.0" and "model"."""
    parts = key.split(".")
    own = 2 if len(parts) > 1 and parts[-1].isdigit() else 1
    return ".".join(parts[-own:]), ".".join(parts[:-own])


def measure(facts: StudyFacts) -> str:
    """What is judged: "validation accuracy" or "validation loss"."""
    return facts.objective.replace("val_", "validation ")


def figure(facts: StudyFacts, value: float | None) -> str:
    """A value of the objective: percent for the accuracy, three decimals for the loss."""
    if facts.objective == "val_accuracy":
        return words.percent(value, facts.items)
    return words.plain(value)


def span(facts: StudyFacts, low: float, high: float) -> str:
    """Two values of the objective as "86.1–92.4%"."""
    first, second = figure(facts, low), figure(facts, high)
    return f"{first.removesuffix('%')}–{second}"


def interval(facts: StudyFacts, value: float | None) -> tuple[float, float] | None:
    """Wilson's 95% interval of an accuracy that was not chosen by it.

    None where items come in groups, whose weight is not known here, and for the loss.
    """
    known = facts.objective == "val_accuracy" and facts.items > 0 and facts.groups is None
    if not known or value is None or not 0 <= value <= 1:
        return None
    return wilson(value, facts.items)


def apart(facts: StudyFacts, difference: float) -> str:
    """A difference of two values without its sign: "1.8 points", "0.012" of a loss."""
    size = abs(difference)
    if facts.objective != "val_accuracy":
        return "less than 0.001" if size < 0.001 else f"{size:.3f}"
    points, digits = 100 * size, 2 if facts.items >= 10_000 else 1
    least = 10**-digits
    if points < least:
        return f"less than {least:g} points"
    text = f"{points:.{digits}f}" if points < 9.95 else f"{points:.0f}"
    text = text.rstrip("0").removesuffix(".") if "." in text else text
    return f"{text} point{'' if text == '1' else 's'}"


def share(value: float) -> str:
    """A share as "31%", "< 1%"."""
    return f"{100 * value:.0f}%" if value >= 0.01 else "< 1%"


def gain(facts: StudyFacts, first: float, second: float) -> float:
    """By how much the second value is better than the first; below 0 where it is worse."""
    return second - first if facts.direction == "maximize" else first - second


def luck(facts: StudyFacts) -> float | None:
    """By how much the best trial's own figure is better than the corrected one."""
    found = facts.optimism
    return None if found is None else gain(facts, found.corrected, found.value)


def states(facts: StudyFacts) -> list[tuple[str, int]]:
    """How many trials there are in each state that occurs, in a fixed order."""
    counts = Counter(trial.state for trial in facts.trials)
    return [(state, counts[state]) for state in STATES if counts[state]]


def tally(facts: StudyFacts, *left_out: str) -> str:
    """The states in a row: "31 complete, 9 pruned, 2 failed"."""
    return ", ".join(f"{n:,} {state}" for state, n in states(facts) if state not in left_out)


def headline(facts: StudyFacts) -> tuple[str, str, str]:
    """What was found, in three pieces: before the figure, the figure, after it."""
    best, count = facts.trial(facts.best), len(facts.best_first)
    if best is None or best.value is None:
        under_way = facts.in_state("running", "waiting")
        if under_way or not facts.trials:
            return "So far, ", "no trial", " has finished."
        return "Of " + words.count(len(facts.trials), "trial") + ", ", "none", " finished."
    who = "The only finished trial" if count == 1 else f"The best of {count:,} finished trials"
    end = _luck_said(facts) if count > 1 else "."
    if facts.objective == "val_accuracy":
        of = f" of {words.count(facts.items, 'validation item')}" if facts.items else ""
        of = of or " of the validation items"
        return f"{who} gets ", figure(facts, best.value), f"{of} right{end}"
    return f"{who} has a validation loss of ", figure(facts, best.value), end


def _luck_said(facts: StudyFacts) -> str:
    found = luck(facts)
    if found is None:
        return "."
    if found < 0.0005:
        return "; next to nothing of that is the luck of the choice."
    amount = apart(facts, found)
    if facts.objective != "val_accuracy":
        return f"; that is likely about {amount} too low, by the luck of the choice."
    verb = "is" if amount.endswith("point") else "are"
    return f"; about {amount} of that {verb} likely the luck of the choice."


def cautions(facts: StudyFacts) -> list[str]:
    """What a reader must know before believing the best trial; often something."""
    found: list[str] = []
    active = len(facts.in_state("running", "waiting"))
    if active:
        verb = "is" if active == 1 else "are"
        found.append(
            f"The search is not over: {words.count(active, 'trial')} {verb} under way or waiting."
        )
    failed = len(facts.in_state("failed"))
    if failed:
        found.append(
            f"{words.count(failed, 'trial')} failed while training, which may have nothing to do "
            "with the settings."
        )
    if 0 < facts.items < 100:
        found.append(
            f"There are only {words.count(facts.items, 'validation item')}: many trials differ by "
            "chance alone, and the best one is hardly known."
        )
    if facts.groups is not None and facts.groups < 10:
        found.append(
            f"The validation items come from only {words.count(facts.groups, 'group')}: what is "
            "best for others is known only roughly."
        )
    best = facts.trial(facts.best)
    if best is not None and best.value is not None:
        found += _of_the_best(facts, best, best.value)
    return found


def _of_the_best(facts: StudyFacts, best: Trial, value: float) -> list[str]:
    found: list[str] = []
    default, judged = facts.trial(facts.default), facts.optimism
    if best.number == facts.default and len(facts.best_first) > 1:
        found.append("The default configuration is the best one: the search found nothing better.")
    elif judged is not None and default is not None and default.value is not None:
        worst = judged.low if facts.direction == "maximize" else judged.high
        if gain(facts, worst, default.value) >= 0:
            found.append(
                f"The default configuration, at {figure(facts, default.value)}, is within the "
                "interval of what the best is worth: these figures do not show that the search "
                "gained anything."
            )
    ends = [
        text
        for each in facts.dimensions
        if facts.importance.get(each.key, 1.0) >= SLIGHT and (text := at_end(each, best.values))
    ]
    if ends:
        found.append(
            f"In the best trial, {words.listed(ends)} {'is' if len(ends) == 1 else 'are'} at the "
            "end of what was searched: beyond it may be better."
        )
    return found


def at_end(dimension: Dimension, values: dict[str, Any]) -> str:
    """The setting and its value if that is an end of its range; else empty.

    A lower end of 0 is none: most settings know nothing below it.
    """
    value, low, high = values.get(dimension.key), dimension.low, dimension.high
    if dimension.kind == "choice" or low is None or high is None or high <= low:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    shown = f"{dimension.key} = {said(value)}"
    if dimension.kind == "log":
        if low <= 0 or value <= 0:
            return ""
        low, high, value = math.log(low), math.log(high), math.log(value)
    share = (value - low) / (high - low)
    return shown if (share <= EDGE and low != 0) or share >= 1 - EDGE else ""
