"""A multilayer perceptron: hidden layers of affine map, norm, activation and dropout, an output.

After Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", Nature
323, 1986. It reads vectors; images are flattened with channels varying fastest.
"""

from __future__ import annotations

import math
from typing import cast

from torch import nn

from lorgnette.config import MlpConfig
from lorgnette.models.layers import (
    ACTIVATIONS,
    FlattenLast,
    PenalisedLinear,
    Shape,
    each,
    keras_constants,
    norm,
    outputs,
)


def build(config: MlpConfig, input_shape: Shape, num_classes: int) -> nn.Module:
    """See `lorgnette.models.build`."""
    layers = len(config.units)
    activations = cast("tuple[str, ...]", each(config.activation, layers))
    norms = cast("tuple[str, ...]", each(config.norm, layers))
    dropouts = cast("tuple[float, ...]", each(config.dropout, layers))
    l1 = cast("tuple[float, ...]", each(config.l1, layers))
    l2 = cast("tuple[float, ...]", each(config.l2, layers))
    body = nn.Sequential()
    if len(input_shape) > 1:
        body.append(FlattenLast())
    features = math.prod(input_shape)
    for index, units in enumerate(config.units):
        dense = PenalisedLinear(features, units)
        dense.l1, dense.l2 = l1[index], l2[index]
        layer = nn.Sequential(dense)
        if norms[index] == "batch":
            layer.append(norm(nn.BatchNorm1d(units), scale=config.norm_scale))
        layer.append(ACTIVATIONS[activations[index]]())
        if dropouts[index]:
            layer.append(nn.Dropout(dropouts[index]))
        body.append(layer)
        features = units
    head = nn.Sequential(nn.Linear(features, outputs(config, num_classes)))
    network = nn.Sequential()
    network.add_module("body", body)
    network.add_module("head", head)
    if config.initialization == "keras":
        keras_constants(network)
    return network
