"""Numbers and findings in words; what rounds never claims more than is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorgnette.report.facts import Evaluation, Facts, Measure, Training

NONE = "–"
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def fixed(value: float, digits: int, one: float = 1.0) -> str:
    """A number from 0 to `one`, with more digits where fewer would say 0 or `one` and be wrong."""
    for extra in range(3):
        text = f"{value:.{digits + extra}f}"
        if (0 < float(text) < one) or value in (0, one):
            return f"{value:.{digits}f}" if value in (0, one) else text
    nearest = f"{10 ** -(digits + 2):.{digits + 2}f}"
    return f"< {nearest}" if value < one / 2 else f"> {one - float(nearest):.{digits + 2}f}"


def percent(value: float | None, n: int = 0) -> str:
    """A share as "99.5%": one decimal, two from 10,000 items up, none where it is exact."""
    if value is None or not math.isfinite(value):
        return NONE
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    return fixed(100 * value, 2 if n >= 10_000 else 1, 100.0) + "%"


def score(value: float | None) -> str:
    """A number from 0 to 1 with three decimals."""
    if value is None or not math.isfinite(value):
        return NONE
    return fixed(value, 3) if 0 <= value <= 1 else f"{value:.3f}"


def plain(value: float | None) -> str:
    """A number of any size with three decimals, the loss."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.3f}"


def limits(measure: Measure, kind: str = "score") -> str:
    """The interval of a measure as "97.2–99.9%"; empty where there is none."""
    if measure.low is None or measure.high is None:
        return ""
    if kind == "percent":
        low, high = percent(measure.low, measure.n), percent(measure.high, measure.n)
        return f"{low.removesuffix('%')}–{high}"
    show = plain if kind == "plain" else score
    return f"{show(measure.low)}–{show(measure.high)}"


def count(number: int, noun: str = "", nouns: str | None = None) -> str:
    """A number with its noun: "1,234 images", "1 image"."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else (nouns or noun + 's')}"


def about(number: float, noun: str = "") -> str:
    """An expected number: "about 59", "about 0.6", "less than 0.1"."""
    if number <= 0:
        return count(0, noun)
    if number < 0.1:
        return "less than 0.1" + (f" {noun}s" if noun else "")
    text = f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
    return f"about {text.removesuffix('.0')}" + (f" {noun}s" if noun else "")


def seconds(value: float) -> str:
    """A duration as a person says it: "0.4 s", "12 s", "3 min 05 s", "2 h 10 min"."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def day(text: str) -> str:
    """The day of an ISO 8601 moment: "3 May 2026"; other text as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y}"


def size(bytes_: int) -> str:
    """An amount of data: "3.1 MiB"."""
    value = float(bytes_)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return (
                f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
            )
        value /= 1024
    return f"{value:.1f} TiB"


def together(training: Training) -> str:
    """That several processes trained one network, and whether some of them died."""
    assert training.update is not None
    ways = {
        "sync": "in step, as one process would",
        "periodic": "each by itself, their weights averaged",
        "async": "each by itself, through a server",
        "hogwild": "in one memory without locks",
    }
    way = ways.get(training.update.mode, training.update.mode)
    machines = sorted({name for start in training.starts for name in start.machines})
    on = f" on {count(len(machines), 'machine')}" if machines else ""
    said = f"{count(training.members, 'process', 'processes')}{on} trained it {way}."
    again = [f"after epoch {start.epoch}" for start in training.starts[1:]]
    if again:
        said += f" They were started again {listed(again)}, as some had died."
    return said


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a row: "a, b and c", or "a, b, c and 4 more"."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def left_out(excluded: Mapping[str, int]) -> str:
    """What a source leaves out on purpose: "37 undecidable, left out"; empty if nothing is."""
    found = [f"{number:,} {reason}" for reason, number in excluded.items()]
    return f"{listed(found)}, left out" if found else ""


def headline(test: Evaluation | None, item: str = "image") -> tuple[str, str, str]:
    """What was found, in three pieces: before the figure, the figure, after it."""
    if test is None or test.accuracy.value is None:
        return (
            f"There were no labelled test {item}s, so ",
            "nothing",
            " can be said of the accuracy.",
        )
    before = f"On {count(test.n, f'test {item}')} that {'was' if test.n == 1 else 'were'} "
    before += "never used for any choice, "
    verb = "was" if test.n == 1 else "were"
    return before, percent(test.accuracy.value, test.n), f" {verb} right."


def cautions(facts: Facts) -> list[str]:
    """What a reader must know before trusting the figures; often nothing."""
    found: list[str] = []
    test, reading = facts.judged, facts.reading
    item = reading.item
    if test is not None and test.n:
        if test.n < 100:
            found.append(
                f"There are only {count(test.n, f'test {item}')}: the intervals are wide, and "
                "small differences mean nothing."
            )
        if test.groups is not None and test.groups < 10:
            found.append(
                f"The test {item}s come from only {count(test.groups, 'group')}, and {item}s of a "
                "group resemble each other: how it does on others is known only roughly."
            )
        absent = [name for name in facts.classes if test.per_class[name].n == 0]
        if absent:
            found.append(
                f"The test split has no {item} of {listed(absent)}; nothing is known there."
            )
        commonest = facts.commonest
        if commonest and test.accuracy.low is not None and test.accuracy.low <= commonest[1]:
            found.append(
                f"The interval reaches down to {percent(commonest[1], test.n)}, what always "
                f"answering “{commonest[0]}” would get: it is not shown that anything was learnt."
            )
    if reading.conflicts:
        copies = "is an exact copy" if reading.conflicts == 1 else "are exact copies"
        found.append(
            f"{count(reading.conflicts, item)} {copies} of one with another label. The first "
            "copy was kept; at least one of each two labels is wrong."
        )
    # A schedule that falls to zero makes the last epoch the best one whatever its length.
    falls = facts.settings.get("train.schedule.name") in ("cosine", "one-cycle")
    if facts.training.best_epoch == facts.training.epochs > 1 and not falls:
        found.append("The last epoch was the best one: training longer may give more.")
    return found
