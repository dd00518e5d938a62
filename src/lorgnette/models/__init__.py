"""Model families: a name and a builder each. A network takes images and returns logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lorgnette.config import CnnConfig, ResnetConfig
from lorgnette.models import cnn, resnet
from lorgnette.models.layers import PenalisedConv2d, PenalisedLinear

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape = tuple[int, int, int]
"""Channels, height, width of the input: (C, H, W)."""

FAMILIES: dict[str, Callable[[Any, Shape, int], nn.Module]] = {
    "cnn": cnn.build,
    "resnet": resnet.build,
}


def build(config: CnnConfig | ResnetConfig, input_shape: Shape, num_classes: int) -> nn.Module:
    """The network of a configuration, with fresh weights from torch's global generator.

    Args:
        config: the family and its settings.
        input_shape: (C, H, W).
        num_classes: two or more.

    Returns:
        A module from float (N, C, H, W) to logits (N, 1) for a sigmoid output, else (N, K).

    Raises:
        ConfigError: the network is impossible for this input, or its output for these classes.
    """
    return FAMILIES[config.family](config, input_shape, num_classes)


def count_parameters(network: nn.Module) -> int:
    """The number of trained values."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def penalty(network: nn.Module) -> Tensor | None:
    """The l1 and l2 terms of the loss, summed over layers; None where there are none.

    As in the framework of the published experiments, `l1 * sum(|w|) + l2 * sum(w**2)`: sums, not
    means, and no factor of one half.
    """
    total: Tensor | None = None
    for module in network.modules():
        if isinstance(module, PenalisedConv2d | PenalisedLinear):
            for factor, power in ((module.l1, 1), (module.l2, 2)):
                if factor:
                    term = factor * module.weight.abs().pow(power).sum()
                    total = term if total is None else total + term
    return total
