"""Rounds of looking: each trains on labels that the last one has mended.

The first round learns the labels as they are given, and where these err together the network errs
with them. Every later round leaves out the labels that are probably wrong and turns those that are
surely wrong into what they should be. What all rounds and views think, pooled, is the evidence; a
noise model (`suspicion`) makes of it the probability that each label is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lorgnette.audit import sample, vectors
from lorgnette.audit.suspicion import NoiseModel, fit, pooled, unsmoothed
from lorgnette.config import Config
from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Engine
from lorgnette.progress import progress
from lorgnette.storage import Storage

SURE = 0.9
"""From this probability on a later round learns another label than the given one; below it the
item is left out."""

OPEN = -2
"""In place of a label: nobody has decided about it."""

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]


@dataclass
class Evidence:
    """What the rounds found.

    Attributes:
        opinion: P(class | item) of all rounds and views together, out of sample, (N, K).
        posterior: P(true class | given label, item), (N, K); of what persons have settled it is
            known.
        believed: the same before their word, which is held against it.
        model: how labels go wrong.
        rounds: for the record, one entry a round (see `audit.json`).
        weights: how much each view counts, the pixels first.
    """

    opinion: Floats
    posterior: Floats
    believed: Floats
    model: NoiseModel
    rounds: list[dict[str, float | int]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


def look(
    dataset: Dataset,
    config: Config,
    given: Codes,
    pool: NDArray[np.bool_],
    out: Storage,
    engine: Engine,
    *,
    network: bool = True,
    views: Sequence[Floats] = (),
    settled: Codes | None = None,
) -> Evidence:
    """Judge every label by networks that have not seen it, in rounds.

    Args:
        dataset: the items.
        config: the network and its training; `audit` says how many rounds, folds and divisions.
        given: the labels in question, codes (N,), -1 for none.
        pool: bool (N,), the items whose labels may be learnt; the others are judged only.
        out: the audit's directory.
        engine: where networks are trained.
        network: train the network of the configuration; otherwise a regression on the vectors.
        views: vectors of the same items, (N, F) each, that give further opinions.
        settled: what persons have decided, codes (N,), -1 for items that they took out, and `OPEN`
            where nobody did: every round learns this and no other label.

    Returns:
        The evidence; the suspicion of item i is `1 - posterior[i, given[i]]`.
    """
    settings = config.audit
    found: list[Floats] = []
    rounds: list[dict[str, float | int]] = []
    labelled = given >= 0
    fixed = pool & (settled != OPEN) if settled is not None else np.zeros(len(given), bool)
    labels = np.where(pool, given, -1).astype(np.int32)
    if settled is not None:
        labels[fixed] = settled[fixed]
    total = settings.rounds * settings.folds * settings.divisions if network else settings.rounds
    with progress("Judging labels", total, "networks" if network else "rounds") as meter:
        for number in range(settings.rounds):
            start = time.perf_counter()
            plan = sample.Round(number, settings.folds, settings.divisions, pool, labels)
            opinions = []
            if network:
                judged = sample.judge(dataset, config, out, plan, engine, meter)
                opinions.append(unsmoothed(judged, config.train.label_smoothing))
            else:
                meter.advance(1)
            opinions += [vectors.judge(dataset, view, plan, config.seed) for view in views]
            weights = vectors.weigh(opinions, given, pool)
            opinion = pooled(opinions, weights)
            found.append(opinion)
            evidence = pooled(found, growing(len(found)))
            before, labels = labels, mended(evidence, given, pool & ~fixed)
            labels[fixed] = before[fixed]
            rounds.append(
                {
                    "round": number,
                    "folds": settings.folds,
                    "seeds": settings.divisions,
                    "seconds": round(time.perf_counter() - start, 3),
                    "agreement": float((opinion.argmax(1) == given)[labelled].mean()),
                    "changed": int((before != labels).sum()),
                }
            )
    model = fit(evidence[pool & labelled], given[pool & labelled], config.seed)
    believed = model.posterior(evidence, given)
    return Evidence(evidence, told(believed, settled), believed, model, rounds, weights)


def told(believed: Floats, settled: Codes | None) -> Floats:
    """The posterior, (N, K), where what persons have settled is known."""
    posterior = believed.copy()
    if settled is not None:
        known = np.flatnonzero(settled >= 0)
        posterior[known] = np.eye(posterior.shape[1])[settled[known]]
    return posterior


def growing(count: int) -> list[float]:
    """How much each round counts, (count,): the n-th n times as much as the first.

    Later rounds have learnt better labels, but all of them descend from the first one's errors.
    """
    total = count * (count + 1) / 2
    return [number / total for number in range(1, count + 1)]


def mended(opinion: Floats, given: Codes, pool: NDArray[np.bool_]) -> Codes:
    """What the next round learns, (N,), -1 for what is left out.

    The opinions themselves decide, without a noise model: to networks that have learnt the wrong
    labels too, these seem likely, and a noise model finds nothing.

    A class that would vanish keeps its given labels: what is rare or hard to tell apart is never
    the likeliest class, and a round that has not learnt it could find nothing of it either.
    """
    learnt = pool & (given >= 0)
    trust = opinion[np.arange(len(given)), np.maximum(given, 0)]
    labels = given.copy()
    labels[trust < 0.5] = -1
    sure = opinion.max(axis=1) >= SURE
    labels[sure] = opinion.argmax(axis=1)[sure]
    labels[~learnt] = -1
    for code in np.setdiff1d(given[learnt], labels[learnt]):
        labels[learnt & (given == code)] = code
    return labels
