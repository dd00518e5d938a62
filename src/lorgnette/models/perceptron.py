"""A perceptron: one affine layer from all values of the input to the logits.

After Rosenblatt, "The Perceptron", Psychological Review 65, 1958; with a sigmoid or softmax output
and cross-entropy it is logistic regression. Images are flattened with channels varying fastest.
"""

from __future__ import annotations

import math

from torch import nn

from lorgnette.config import PerceptronConfig
from lorgnette.models.layers import FlattenLast, PenalisedLinear, Shape, keras_constants, outputs


def build(config: PerceptronConfig, input_shape: Shape, num_classes: int) -> nn.Module:
    """See `lorgnette.models.build`."""
    head = nn.Sequential()
    if len(input_shape) > 1:
        head.append(FlattenLast())
    output = PenalisedLinear(math.prod(input_shape), outputs(config, num_classes))
    output.l1, output.l2 = config.l1, config.l2
    head.append(output)
    network = nn.Sequential()
    network.add_module("head", head)
    if config.initialization == "keras":
        keras_constants(network)
    return network
