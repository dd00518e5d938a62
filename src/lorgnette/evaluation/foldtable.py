"""The figures of folds, summed up: mean, deviation, and an interval that knows what folds share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.evaluation.intervals import Interval, t_score

MEASURES = ("accuracy", "loss", "roc_auc")
PARTS = ("train", "validation", "test")
METHOD = (
    "corrected resampled t (Nadeau & Bengio 2003) over the folds of all repeats: "
    "mean ± t · sqrt((1 / J + n_test / n_learnt) · s²), J - 1 degrees of freedom"
)


def corrected_interval(
    values: NDArray[np.float64], ratio: float, confidence: float = 0.95
) -> Interval:
    """The interval of a mean over folds: `mean ± t_{J-1} sqrt((1 / J + ratio) s^2)`.

    Folds share most of what they learn from, so that their figures go together and `s^2 / J` would
    be far too small a variance. Nadeau & Bengio, "Inference for the Generalization Error", Machine
    Learning 52, 2003, correct it by `ratio = n_test / n_learnt`; Bouckaert & Frank, "Evaluating the
    Replicability of Significance Tests", 2004, use the same for repeated cross-validation.

    Args:
        values: (J,), one figure per fold, of all repeats; J is 2 or more.
        ratio: items that a fold is tested on, over items that it learns and chooses from.
        confidence: the coverage.
    """
    count = len(values)
    variance = (1 / count + ratio) * float(values.var(ddof=1))
    spread = t_score(confidence, count - 1) * variance**0.5
    return float(values.mean()) - spread, float(values.mean()) + spread


def summarise(folds: Sequence[dict[str, Any]], confidence: float) -> dict[str, Any]:
    """Mean and deviation of each measure over folds, and for the test part an interval.

    Training and validation items were used for learning and for choosing the epoch: their figures
    flatter, and an interval would say nothing about other items.

    Args:
        folds: J of them, each `{"train": {"accuracy": ..., "loss": ..., "roc_auc": ..., "n": ...},
            "validation": {...}, "test": {...}}`.
        confidence: the coverage.

    Returns:
        `{part: {measure: {"value", "deviation", "low", "high", "n"}}}`; n is the number of folds in
        which the measure is defined; low and high are None except for `test`.
    """
    found: dict[str, Any] = {}
    tested = sum(fold["test"]["n"] for fold in folds)
    learnt = sum(fold["train"]["n"] + fold["validation"]["n"] for fold in folds)
    for part in PARTS:
        found[part] = {}
        for measure in MEASURES:
            given = [fold[part][measure] for fold in folds if fold[part][measure] is not None]
            values = np.array(given, dtype=float)
            low = high = None
            if part == "test" and len(values) > 1:
                low, high = corrected_interval(values, tested / learnt, confidence)
                low = max(low, 0.0)
                high = high if measure == "loss" else min(high, 1.0)
            found[part][measure] = {
                "value": float(values.mean()) if len(values) else None,
                "deviation": float(values.std(ddof=1)) if len(values) > 1 else None,
                "low": low,
                "high": high,
                "n": len(values),
            }
    return found
