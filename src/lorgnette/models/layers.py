"""What families share: activations, outputs, initial weights."""

from __future__ import annotations

from torch import nn

from lorgnette.config import CnnConfig, ResnetConfig
from lorgnette.errors import ConfigError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
}


class PenalisedConv2d(nn.Conv2d):
    """A convolution that knows the weight of its l1 and l2 terms in the loss."""

    l1 = 0.0
    l2 = 0.0


class PenalisedLinear(nn.Linear):
    """A dense layer likewise."""

    l1 = 0.0
    l2 = 0.0


def outputs(config: CnnConfig | ResnetConfig, num_classes: int) -> int:
    """The number of logits: 1 or K.

    Raises:
        ConfigError: one logit is asked for and there are more than two classes.
    """
    if config.output == "sigmoid" and num_classes > 2:
        raise ConfigError(
            f"A sigmoid output separates two classes and there are {num_classes}: "
            "use --set model.output=softmax (or auto)."
        )
    one = config.output == "sigmoid" or (config.output == "auto" and num_classes == 2)
    return 1 if one else num_classes


def each(value: object, count: int) -> tuple[object, ...]:
    """A per-layer setting as one value for each layer."""
    return tuple(value) if isinstance(value, tuple) else (value,) * count


def keras_constants(network: nn.Module) -> None:
    """Glorot-uniform weights, zero biases, norm momentum 0.99 and epsilon 1e-3, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum, module.eps = 0.01, 1e-3  # torch counts the share of the new value
