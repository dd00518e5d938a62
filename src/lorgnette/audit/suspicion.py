"""From out-of-sample probabilities to the probability that a given label is wrong.

A network that was trained on labels of which some are wrong answers two questions at once: what the
picture shows, and how people err about such pictures. Suspicion takes them apart. With the true
class j, the given label g and the picture x,

    P(g | x) = sum_j P(j | x) · T(g | j, x)

where P(j | x) is the network's answer at a temperature, and T says that the label of an item of
class j is wrong with probability η_j(h) = (1 - 1/K) · sigmoid(b_j + c · h), 0 < c < 1, and what it
is then called. h is how hard the item is: the negative logit of the network's own confidence. So a
label may be wrong more often where the picture is hard, but never more often than by guessing. All
parameters maximise the likelihood of the given labels, and

    suspicion = P(true ≠ g | g, x)

by Bayes' rule. The forward model is that of Patrini et al. ("Making Deep Neural Networks Robust to
Label Noise: A Loss Correction Approach", CVPR 2017), with a T that depends on the item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 50_000
"""Items that the parameters are estimated from; random ones, if there are more."""
FLOOR = 0.1
"""What is kept of a probability below the smoothed one, so that the order stays."""
TINY = 1e-7
STEPS = 200
EXPECTED = -2.0
"""The logit of the rate, as a share of guessing, that is expected of labels that are neither easy
nor hard: 6% of two classes. What a network that has learnt nothing says would fit labels that are
all guessed as well as a network that knows nothing; this decides for the second.
"""
SHARPER = 0.001
"""Nats per item that it costs to take probabilities for surer than they say, by a factor of e in
their logarithm. Networks that have learnt wrong labels are less sure than they could be."""
FLATTER = 0.002
"""Nats per item that it costs to take them for less sure. Where many labels are wrong, networks
that contradict them are either right or too sure of themselves, and the given labels alone hardly
tell which; out-of-sample answers of several rounds are seldom too sure by a large factor.
"""

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]


@dataclass(frozen=True)
class NoiseModel:
    """How labels go wrong; fitted by `fit`.

    Attributes:
        sharpness: the exponent on probabilities (the inverse of a temperature).
        base: b_j, (K,).
        slope: c.
        confusion: what an item of class j is called when its label is wrong, (K, K), row j, with
            zeros on the diagonal and rows that sum to 1.
    """

    sharpness: float
    base: Floats
    slope: float
    confusion: Floats

    def posterior(self, probabilities: Floats, given: Codes) -> Floats:
        """P(true class | given label, item), (N, K).

        Args:
            probabilities: (N, K), out of sample.
            given: codes (N,), -1 for no label: then the network alone decides.
        """
        import torch

        with torch.no_grad():
            truth = _sharpened(torch.from_numpy(np.log(probabilities + TINY)), self.sharpness)
            rates = _rates(truth, torch.from_numpy(self.base), self.slope)
            known = torch.from_numpy(given >= 0)
            codes = torch.from_numpy(np.maximum(given, 0).astype(np.int64))
            likely = truth * _called(rates, torch.from_numpy(self.confusion), codes)
            likely = torch.where(known[:, None], likely, truth)
            return np.asarray(likely / likely.sum(dim=1, keepdim=True))


def unsmoothed(probabilities: Floats, smoothing: float) -> Floats:
    """Take the effect of label smoothing out of probabilities, (N, K).

    The best answer to targets (1 - s) · onehot + s / K is (1 - s) · p + s / K, which hides the
    difference between what is sure and what is very sure.
    """
    classes = probabilities.shape[1]
    if smoothing == 0:
        return probabilities
    lifted = np.maximum(probabilities - smoothing / classes, FLOOR * smoothing * probabilities)
    return np.asarray(lifted / lifted.sum(axis=1, keepdims=True))


def pooled(views: Sequence[Floats], weights: Sequence[float] | None = None) -> Floats:
    """The geometric mean of several probabilities of the same items, (N, K), as probabilities.

    Opinions that err independently add up as logarithms do; a single one that is very sure counts
    for more than in an arithmetic mean.
    """
    shares = np.full(len(views), 1 / len(views)) if weights is None else np.asarray(weights)
    total = np.zeros_like(views[0])
    for share, view in zip(shares, views, strict=True):
        total += share * np.log(view + TINY)
    total = np.exp(total - total.max(axis=1, keepdims=True))
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def fit(probabilities: Floats, given: Codes, seed: int = 0) -> NoiseModel:
    """The noise model under which the given labels are most likely.

    Weak priors keep what the data cannot tell near the plain case: no temperature, one rate for all
    classes, errors spread evenly.

    Args:
        probabilities: (N, K), out of sample, by networks trained on labels mended as well as may
            be: to those that learnt the wrong labels themselves, nothing seems wrong.
        given: codes (N,), none negative.
        seed: of the sample.
    """
    import torch

    rows = np.arange(len(given))
    if len(rows) > SAMPLE:
        rows = np.random.default_rng(seed).choice(rows, SAMPLE, replace=False)
    logs = torch.from_numpy(np.log(probabilities[rows] + TINY))
    codes = torch.from_numpy(given[rows].astype(np.int64))
    # Two valleys: noise that is even, and noise on hard items.
    found = [_descend(logs, codes, start) for start in (-2.0, 0.0)]
    return min(found, key=lambda each: each[0])[1]


def _descend(logs: Tensor, codes: Tensor, start: float) -> tuple[float, NoiseModel]:
    """The loss and the noise model at the end of a descent; infinite where it diverged."""
    import torch

    classes = logs.shape[1]
    diagonal = torch.eye(classes, dtype=torch.bool)

    def free_at(value: float, *shape: int) -> Tensor:
        return torch.full(shape, value, dtype=torch.float64, requires_grad=True)

    sharpness, shared, slope = free_at(0.0), free_at(start), free_at(-1.0)
    own, free = free_at(0.0, classes), free_at(0.0, classes, classes)
    optimizer: Any = torch.optim.LBFGS(
        [sharpness, shared, own, slope, free], max_iter=STEPS, line_search_fn="strong_wolfe"
    )

    def confusion() -> Tensor:
        return torch.softmax(free.masked_fill(diagonal, -torch.inf), dim=1)

    def loss() -> Tensor:
        truth = _sharpened(logs, sharpness.exp())
        rates = _rates(truth, shared + own, slope.sigmoid())
        likely = (truth * _called(rates, confusion(), codes)).sum(dim=1)
        tied = SHARPER * sharpness.clamp(min=0) ** 2 + FLATTER * sharpness.clamp(max=0) ** 2
        prior = (
            len(codes) * tied
            + sharpness**2 / (2 * 1.5**2)
            + slope**2 / (2 * 1.5**2)
            + (shared - EXPECTED) ** 2 / 2
        )
        prior = prior + own.square().sum() / (2 * 0.3**2) + free.square().sum() / 2
        value: Tensor = prior / len(codes) - (likely + TINY).log().mean()
        return value

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Any = loss()
        value.backward()
        result: Tensor = value
        return result

    optimizer.step(closure)
    with torch.no_grad():
        value = float(loss())
        model = NoiseModel(
            sharpness=float(sharpness.exp()),
            base=(shared + own).numpy().copy(),
            slope=float(slope.sigmoid()),
            confusion=confusion().numpy().copy(),
        )
    return (value if np.isfinite(value) else np.inf), model


def _sharpened(logs: Tensor, sharpness: Tensor | float) -> Tensor:
    """P(j | x), (N, K)."""
    import torch

    return torch.softmax(sharpness * logs, dim=1)


def _rates(truth: Tensor, base: Tensor, slope: Tensor | float) -> Tensor:
    """η_j(h) of each item and class, (N, K)."""
    import torch

    classes = truth.shape[1]
    sure = truth.max(dim=1, keepdim=True).values.clamp(max=1 - TINY)
    hard = torch.log1p(-sure) - torch.log(sure)
    return (1 - 1 / classes) * torch.sigmoid(base + slope * hard)


def _called(rates: Tensor, confusion: Tensor, codes: Tensor) -> Tensor:
    """T(g | j, x) for the given label g of each item, (N, K)."""
    import torch
    import torch.nn.functional as F

    right = F.one_hot(codes, rates.shape[1]).to(torch.bool)
    return torch.where(right, 1 - rates, rates * confusion.T[codes])
