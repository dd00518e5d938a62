"""Model families: a name and a builder each. A network takes images or vectors, returns logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lorgnette.config import CnnConfig, MlpConfig, PerceptronConfig, ResnetConfig
from lorgnette.errors import ConfigError
from lorgnette.models import cnn, ensemble, mlp, perceptron, resnet
from lorgnette.models.ensemble import EnsembleConfig
from lorgnette.models.layers import PenalisedConv2d, PenalisedLinear, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "FAMILIES",
    "Shape",
    "build",
    "count_parameters",
    "penalised_layers",
    "penalty",
    "penalty_of",
]

FAMILIES: dict[str, Callable[[Any, Shape, int], nn.Module]] = {
    "cnn": cnn.build,
    "ensemble": ensemble.build,
    "mlp": mlp.build,
    "perceptron": perceptron.build,
    "resnet": resnet.build,
}

IMAGES_ONLY = ("cnn", "resnet")
"""The families that cannot read vectors."""


def build(
    config: CnnConfig | MlpConfig | PerceptronConfig | ResnetConfig | EnsembleConfig,
    input_shape: Shape,
    num_classes: int,
) -> nn.Module:
    """The network of a configuration, with fresh weights from torch's global generator.

    Args:
        config: the family and its settings.
        input_shape: (C, H, W) for images, (F,) for vectors.
        num_classes: two or more.

    Returns:
        A module from float (N, C, H, W) or (N, F) to logits (N, 1) for a sigmoid output, else
        (N, K). An ensemble standardises its inputs itself; see `ensemble.Ensemble`.

    Raises:
        ConfigError: the network is impossible for this input, or its output for these classes.
    """
    if config.family in IMAGES_ONLY and len(input_shape) == 1:
        raise ConfigError(
            f"The family {config.family} reads images, and these are vectors of {input_shape[0]:,} "
            "numbers: use --set model.family=mlp (or perceptron), or prepare images."
        )
    return FAMILIES[config.family](config, input_shape, num_classes)


def count_parameters(network: nn.Module) -> int:
    """The number of trained values."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def penalised_layers(network: nn.Module) -> list[PenalisedConv2d | PenalisedLinear]:
    """The layers that have l1 or l2 terms in the loss."""
    return [
        module
        for module in network.modules()
        if isinstance(module, PenalisedConv2d | PenalisedLinear) and (module.l1 or module.l2)
    ]


def penalty(network: nn.Module) -> Tensor | None:
    """The l1 and l2 terms of a network's loss; see `penalty_of`."""
    return penalty_of(penalised_layers(network))


def penalty_of(layers: Iterable[PenalisedConv2d | PenalisedLinear]) -> Tensor | None:
    """The l1 and l2 terms of the loss, summed over layers; None where there are none.

    As in the framework of the published experiments, `l1 * sum(|w|) + l2 * sum(w**2)`: sums, not
    means, and no factor of one half.
    """
    total: Tensor | None = None
    for layer in layers:
        for factor, values in ((layer.l1, layer.weight.abs), (layer.l2, layer.weight.square)):
            if factor:
                term = factor * values().sum()
                total = term if total is None else total + term
    return total
