"""Confidence intervals in closed form: instant at any N, and never of no width at 0 or 1.

Each function takes a point estimate with what its spread depends on, and returns `(low, high)`.
Where items come in groups (pictures of one person), they say less than as many single ones: the
sample sizes passed here are then effective ones, divided by `design_effect`.

Sources:
    Wilson, Probable inference, the law of succession, and statistical inference. JASA 22 (1927).
    Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic.
        Part 2. Statistics in Medicine 25 (2006), method 5.
    Zou & Donner, Construction of confidence limits about effect measures: a general approach.
        Statistics in Medicine 27 (2008): MOVER.
    Korn & Graubard, Confidence intervals for proportions with small expected number of positive
        counts estimated from survey data. Survey Methodology 24 (1998).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def z_score(confidence: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 at 0.95."""
    return float(ndtri((1 + confidence) / 2))


def t_score(confidence: float, freedom: float) -> float:
    """The quantile of Student's t with that many degrees of freedom."""
    return float(stdtrit(freedom, (1 + confidence) / 2))


def wilson(proportion: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval: the p with `|proportion - p| = z sqrt(p (1 - p) / n)`.

    Args:
        proportion: the observed share, in [0, 1].
        n: the (effective) number of items, above 0; need not be whole.
        confidence: the coverage.
    """
    z2 = z_score(confidence) ** 2
    centre = (proportion + z2 / (2 * n)) / (1 + z2 / n)
    spread = math.sqrt(z2 * (proportion * (1 - proportion) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At 0 and 1 the near limit is exactly the estimate; rounding must not put it beyond.
    return max(0.0, min(proportion, centre - spread)), min(1.0, max(proportion, centre + spread))


def roc_auc_variance(auc: float, positives: float, negatives: float) -> float:
    """The variance of an area under the ROC curve under exponential scores.

    Hanley & McNeil's model with Newcombe's `N* = (m + n) / 2 - 1` for both sample sizes:
    `A (1 - A) (1 + N* (1 - A) / (2 - A) + N* A / (1 + A)) / (m n)`.
    """
    star = max((positives + negatives) / 2 - 1, 0.0)
    inflation = 1 + star * (1 - auc) / (2 - auc) + star * auc / (1 + auc)
    return auc * (1 - auc) * inflation / (positives * negatives)


def roc_auc(auc: float, positives: float, negatives: float, confidence: float = 0.95) -> Interval:
    """Newcombe's method 5: the A with `|auc - A| = z sqrt(V(A))`, V as in `roc_auc_variance`.

    Args:
        auc: the observed area, in [0, 1].
        positives: the (effective) number of items of the class, above 0.
        negatives: the (effective) number of the others, above 0.
        confidence: the coverage.
    """
    z = z_score(confidence)

    def limit(bound: float) -> float:
        # Bisection between the bound, where the variance is 0, and the estimate.
        outside, inside = bound, auc
        for _ in range(60):
            middle = (outside + inside) / 2
            spread = z * math.sqrt(roc_auc_variance(middle, positives, negatives))
            if abs(auc - middle) > spread:
                outside = middle
            else:
                inside = middle
        return (outside + inside) / 2

    return (limit(0.0) if auc > 0 else 0.0), (limit(1.0) if auc < 1 else 1.0)


def mover(
    estimates: Floats, lows: Floats, highs: Floats, correlation: Floats | None = None
) -> Interval:
    """MOVER: the interval of a mean from the intervals of its K parts.

    `low = m - sqrt(d' R d)` with `d_k = (estimate_k - low_k) / K`, and likewise above; R is the
    parts' correlation: the identity where they are independent; with all ones the limits are the
    means of the limits, the widest that they can be.

    Args:
        estimates: (K,) point estimates in [0, 1].
        lows: (K,) their lower limits.
        highs: (K,) their upper limits.
        correlation: (K, K) of the estimates.
    """
    mean = float(estimates.mean())
    below, above = (estimates - lows) / len(estimates), (highs - estimates) / len(estimates)
    matrix = np.eye(len(estimates)) if correlation is None else correlation
    low = mean - math.sqrt(max(0.0, float(below @ matrix @ below)))
    high = mean + math.sqrt(max(0.0, float(above @ matrix @ above)))
    return max(0.0, low), min(1.0, high)


def mean(
    values: Floats, groups: NDArray[np.int64] | None = None, confidence: float = 0.95
) -> Interval | None:
    """`mean ± t standard error`, the error robust to groups where there are any.

    Args:
        values: (N,) one number for each item.
        groups: (N,) codes of the groups.
        confidence: the coverage.

    Returns:
        The limits; None with fewer than two independent items, which say nothing of the spread.
    """
    independent = len(values) if groups is None else len(np.unique(groups))
    if independent < 2:
        return None
    spread = t_score(confidence, independent - 1) * math.sqrt(variance_of_mean(values, groups))
    return float(values.mean()) - spread, float(values.mean()) + spread


def variance_of_mean(values: Floats, groups: NDArray[np.int64] | None = None) -> float:
    """The variance of a mean: `G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 / N^2`.

    Without groups each item is its own and this is the textbook's `s^2 / N`.
    """
    residuals = values - values.mean()
    if groups is not None:
        residuals = np.bincount(np.unique(groups, return_inverse=True)[1], weights=residuals)
    count = len(residuals)
    return count / (count - 1) * float((residuals**2).sum()) / len(values) ** 2


def design_effect(
    correct: NDArray[np.bool_], groups: NDArray[np.int64] | None, confidence: float = 0.95
) -> float:
    """By how much grouped items count less than as many single ones.

    The variance of the accuracy that is robust to groups over the binomial one, with Korn and
    Graubard's `(t_{G-1} / t_{N-1})^2` for the few groups it is estimated from. It is held between
    1 and `N / G_effective = sum n_g^2 / N` (Kish): nothing is gained by groups, and a group is
    worth at least one item. Where all are right, or all wrong, nothing can be estimated and each
    group counts as one item.

    Args:
        correct: (N,) whether each item was right.
        groups: (N,) codes of the groups; None where each item stands alone.
        confidence: the coverage of the interval that it is for.
    """
    n = len(correct)
    if groups is None or n == 0:
        return 1.0
    sizes = np.unique(groups, return_counts=True)[1]
    count = len(sizes)
    share = float(correct.mean())
    if count == n:
        return 1.0
    if share in (0.0, 1.0):
        return n / count
    highest = float((sizes.astype(float) ** 2).sum()) / n
    if count == 1:
        return highest
    robust = variance_of_mean(correct.astype(float), groups)
    few = (t_score(confidence, count - 1) / t_score(confidence, n - 1)) ** 2
    return min(max(1.0, robust / (share * (1 - share) / n) * few), highest)
