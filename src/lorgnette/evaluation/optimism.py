"""How much the best of many configurations overstates itself, and what it is likely worth.

Where T configurations are judged by the same items, the best of them owes a part of its figure to
luck, the more so the larger T and the fewer the items. The bootstrap bias correction repeats the
choice itself: items are drawn with replacement, the best configuration on those is chosen, and it
is measured on the items that were not drawn. No network is trained again.

Source:
    Tsamardinos, Greasidou & Borboudakis, Bootstrapping the out-of-sample predictions for efficient
        and accurate cross-validation. Machine Learning 107 (2018): BBC-CV.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AT_ONCE = 64
"""Rounds that are one product of matrices."""


class BestOf(NamedTuple):
    """The best of T configurations, and what the choice of it is worth."""

    value: float
    """The mean of the best configuration over all items: the figure that flatters."""
    corrected: float
    """The mean, over rounds, of what was chosen on the items that had no part in the choice."""
    low: float
    high: float
    """The percentile interval over rounds. Out of the bag are some 37% of the items, so that it is
    mostly wider than it need be."""
    trials: int
    """T."""
    items: int
    """n."""


def best_of(
    correct: NDArray[np.bool_] | Floats,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
    rounds: int = 1000,
    confidence: float = 0.95,
) -> BestOf | None:
    """The best of T configurations, corrected for having been chosen.

    In each round the choice sees only the two thirds or so of the items that were drawn, and is a
    little worse than the true one where configurations differ: the correction errs on the cautious
    side. It knows of no other choice, such as that of the epoch by the same items.

    Memory is that of T · n numbers of 4 bytes.

    Args:
        correct: (T, n) whether each configuration was right about each item, or any number whose
            mean over items is the objective and of which more is better: the share of executions
            that were right, the negative loss.
        groups: (n,) what belongs together and is drawn whole; None where each item stands alone.
        seed: of the rounds.
        rounds: how often items are drawn.
        confidence: the coverage of the interval.

    Returns:
        The figures; None without a configuration, or with fewer than two independent items, of
        which none can be left out.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if correct.ndim != 2 or (groups is not None and len(groups) != correct.shape[1]):
        shapes = f"{correct.shape} and {None if groups is None else len(groups)}"
        raise ValueError(f"correct must be (T, n) with n codes of groups, got {shapes}")
    trials, items = correct.shape
    totals, sizes = _grouped(correct, groups)
    units = len(sizes)
    if not trials or units < 2:
        return None
    random = np.random.default_rng(seed)
    outside = np.concatenate(
        [
            _rounds(totals, sizes, random, min(AT_ONCE, rounds - start))
            for start in range(0, rounds, AT_ONCE)
        ]
    )
    if not len(outside):
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(outside, [tail, 100 - tail])
    best = float(totals.sum(axis=1, dtype=np.float64).max() / items)
    return BestOf(best, float(outside.mean()), float(low), float(high), trials, items)


def _grouped(
    correct: NDArray[Any], groups: NDArray[Any] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sums over the items of each of G groups, (T, G), and the groups' sizes, (G,)."""
    trials, items = correct.shape
    if groups is None:
        return correct.astype(np.float32), np.ones(items, np.float32)
    names, codes = np.unique(groups, return_inverse=True)
    totals = np.empty((trials, len(names)), np.float32)
    for place, row in enumerate(correct):
        totals[place] = np.bincount(codes, weights=row, minlength=len(names))
    return totals, np.bincount(codes, minlength=len(names)).astype(np.float32)


def _rounds(
    totals: NDArray[np.float32],
    sizes: NDArray[np.float32],
    random: np.random.Generator,
    count: int,
) -> Floats:
    """So many rounds; those in which every group was drawn leave nothing to measure on."""
    units = len(sizes)
    drawn = np.stack(
        [np.bincount(random.integers(units, size=units), minlength=units) for _ in range(count)]
    ).astype(np.float32)
    # Within a round all configurations have the same items: sums choose as means would.
    chosen = np.argmax(totals @ drawn.T, axis=0)
    outside = drawn == 0
    n = np.where(outside, sizes, 0).sum(axis=1, dtype=np.float64)
    right = np.where(outside, totals[chosen], 0).sum(axis=1, dtype=np.float64)
    left = n > 0
    return np.asarray(right[left] / n[left], dtype=np.float64)
