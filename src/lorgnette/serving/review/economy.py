"""The cost of review against the noise that is left.

The audit says of every label with what probability s it is wrong. Reviewers' own decisions say
whether that is so, and correct it for the labels that nobody has looked at yet:

    logit p_i = a + b logit s_i,   a ~ N(0, 0.3^2),  b ~ N(1, 0.15^2)

is fitted to the given labels that persons have judged (Platt's calibration, with a prior at "the
audit is right" so that a few decisions do not overturn it). The noise that is left is the sum of p
over all labels that no person settled. Its interval holds the uncertainty of a and b (draws from
Laplace's approximation of their posterior) and that of the labels themselves (the variance of a
sum of independent Bernoulli variables). What persons decided is taken to be right.

A label that a rule has changed counts with the probability that the new one is wrong. Without an
audit all s are one half, a is nearly free and p the share of wrong labels among the judged ones:
items then come at random, and those are a random sample.

Source: Platt, Probabilistic outputs for support vector machines and comparisons to regularized
likelihood methods. Advances in Large Margin Classifiers (1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from lorgnette.dataset.history import ACTIONS, BY, Fold
from lorgnette.serving.review.findings import Findings

PRIOR = (0.3, 0.15)
"""Deviations of a and b: how far the audit's word is trusted."""
FREE = 2.5
"""The deviation of a without an audit."""
SMALLEST = 1e-6
"""Suspicions are held between this and one less this."""
CELLS = 256
"""Of the histogram of logits over which draws are summed."""
DRAWS = 400
COVERAGE = 0.95
AHEAD = 100
"""How many decisions ahead the page looks."""
FEWEST = 20
"""So many judged labels are needed to say anything without an audit."""
POINTS = 80
"""Of the curve."""

