"""An ensemble: several trained networks that answer as one.

It takes items as they are prepared. Each member standardises them by its own training part, at its
own size, and gives probabilities; these are averaged, or each member has a vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorgnette.config import ModelConfig, Settings
from lorgnette.config.base import NotNegative, Positive
from lorgnette.errors import ConfigError
from lorgnette.models.inputs import standardise, to_probabilities
from lorgnette.models.layers import Shape

Combine = Literal["average", "vote"]

NOTHING = -200.0
"""The logarithm that stands for a probability of 0: finite, and 0 again as a float32."""
TIE = 0.01
"""Of a vote: what the winner of a tie is given on top."""


class MemberConfig(Settings):
    """A network in an ensemble, and what it does to items before it looks at them."""

    model: ModelConfig
    """The family and its settings."""
    size: NotNegative
    """The edge of the images that it takes, in pixels; 0 for vectors."""
    mean: tuple[float, ...]
    """Subtracted from each channel, in grey levels, or from each feature."""
    deviation: tuple[float, ...]
    """What each channel or feature is divided by then."""
    weight: Positive = 1
    """How often it counts."""


class EnsembleConfig(Settings):
    """Several networks that answer as one; it is made of trained members and never trained."""

    family: Literal["ensemble"] = "ensemble"
    """The name of the family."""
    combine: Combine = "average"
    """`average`: the mean of the members' probabilities. `vote`: the share of members that answer a
    class."""
    members: tuple[MemberConfig, ...]
    """The networks, in the order of their weights in `model.safetensors`."""


class Ensemble(nn.Module):
    """Members that answer as one.

    Attributes:
        members: M networks, each with logits (N, 1) or (N, K).
        config: how they are put together.
    """

    def __init__(self, config: EnsembleConfig, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(members)
        # Not among the weights: they stand in model.json.
        for place, member in enumerate(config.members):
            for name in ("mean", "deviation"):
                values = torch.tensor(getattr(member, name))
                self.register_buffer(f"{name}_{place}", values, persistent=False)
        weights = torch.tensor([member.weight for member in config.members])
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Log-probabilities, float32 (N, K).

        Args:
            inputs: as prepared, not standardised: float (N, C, H, W) from 0 to 255, or (N, F) with
                NaN for what a vector lacks.
        """
        weights: Tensor = self.get_buffer("weights")
        combined = combine(self.answers(inputs), weights, self.config.combine)
        return combined.log().clamp_min(NOTHING)

    def answers(self, inputs: Tensor) -> Tensor:
        """What each member thinks: float32 probabilities (M, N, K); see `forward`."""
        sizes: dict[int, Tensor] = {}
        found = []
        for place, (network, member) in enumerate(
            zip(self.members, self.config.members, strict=True)
        ):
            if member.size not in sizes:
                sizes[member.size] = resize(inputs, member.size)
            mean, deviation = (
                self.get_buffer(f"mean_{place}"),
                self.get_buffer(f"deviation_{place}"),
            )
            logits = network(standardise(sizes[member.size], mean, deviation))
            found.append(to_probabilities(logits))
        return torch.stack(found)


def build(config: EnsembleConfig, input_shape: Shape, num_classes: int) -> Ensemble:
    """See `lorgnette.models.build`; each member is built for its own size.

    Raises:
        ConfigError: there is no member, or one takes larger images than the ensemble.
    """
    from lorgnette.models import build as build_member

    if not config.members:
        raise ConfigError("An ensemble has one member or more, got none.")
    networks = []
    for member in config.members:
        shape = input_shape
        if len(input_shape) == 3:
            if not 0 < member.size <= input_shape[1]:
                raise ConfigError(
                    f"An ensemble takes images of the size of its largest member, got {member.size}"
                    f" pixels for a member and {input_shape[1]} for the ensemble."
                )
            shape = (input_shape[0], member.size, member.size)
        networks.append(build_member(member.model, shape, num_classes))
    return Ensemble(config, networks)


def resize(inputs: Tensor, size: int) -> Tensor:
    """Square images (N, C, S, S) at a smaller edge length, float (N, C, size, size).

    By areas where the edge becomes a whole fraction, else by antialiased bilinear interpolation.
    Vectors, and images that have the size, stay what they are.
    """
    edge = inputs.shape[-1]
    if inputs.ndim == 2 or edge == size:
        return inputs
    if edge % size == 0:
        return F.avg_pool2d(inputs, edge // size)
    return F.interpolate(inputs, size=(size, size), mode="bilinear", antialias=True)


def combine(answers: Tensor, weights: Tensor, how: Combine) -> Tensor:
    """The probabilities of several members as those of one.

    Args:
        answers: float (M, N, K) probabilities.
        weights: (M,) how often each member counts, whole numbers.
        how: see `EnsembleConfig.combine`.

    Returns:
        (N, K), rows summing to 1.
    """
    each = weights.to(answers.dtype)[:, None, None]
    mean = (answers * each).sum(dim=0) / weights.sum()
    if how == "average":
        return mean
    return settle((ballots(answers) * each).sum(dim=0), mean)


def ballots(answers: Tensor) -> Tensor:
    """A one for the answer of each row of probabilities (..., K), the first of equals; else 0."""
    return F.one_hot(answers.argmax(dim=-1), answers.shape[-1]).to(answers.dtype)


def settle(votes: Tensor, mean: Tensor) -> Tensor:
    """Votes as shares, ties decided.

    Of classes with equally many votes the one with the highest mean probability wins, of these the
    first; it is given a hundredth of a vote more, so that it is the answer.

    Args:
        votes: (N, K) votes for each class.
        mean: (N, K) the members' mean probabilities.

    Returns:
        (N, K), rows summing to 1.
    """
    leading = votes == votes.amax(dim=1, keepdim=True)
    tied = leading.sum(dim=1, keepdim=True) > 1
    winner = torch.where(leading, mean, -1.0).argmax(dim=1)
    votes = votes + TIE * tied * F.one_hot(winner, votes.shape[1])
    return votes / votes.sum(dim=1, keepdim=True)
