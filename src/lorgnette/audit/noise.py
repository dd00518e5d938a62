"""How much of the labels is wrong: in all, by class, and by pair of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.audit.suspicion import NoiseModel, fit
from lorgnette.evaluation.intervals import wilson, z_score

RESAMPLES = 12
RESAMPLED = 10_000
"""Bootstrap refits of the noise model, and items in each at most."""
METHOD = (
    "The sum of the suspicions. Low: a bootstrap of the noise model, and the spread of a sum of "
    "coins. High: the Wilson bound of the share of labels that the networks contradict, since "
    "errors that networks share with the labels cannot be seen."
)

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]


def estimate(
    opinion: Floats,
    posterior: Floats,
    given: Codes,
    classes: tuple[str, ...],
    seed: int,
    confidence: float,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """The section `noise` of `audit.json`.

    Args:
        opinion: P(class | item), (N, K), of labelled items.
        posterior: P(true class | given label, item), (N, K).
        given: codes (N,), none negative.
        classes: the K names.
        seed: of the bootstrap.
        confidence: the coverage of intervals.
        groups: (N,), resampled whole; None if every item is by itself.
    """
    n, k = posterior.shape
    wrong = 1 - posterior[np.arange(n), given]
    against = opinion.argmax(axis=1) != given
    spread = _refits(opinion, given, seed, groups)
    joint = np.zeros((k, k))
    np.add.at(joint, given, posterior)
    return {
        "rate": _rate(wrong, against, spread, confidence),
        "method": METHOD,
        "joint": np.round(joint, 3).tolist(),
        "by_class": [
            {
                "class": name,
                "n": int((own := given == code).sum()),
                "rate": _rate(wrong[own], against[own], spread, confidence),
            }
            for code, name in enumerate(classes)
        ],
        "cleanlab": {"rate": confident_learning(opinion, given)[0]},
    }


def confident_learning(probabilities: Floats, given: Codes) -> tuple[float, Floats]:
    """The noise rate and the joint of given and true labels, (K, K), by confident learning.

    Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
    JAIR 70 (2021), as cleanlab has it.
    """
    from cleanlab.count import compute_confident_joint

    joint = compute_confident_joint(given, probabilities, calibrate=True).astype(np.float64)
    joint /= joint.sum()
    return float(1 - np.trace(joint)), joint


def from_confident_joint(probabilities: Floats, given: Codes) -> tuple[Floats, NoiseModel]:
    """Opinions about the truth, and a noise model, from networks that learnt the given labels.

    Such networks tell P(given | item). With T(g | j) of the confident joint, P(given | item) is
    P(true | item) · T, which is solved for P(true | item).

    Args:
        probabilities: (N, K), out of sample.
        given: codes (N,), -1 for none.
    """
    known = given >= 0
    joint = confident_learning(probabilities[known], given[known])[1]
    k = len(joint)
    transition = joint.T / np.maximum(joint.sum(axis=0)[:, None], 1e-12)  # row: true, column: given
    transition = 0.999 * transition + 0.001 / k
    truth = np.clip(probabilities @ np.linalg.pinv(transition), 1e-4, None)
    truth /= truth.sum(axis=1, keepdims=True)
    rates = np.clip((1 - np.diag(transition)) / (1 - 1 / k), 1e-4, 1 - 1e-4)
    off = transition * (1 - np.eye(k))
    model = NoiseModel(
        sharpness=1.0,
        base=np.log(rates / (1 - rates)),
        slope=0.0,
        confusion=off / off.sum(axis=1, keepdims=True),
    )
    return truth, model


def _refits(opinion: Floats, given: Codes, seed: int, groups: NDArray[np.int64] | None) -> float:
    """The standard error of the rate, relative to the rate, from refits to resampled items."""
    rng = np.random.default_rng([seed, 11])
    n = len(given)
    members = None if groups is None else _members(groups, rng)
    rates = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, n, min(n, RESAMPLED)) if members is None else _drawn(members, rng)
        if len(rows) < 2:
            return 1.0
        posterior = fit(opinion[rows], given[rows]).posterior(opinion[rows], given[rows])
        rates.append(1 - posterior[np.arange(len(rows)), given[rows]].mean())
    scale = np.sqrt(min(1.0, RESAMPLED / n))  # a subsample varies more than all do
    return float(np.std(rates, ddof=1) / max(np.mean(rates), 1e-9) * scale)


def _members(groups: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The places of the items of each group, in random order."""
    shuffled = rng.permutation(len(groups))
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _drawn(members: list[NDArray[np.int64]], rng: np.random.Generator) -> NDArray[np.int64]:
    """Groups drawn with replacement, until there are as many as there were or items enough.

    They come in the order of the draws: a dataset is often sorted by class, and its first items
    are no sample of it.
    """
    drawn = rng.integers(0, len(members), len(members))
    sizes = np.array([len(each) for each in members])
    reached = int(np.searchsorted(np.cumsum(sizes[drawn]), RESAMPLED)) + 1
    return np.concatenate([members[number] for number in drawn[:reached]])[:RESAMPLED]


def _rate(
    wrong: Floats, against: NDArray[np.bool_], spread: float, confidence: float
) -> dict[str, float | None]:
    n = len(wrong)
    if not n:
        return {"value": None, "low": None, "high": None}
    value = float(wrong.mean())
    coins = float((wrong * (1 - wrong)).sum()) / n**2
    error = float(np.sqrt(coins + (spread * value) ** 2))
    low = max(value - z_score(confidence) * error, 0.0)
    high = max(wilson(float(against.mean()), n, confidence)[1], value)
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6)}
