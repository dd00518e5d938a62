"""Wrong labels: which portraits are given the label they should not have.

Whether a label is wrong depends on the seed, the portrait's number and its vector alone: how many
portraits there are, their size and who draws them change nothing. A higher rate of the same kind
keeps the wrong labels of a lower one and adds to them.

The undecidable have no true label, so whatever they are given is neither right nor wrong: a coin
decides, at every rate, and they do not count towards the rate.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lorgnette.errors import ConfigError, nearest
from lorgnette.sources.portraits import plan
from lorgnette.sources.portraits.latent import BLOCK, vectors
from lorgnette.sources.portraits.wearing import Floats, Wearing, wearing

NoiseKind = plan.NoiseKind

LIMITS: dict[NoiseKind, float] = {"picture": 0.45, "symmetric": 0.5, "class": 0.25}
"""Rates stay below these: from there on most labels of a class, or of a kind of picture, would be
wrong, or no picture would be left whose label is worth more than a coin."""

GLASSES = 0.558
"""The share that truly wears glasses."""

GIVEN_GLASSES = 1.74 / 2.74
"""The share that the published labels say wears glasses, with 10% of them wrong."""

_CALLED_GLASSES = (1 + (GIVEN_GLASSES - GLASSES) / 0.1) / 2  # of the wrong labels: 88.5%

_STREAM = 1  # sets the coins apart from the vectors, which are drawn from (seed, block)
_SAMPLE_SEED, _SAMPLE = 1_000_003, 32 * BLOCK

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """How labels go wrong; plain data, made by `label_noise`.

    Attributes:
        kind: what the chance depends on.
        rate: the share of wrong labels among the decidable.
        faintness: `picture` only: where the chance is half of what it can be at most.
    """

    kind: NoiseKind
    rate: float
    faintness: float = 1.0

    def chance(self, truth: Wearing) -> Floats:
        """The probability that the label of each portrait is wrong; shape (n,), 0.5 at most.

        - `symmetric`: the rate, for all.
        - `class`: of those without glasses many are called with, of those with glasses few without,
          in the proportion that turns 55.8% into the published 1.74 to 1 at a rate of 0.1.
        - `picture`: f⁶ / (f⁶ + h⁶) / 2 with the faintness f, as one who looks errs: hardly ever
          where the picture is plain, and at worst guessing. h makes the mean the rate.

        Only operations that all machines round alike, so that all agree on every label.
        """
        if self.rate == 0:
            return np.zeros(len(truth.glasses))
        if self.kind == "class":
            with_glasses = self.rate * (1 - _CALLED_GLASSES) / GLASSES
            without = self.rate * _CALLED_GLASSES / (1 - GLASSES)
            return np.where(truth.glasses, with_glasses, without)
        if self.kind == "picture":
            return _guessing(truth.faintness, self.faintness)
        return np.full(len(truth.glasses), self.rate)

    def given(self, seed: int, start: int, truth: Wearing) -> Bools:
        """Whether the portraits from number `start` on are called glasses; shape (n,).

        Args:
            seed: of the portraits.
            start: the number of the first.
            truth: of the portraits, shape (n,).
        """
        coins = toss(seed, start, start + len(truth.glasses))
        return np.where(
            truth.undecidable, coins < 0.5, truth.glasses ^ (coins < self.chance(truth))
        )


def label_noise(rate: float, kind: NoiseKind) -> LabelNoise:
    """Noise with this share of wrong labels.

    Raises:
        ConfigError: there is no such kind, or the rate is out of its bounds.
    """
    if kind not in LIMITS:
        raise ConfigError(f"There is no kind of label noise '{kind}': {nearest(kind, LIMITS)}")
    if not 0 <= rate < LIMITS[kind]:
        raise ConfigError(
            f"The rate of label noise of kind '{kind}' must be at least 0 and below "
            f"{LIMITS[kind]:g}, got {rate:g}: from there on labels say nothing, or the opposite."
        )
    if kind == "picture" and rate > 0:
        return LabelNoise(kind, rate, _calibrate(rate))
    return LabelNoise(kind, rate)


def toss(seed: int, start: int, stop: int) -> Floats:
    """A number from [0, 1) for each portrait from `start` to `stop`; shape (stop - start,)."""
    parts = [np.empty(0)]
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first = block * BLOCK
        drawn = np.random.default_rng([seed, block, _STREAM]).random(BLOCK)
        parts.append(drawn[max(start - first, 0) : stop - first])
    return np.concatenate(parts)


def _guessing(faintness: Floats, half: float) -> Floats:
    """f⁶ / (f⁶ + h⁶) / 2; see `LabelNoise.chance`."""
    square, half_square = faintness * faintness, half * half
    power, half_power = square * square * square, half_square * half_square * half_square
    return 0.5 * power / (power + half_power)


@functools.cache
def _calibrate(rate: float) -> float:
    """The h of `LabelNoise.chance` for which the mean over a fixed sample is the rate.

    Rounded, so that machines that add up in another order come to the same.
    """
    blocks = [
        wearing(vectors(_SAMPLE_SEED, start, start + BLOCK)) for start in range(0, _SAMPLE, BLOCK)
    ]
    faintness = np.concatenate([block.faintness[~block.undecidable] for block in blocks])
    low, high = 1e-4, 64.0  # the mean falls from 0.5 to about 0 between them
    for _ in range(50):
        middle = (low + high) / 2
        if _guessing(faintness, middle).mean() > rate:
            low = middle
        else:
            high = middle
    return round(low, 6)