PERSON, RULE, IMPORT = (BY.index(name) for name in ("person", "rule", "import"))
JUDGED = tuple(ACTIONS.index(name) for name in ("relabel", "confirm"))

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Amount:
    """An expected number with the limits of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Economy:
    """What is left, and what it would cost to find it.

    Attributes:
        labelled: items with a label in force.
        left: wrong labels among them.
        ahead: wrong labels that the next decisions will find.
        decisions: how many decisions these are: 100, or what is left.
        curve: (decisions from now, expected share of wrong labels after them).
        to_target: decisions until the share is at the target; None where no number is enough.
        to_quiet: decisions until the next 100 are expected to find less than one.
        judged: labels that a person has kept or changed, out of which the estimate is corrected.
        wrong: how many of these were wrong.
        expected: how many the audit expected to be.
        known: False where nothing can be said yet (no audit, and too few decisions).
    """

    labelled: int
    left: Amount
    ahead: Amount
    decisions: int
    curve: tuple[tuple[int, float], ...]
    to_target: int | None
    to_quiet: int
    judged: int
    wrong: int
    expected: float
    known: bool

    def share(self, count: float) -> float:
        """A count as a share of all labels."""
        return count / max(self.labelled, 1)


def settled(fold: Fold) -> Mask:
    """Which items a person (or what a person imported) has settled, (N,)."""
    by_hand: Mask = (fold.by == PERSON) | (fold.by == IMPORT)
    return by_hand


def estimate(
    findings: Findings, fold: Fold, order: NDArray[np.int64], target: float, seed: int = 0
) -> Economy:
    """Put a number to the noise that is left and to what looking further will find.

    Args:
        findings: of the audit.
        fold: what stands.
        order: the items in the order in which they will be reviewed, (N,); settled ones are passed
            over.
        target: the share of wrong labels that is good enough.
        seed: of the draws, so that the same decisions give the same figures.
    """
    labelled = findings.given >= 0
    judged, wrong = _observed(findings, fold)
    said = findings.suspicion
    if findings.believed is not None:
        # To an audit that began after a verdict the verdict is known: it would confirm itself.
        said = np.where(judged, findings.believed, said)
    suspicion = np.nan_to_num(said.astype(float)) if findings.audited else 0.5
    suspicion = np.where(labelled, np.clip(suspicion, SMALLEST, 1 - SMALLEST), 0.5)
    truth = _Calibration(logit(suspicion), judged, wrong, findings.audited, seed)
    is_open = ~settled(fold) & (fold.labels >= 0)
    stays = is_open & (fold.labels == findings.given)
    changed = is_open & ~stays & labelled
    added = is_open & ~labelled
    # P(the new label is right) = P(the given one is wrong) * P(the new one | the given is wrong)
    confidence = np.nan_to_num(findings.confidence.astype(float))
    sure = np.minimum(1.0, confidence / suspicion)
    risk = np.zeros(len(findings))
    risk[stays] = truth.probability[stays]
    risk[changed] = 1.0 - (truth.probability * sure)[changed]
    risk[added] = 1.0 - confidence[added]

    def amount(chosen: Mask) -> Amount:
        weights = np.where(stays, 1.0, np.where(changed, -sure, 0.0))[chosen]
        fixed = float((changed & chosen).sum() + risk[added & chosen].sum())
        return truth.interval(chosen, weights, fixed, risk[chosen])

    queue = order[~settled(fold)[order]]
    risks = risk[queue]
    found = np.concatenate([[0.0], np.cumsum(risks)])
    total = float(found[-1])
    first = np.zeros(len(findings), bool)
    first[queue[:AHEAD]] = True
    in_force = int((fold.labels >= 0).sum())
    rest = (total - found) / max(in_force, 1)
    reached = np.flatnonzero(rest <= target)
    ahead = found[np.minimum(np.arange(len(found)) + AHEAD, len(found) - 1)] - found
    to_quiet = int(np.argmax(ahead < 1.0))
    to_target = int(reached[0]) if len(reached) else None
    expected = float(suspicion[judged].sum()) if findings.audited else float(wrong.sum())
    return Economy(
        labelled=in_force,
        left=amount(is_open),
        ahead=amount(is_open & first),
        decisions=min(AHEAD, len(queue)),
        curve=_curve(rest, to_target or 0, to_quiet),
        to_target=to_target,
        to_quiet=to_quiet,
        judged=int(judged.sum()),
        wrong=int(wrong.sum()),
        expected=expected,
        known=findings.audited or int(judged.sum()) >= FEWEST,
    )


def _observed(findings: Findings, fold: Fold) -> tuple[Mask, Mask]:
    """Which given labels a person has judged, and which of these were wrong; bool (N,)."""
    judged = (fold.by == PERSON) & np.isin(fold.actions, JUDGED) & (findings.given >= 0)
    return judged, judged & (fold.labels != findings.given)


class _Calibration:
    """What suspicions mean, as reviewers see it: the best guess, and draws of what it may be.

    Attributes:
        probability: of each given label to be wrong, (N,).
    """

    def __init__(self, x: Doubles, judged: Mask, wrong: Mask, audited: bool, seed: int) -> None:
        """Fit a and b.

        Args:
            x: logits of the suspicions, (N,).
            judged: whether a person has judged a label, (N,).
            wrong: whether it was wrong, (N,).
            audited: whether the suspicions say anything.
            seed: of the draws.
        """
        deviations = np.array(PRIOR if audited else (FREE, PRIOR[1]))
        mean, hessian = _fit(x[judged], wrong[judged].astype(float), deviations**-2)
        self.probability: Doubles = expit(mean[0] + mean[1] * x)
        self.rng = np.random.default_rng(seed)
        spread = np.linalg.cholesky(np.linalg.inv(hessian))
        draws = mean + self.rng.standard_normal((DRAWS, 2)) @ spread.T
        low, high = float(x.min(initial=0)), float(x.max(initial=0)) + 1e-9
        step = (high - low) / CELLS
        self.cell = np.minimum(((x - low) / step).astype(np.int64), CELLS - 1)
        middle = low + (np.arange(CELLS) + 0.5) * step
        self.drawn: Doubles = expit(draws[:, :1] + draws[:, 1:] * middle)

    def interval(self, chosen: Mask, weights: Doubles, fixed: float, risks: Doubles) -> Amount:
        """A number of wrong labels.

        Args:
            chosen: among which items, (N,).
            weights: by which the probability of each chosen one's given label counts, (n,).
            fixed: what does not depend on it.
            risks: the best guess for each, (n,).
        """
        value = float(risks.sum())
        spread = float(np.sqrt((risks * (1 - risks)).sum()))
        sums = np.bincount(self.cell[chosen], weights, CELLS)
        drawn = fixed + self.drawn @ sums + spread * self.rng.standard_normal(DRAWS)
        tail = (1 - COVERAGE) / 2
        low, high = np.quantile(np.clip(drawn, 0, len(risks)), [tail, 1 - tail])
        return Amount(value, min(float(low), value), max(float(high), value))


def _fit(x: Doubles, y: Doubles, precision: Doubles) -> tuple[Doubles, Doubles]:
    """The most probable (a, b) of the logistic regression of y on x, and the Hessian there.

    Newton's method on a concave function, with halved steps where a whole one leads down.
    """
    prior = np.array([0.0, 1.0])
    design = np.stack([np.ones_like(x), x], axis=1)

    def height(theta: Doubles) -> float:
        z = design @ theta
        likelihood = (y * z - np.logaddexp(0, z)).sum()
        return float(likelihood - 0.5 * (precision * (theta - prior) ** 2).sum())

    theta, step = prior.copy(), np.ones(2)
    for _ in range(50):
        p = expit(design @ theta)
        gradient = design.T @ (y - p) - precision * (theta - prior)
        hessian = (design.T * (p * (1 - p))) @ design + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        if np.abs(step).max() < 1e-9:
            break
        while height(theta + step) < height(theta) and np.abs(step).max() > 1e-9:
            step /= 2
        theta = theta + step
    return theta, hessian


def _curve(rest: Doubles, to_target: int, to_quiet: int) -> tuple[tuple[int, float], ...]:
    """Some points of the share that is left after each number of decisions, (D + 1,)."""
    end = min(len(rest) - 1, max(2 * AHEAD, int(1.25 * max(to_target, to_quiet))))
    points = np.unique(np.linspace(0, end, POINTS).round().astype(int))
    return tuple((int(point), float(rest[point])) for point in points)
