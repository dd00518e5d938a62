"""How much the members of an ensemble agree, and what it is worth where they do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.evaluation import intervals

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]


def agreement(
    answers: Codes,
    together: Codes,
    labels: Codes,
    groups: Codes | None = None,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """How much M members agree on N labelled items.

    Args:
        answers: the class that each member answers, (M, N).
        together: the class that the ensemble answers, (N,).
        labels: (N,) codes.
        groups: (N,) codes of what belongs together; None where nothing does.
        confidence: the coverage of the intervals.

    Returns:
        `pairwise`: the share of items on which two members give the same answer, the mean over all
        pairs, None with one member or no item; `matrix`: the same for each pair, (M, M);
        `unanimous`: the share of items on which all do; `right_unanimous` and `right_divided`: the
        ensemble's accuracy on these items and on the others; `reachable`: the share of items that
        at least one member answers rightly. A share is `{"value", "low", "high", "n"}`, with
        Wilson's interval, all but n None where there is no item.
    """
    members, n = answers.shape
    same = answers == answers[0]
    unanimous = same.all(axis=0)
    right = together == labels
    matrix = [[float((one == other).mean()) if n else None for other in answers] for one in answers]
    pairs = [matrix[i][j] for i in range(members) for j in range(i)]
    known = [pair for pair in pairs if pair is not None]

    def share(flags: Flags, of: Flags | None = None) -> dict[str, Any]:
        chosen = flags if of is None else flags[of]
        own = groups if groups is None or of is None else groups[of]
        return proportion(chosen, own, confidence)

    return {
        "pairwise": float(np.mean(known)) if known else None,
        "matrix": matrix,
        "unanimous": share(unanimous),
        "right_unanimous": share(right, unanimous),
        "right_divided": share(right, ~unanimous),
        "reachable": share((answers == labels).any(axis=0)),
    }


def proportion(flags: Flags, groups: Codes | None, confidence: float) -> dict[str, Any]:
    """The share of items with a property, (n,), its interval corrected for groups."""
    n = len(flags)
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0}
    value = float(flags.mean())
    effect = intervals.design_effect(flags, groups, confidence)
    low, high = intervals.wilson(value, n / effect, confidence)
    return {"value": value, "low": low, "high": high, "n": n}


def mean_accuracy(
    answers: Codes, labels: Codes, groups: Codes | None, confidence: float
) -> dict[str, Any]:
    """The accuracy of the mean member: of M members' answers (M, N) to N items.

    An item counts as the share of members that are right on it. The interval is Wilson's, with the
    number of single answers that would vary as much as this mean does from item to item, robust to
    groups; it says how much the figure depends on the items.

    Returns:
        `{"value", "low", "high", "n"}`.
    """
    members, n = answers.shape
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0}
    shares = (answers == labels).mean(axis=0)
    value = float(shares.mean())
    effective = float(n if groups is None else len(np.unique(groups)))
    if 0 < value < 1 and effective > 1:
        variance = intervals.variance_of_mean(shares, groups)
        if variance > 0:
            effective = min(value * (1 - value) / variance, float(members * n))
    low, high = intervals.wilson(value, effective, confidence)
    return {"value": value, "low": low, "high": high, "n": n}
