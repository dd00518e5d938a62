"""What families share: activations, norms, penalties, outputs, initial weights."""

from __future__ import annotations

from torch import Tensor, nn

from lorgnette.config import CnnConfig, MlpConfig, PerceptronConfig, ResnetConfig
from lorgnette.errors import ConfigError

Shape = tuple[int, ...]
"""Of one input: (C, H, W) for images, (F,) for vectors."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
}


NEVER_FALLING = ("relu", "tanh", "elu")
"""Activations of which a larger value never gets a smaller result."""


def activation(name: str) -> nn.Module:
    """The activation of a convolution; in place where that is possible, which spares memory."""
    return nn.ReLU(inplace=True) if name == "relu" else ACTIVATIONS[name]()


class PenalisedConv2d(nn.Conv2d):
    """A convolution that knows the weight of its l1 and l2 terms in the loss."""

    l1 = 0.0
    l2 = 0.0


class PenalisedLinear(nn.Linear):
    """A dense layer likewise."""

    l1 = 0.0
    l2 = 0.0


class FlattenLast(nn.Module):
    """(N, C, H, W) to (N, H * W * C), channels varying fastest.

    That is how channels_last images lie in memory, so that nothing is copied, and the order of the
    original framework, so that its dense weights fit.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, scale: bool) -> nn.Module:
    """A batch normalisation with a shift, and a learnt scale if asked."""
    if not scale:
        # Held at one rather than left out: torch has no shift without a scale.
        layer.weight.requires_grad_(False)
    return layer


def outputs(
    config: CnnConfig | MlpConfig | PerceptronConfig | ResnetConfig, num_classes: int
) -> int:
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
    """Glorot-uniform weights, zero biases, norm momentum 0.99 and epsilon 1e-3, in place.

    One thing stays torch's own: the moving variance takes in the unbiased variance of a batch,
    n / (n - 1) times the one that Keras takes in, n being the batch's values of a channel.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum, module.eps = 0.01, 1e-3  # torch counts the share of the new value
