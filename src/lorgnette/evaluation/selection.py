"""Which models go into an ensemble, and how often: by their validation predictions alone.

Greedy selection after Caruana, Niculescu-Mizil, Crew & Ksikes, "Ensemble Selection from Libraries
of Models", ICML 2004: forward, with replacement, and of all steps the best one is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorgnette.errors import ConfigError
from lorgnette.evaluation.metrics import CLIP
from lorgnette.models.ensemble import Combine, ballots, settle

Select = Literal["all", "best", "greedy"]

STEPS = 50
"""Of greedy selection, at most; a model may be taken several times."""
WORTH = 1e-4
"""What a longer choice of the same accuracy must save of the loss."""


class Score(NamedTuple):
    """How good some answers are; the better one is the greater."""

    accuracy: float
    """The share of right answers."""
    gain: float
    """The loss with its sign turned, which decides where accuracies are equal."""

    @property
    def loss(self) -> float:
        """The mean negative log-likelihood."""
        return -self.gain


@dataclass(frozen=True)
class Step:
    """A step of a choice that is made one by one.

    Attributes:
        place: of the model that was tried.
        score: of the ensemble with it.
        counts: whether it stayed.
    """

    place: int
    score: Score
    counts: bool


@dataclass(frozen=True)
class Choice:
    """What goes into an ensemble.

    Attributes:
        weights: how often each model counts, (M,), 0 for those that are left out.
        path: how it was chosen, where that was done one by one.
    """

    weights: tuple[int, ...]
    path: tuple[Step, ...] = ()

    def dump(self) -> dict[str, Any]:
        """As plain data for JSON."""
        path = [[step.place, *step.score, step.counts] for step in self.path]
        return {"weights": list(self.weights), "path": path}

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Choice:
        """What `dump` gave."""
        path = (
            Step(place, Score(accuracy, gain), counts)
            for place, accuracy, gain, counts in data["path"]
        )
        return cls(tuple(data["weights"]), tuple(path))


def score(probabilities: Tensor, labels: Tensor) -> Score:
    """Accuracy and loss of probabilities (N, K) against labels (N,)."""
    right = (probabilities.argmax(dim=1) == labels).double().mean()
    own = probabilities.gather(1, labels[:, None]).double()
    return Score(float(right), float(own.clamp(CLIP, 1 - CLIP).log().mean()))


def rank(scores: Sequence[Score]) -> list[int]:
    """Places by falling score; of equals the first comes first."""
    return sorted(range(len(scores)), key=lambda place: (scores[place], -place), reverse=True)


def choose(
    answers: NDArray[np.float32],
    labels: NDArray[np.int32],
    how: Combine,
    select: Select,
    *,
    above: float | None = None,
    best: int = 10,
) -> Choice:
    """Choose models by their answers on validation.

    Args:
        answers: probabilities of M models for N labelled items, (M, N, K).
        labels: (N,) codes.
        how: what the ensemble will do with the answers of its members.
        select: `all`; the `best` so many by accuracy; or `greedy`.
        above: only models with a higher accuracy than this.
        best: how many, where the best are taken; fewer if there are not as many.

    Raises:
        ConfigError: no model is above the threshold.
    """
    p, y = torch.from_numpy(answers), torch.from_numpy(labels.astype(np.int64))
    scores = [score(each, y) for each in p]
    order = passing(scores, above)
    if select == "best":
        order = order[:best]
    if select == "greedy":
        return greedy(p, y, how, order)
    weights = np.zeros(len(p), np.int64)
    weights[order] = 1
    return Choice(tuple(weights.tolist()))


def passing(scores: Sequence[Score], above: float | None) -> list[int]:
    """The places of models with an accuracy above a threshold, the best first.

    Raises:
        ConfigError: there is none.
    """
    order = [place for place in rank(scores) if above is None or scores[place].accuracy > above]
    if not order:
        raise ConfigError(
            f"Only models with a validation accuracy above {above:g} were asked for, and the best "
            f"of {len(scores)} has {max(scores).accuracy:.4f}: give a lower --above."
        )
    return order


def greedy(p: Tensor, y: Tensor, how: Combine, pool: Sequence[int]) -> Choice:
    """Take models one by one, each time the one with which the ensemble is best on validation.

    Args:
        p: probabilities (M, N, K).
        y: labels (N,).
        how: see `choose`.
        pool: places of the models that may be taken, the best first; of equals the first is taken.
    """
    sums, votes = torch.zeros_like(p[0]), torch.zeros_like(p[0])
    path: list[tuple[int, Score]] = []
    while len(path) < (STEPS if len(pool) > 1 else 1):
        found = [_joined(sums, votes, p[place], len(path) + 1, how, y) for place in pool]
        first = rank(found)[0]
        taken = pool[first]
        sums, votes = sums + p[taken], votes + ballots(p[taken])
        path.append((taken, found[first]))
    length = 1
    for count, (_, reached) in enumerate(path, 1):
        before = path[length - 1][1]
        if reached.accuracy > before.accuracy or (
            reached.accuracy == before.accuracy and reached.gain > before.gain + WORTH
        ):
            length = count
    weights = np.bincount([place for place, _ in path[:length]], minlength=len(p))
    steps = (Step(place, reached, n < length) for n, (place, reached) in enumerate(path))
    return Choice(tuple(weights.tolist()), tuple(steps))


def _joined(sums: Tensor, votes: Tensor, one: Tensor, count: int, how: Combine, y: Tensor) -> Score:
    """The score of `count` models with these sums, (N, K), of which `one` is not in them yet."""
    mean = (sums + one) / count
    return score(mean if how == "average" else settle(votes + ballots(one), mean), y)
