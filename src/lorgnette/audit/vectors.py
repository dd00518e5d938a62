"""The view of vectors: what a regression on numbers thinks, for items that have them.

Where the same ids have pictures and vectors, both are judged and their opinions pooled; datasets of
vectors alone are judged by this view, unless a recipe is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.audit.sample import Round, division
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError
from lorgnette.training.statistics import feature_statistics

STRENGTHS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""Inverse penalties that are tried, per item of a standard feature."""
WEIGHTS = np.linspace(0.0, 1.5, 16)
"""Exponents that a further view is tried with."""
TINY = 1e-7

Floats = NDArray[np.float64]


def read(dataset: Dataset, like: Dataset) -> Floats:
    """The vectors of a dataset for the items of another, (N, F), standardised.

    Args:
        dataset: of vectors.
        like: the items; their ids must all be there.

    Raises:
        DatasetError: it holds no vectors, or lacks items.
    """
    if not dataset.is_vectors:
        raise DatasetError(
            f"A further view is a dataset of vectors, and {dataset.location} has images: prepare "
            "the table with --features."
        )
    mine = dataset.rows(["id"])["id"].combine_chunks()
    wanted = like.rows(["id"])["id"]
    places = pc.index_in(wanted, value_set=mine)
    if places.null_count:
        missing = wanted.filter(pc.is_null(places))[0].as_py()
        raise DatasetError(
            f"A further view has the same ids, and {dataset.location} lacks {places.null_count:,} "
            f"of {like.location}, '{missing}' for one: prepare both from the same source."
        )
    rows = np.asarray(pa.chunked_array(places).to_numpy(), np.int64)
    mean, deviation = feature_statistics(dataset, np.arange(len(dataset)))
    values = dataset.read(rows).astype(np.float64)
    values = np.where(np.isnan(values), np.asarray(mean), values)
    scale = np.where(np.asarray(deviation) > 0, np.asarray(deviation), 1.0)
    return np.asarray((values - np.asarray(mean)) / scale)


def judge(dataset: Dataset, vectors: Floats, plan: Round, seed: int) -> Floats:
    """What logistic regressions that have not seen an item think of it, (N, K).

    The penalty is the one under which the held-out labels of the first division are likeliest.
    """
    classes = len(dataset.info.classes)
    n = len(plan.labels)
    sums, times = np.zeros((n, classes)), np.zeros(n)
    strength: float | None = None
    for repeat in range(plan.divisions):
        fold = division(dataset, plan.pool, plan.folds, seed, plan.number, repeat)
        for number in range(plan.folds):
            learnt = np.flatnonzero((fold >= 0) & (fold != number) & (plan.labels >= 0))
            if strength is None:
                seen = np.flatnonzero((fold == number) & (plan.labels >= 0))
                strength = _strength(vectors, plan.labels, learnt, seen)
            unseen = np.flatnonzero((fold == number) | (fold < 0))
            sums[unseen] += _opinion(
                vectors, plan.labels, learnt, unseen, strength or STRENGTHS[0], classes
            )
            times[unseen] += 1
    found = sums / times[:, None]
    return np.asarray((found + TINY) / (found + TINY).sum(axis=1, keepdims=True))


def _opinion(
    vectors: Floats,
    labels: NDArray[np.int32],
    learnt: NDArray[np.int64],
    unseen: NDArray[np.int64],
    strength: float,
    classes: int,
) -> Floats:
    """What one regression thinks of what it has not seen, (n, K).

    Where decisions or small classes leave a single class to learn, there is nothing to fit: it is
    sure of that class, and of none where nothing is left.
    """
    from sklearn.linear_model import LogisticRegression

    found = np.zeros((len(unseen), classes))
    known = np.unique(labels[learnt])
    if not len(known):
        return found + 1 / classes
    if len(known) == 1:
        found[:, known] = 1.0
    elif len(unseen):
        model = LogisticRegression(C=strength, max_iter=300).fit(vectors[learnt], labels[learnt])
        found[:, model.classes_] = model.predict_proba(vectors[unseen])
    return found


def _strength(
    vectors: Floats, labels: NDArray[np.int32], learnt: NDArray[np.int64], seen: NDArray[np.int64]
) -> float | None:
    """The best of `STRENGTHS`; None where too little is left to compare them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    classes = np.unique(labels[learnt])
    known = seen[np.isin(labels[seen], classes)]
    if len(classes) < 2 or not len(known):
        return None
    losses = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300).fit(vectors[learnt], labels[learnt])
        losses[strength] = log_loss(
            labels[known], model.predict_proba(vectors[known]), labels=model.classes_
        )
    return min(losses, key=lambda each: losses[each])


def weigh(
    opinions: Sequence[Floats], given: NDArray[np.int32], pool: NDArray[np.bool_]
) -> list[float]:
    """Exponents of opinions about the same items, under which the given labels are likeliest.

    The first counts fully; each further one is added with the best of `WEIGHTS`.
    """
    rows = np.flatnonzero(pool & (given >= 0))
    total = np.log(opinions[0][rows] + TINY)
    weights = [1.0]
    for opinion in opinions[1:]:
        further = np.log(opinion[rows] + TINY)
        losses = [_loss(total + weight * further, given[rows]) for weight in WEIGHTS]
        weights.append(float(WEIGHTS[int(np.argmin(losses))]))
        total = total + weights[-1] * further
    return weights


def _loss(logs: Floats, given: NDArray[np.int32]) -> float:
    """The negative log-likelihood of labels, robust to wrong ones: a floor of 2% a class."""
    p = np.exp(logs - logs.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return float(-np.log(0.98 * p[np.arange(len(given)), given] + 0.02 / logs.shape[1]).mean())
