"""When to stop, in words."""

from __future__ import annotations

from dataclasses import dataclass

from lorgnette.serving.review.economy import AHEAD, FEWEST, Economy

RULE = (
    "It is time to stop when the estimated share of wrong labels is at the target, or when the "
    f"next {AHEAD} decisions are expected to find less than one."
)


@dataclass(frozen=True)
class Advice:
    """A suggestion.

    Attributes:
        stop: whether to stop.
        text: why.
        rule: what it follows from.
    """

    stop: bool
    text: str
    rule: str


def advise(economy: Economy, target: float, seconds: float | None) -> Advice:
    """Whether to go on.

    Args:
        economy: what is left.
        target: the share of wrong labels that is good enough.
        seconds: per decision; None where nobody knows.
    """
    if not economy.known:
        text = (
            f"Without an audit, {FEWEST} labels have to be judged before anything can be said of "
            f"the others; {economy.judged} are."
        )
        return Advice(False, text, RULE)
    share = economy.share(economy.left.value)
    if economy.decisions == 0:
        return Advice(True, "Everything is settled.", RULE)
    if share <= target:
        about = f"About {_percent(share)} of the labels are wrong"
        return Advice(True, f"You can stop. {about}; the target is {_percent(target)}.", RULE)
    if economy.ahead.value < 1:
        ahead = f"The next {economy.decisions} decisions are expected to find less than one"
        return Advice(True, f"You can stop. {ahead} wrong label.", RULE)
    if economy.to_target is None or economy.to_target > economy.to_quiet:
        more, what = economy.to_quiet, "further looking finds next to nothing"
    else:
        more, what = economy.to_target, f"{_percent(target)} is reached"
    time = "" if seconds is None else f" ({duration(more * seconds)} at your pace)"
    return Advice(False, f"Go on: after some {_round(more)} more decisions{time}, {what}.", RULE)


def duration(seconds: float) -> str:
    """A time for reading."""
    if seconds < 90:
        return f"about {max(1, round(seconds / 10)) * 10} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def _round(count: int) -> str:
    if count < 20:
        return str(count)
    step = 10 ** max(len(str(count)) - 2, 1)
    return f"{-(-count // step) * step:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%" if share < 0.01 else f"{100 * share:.1f}%"
