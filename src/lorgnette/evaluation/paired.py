"""Two models on the same items: which one is right more often, and how sure that is.

Sources:
    McNemar, Note on the sampling error of the difference between correlated proportions or
        percentages. Psychometrika 12 (1947); here in its exact, binomial form.
    Newcombe, Improved confidence intervals for the difference between binomial proportions based on
        paired data. Statistics in Medicine 17 (1998), method 10.
    Holm, A simple sequentially rejective multiple test procedure. Scandinavian Journal of
        Statistics 6 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorgnette.evaluation import intervals


@dataclass(frozen=True)
class Paired:
    """What two models' answers to the same items say about the difference of their accuracies.

    Attributes:
        n: items.
        first: items that only the first answered rightly.
        second: items that only the second did.
        difference: accuracy of the first minus that of the second.
        low, high: its interval; None where it cannot be made.
        p: two-sided, of no difference between the two.
        groups: how many groups the items come in, and which the test counted; None without.
    """

    n: int
    first: int
    second: int
    difference: float
    low: float | None
    high: float | None
    p: float
    groups: int | None


def compare(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
    confidence: float = 0.95,
) -> Paired:
    """Compare two models on the same items.

    Without groups, McNemar's exact test: of the b + c items that one of the two answered rightly,
    b is binomial with 1/2 if there is no difference. With groups, which do not stand alone, each
    group is one observation, for the model that was right more often in it: a sign test, the same
    thing where every group is one item. The interval is Newcombe's; with groups, the mean
    difference ± t · a standard error that is robust to them.

    Args:
        first: (N,) whether the first model was right, N > 0.
        second: (N,) whether the second was.
        groups: (N,) codes of what belongs together.
        confidence: the coverage of the interval.
    """
    n = len(first)
    step = first.astype(np.int64) - second.astype(np.int64)
    b, c = int((step > 0).sum()), int((step < 0).sum())
    limits: tuple[float, float] | None
    if groups is None:
        wins, losses, count = b, c, None
        both = int((first & second).sum())
        limits = newcombe(both, b, c, n - both - b - c, confidence)
    else:
        names, codes = np.unique(groups, return_inverse=True)
        net = np.bincount(codes, weights=step)
        wins, losses, count = int((net > 0).sum()), int((net < 0).sum()), len(names)
        limits = intervals.mean(step.astype(float), groups, confidence)
    low, high = (None, None) if limits is None else (max(-1.0, limits[0]), min(1.0, limits[1]))
    return Paired(n, b, c, float(step.mean()), low, high, sign_test(wins, losses), count)


def sign_test(wins: int, losses: int) -> float:
    """The two-sided p of so uneven a count, or a more uneven one, if both were equally likely."""
    from scipy.stats import binom

    fewer, n = min(wins, losses), wins + losses
    return min(1.0, 2 * float(binom.cdf(fewer, n, 0.5))) if n else 1.0


def newcombe(a: int, b: int, c: int, d: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a difference of paired proportions, `(b - c) / n`; Newcombe's method 10.

    Wilson's limits of both proportions are put together with the correlation `phi` of the two,
    which is corrected for continuity where it is positive.

    Args:
        a: items that both answered rightly.
        b: that only the first did.
        c: that only the second did.
        d: that neither did.
        confidence: the coverage.
    """
    n = a + b + c + d
    p, q = (a + b) / n, (a + c) / n
    (low_p, high_p), (low_q, high_q) = (intervals.wilson(x, n, confidence) for x in (p, q))
    product = (a + b) * (c + d) * (a + c) * (b + d)
    phi = 0.0
    if product:
        along = a * d - b * c
        phi = (max(along - n / 2, 0.0) if along > 0 else along) / math.sqrt(product)

    def spread(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    difference = p - q
    return (
        difference - spread(p - low_p, high_q - q),
        difference + spread(high_p - p, q - low_q),
    )


def holm(values: Sequence[float]) -> list[float]:
    """P values corrected for their number, in the order given; Holm's step-down procedure."""
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return [float(value) for value in corrected]
