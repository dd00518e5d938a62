"""Plain convolutional networks: every architecture of the published experiments is a setting.

Blocks of convolution, pooling, batch norm and activation in a chosen order, a head that flattens or
pools globally, dense layers, logits. `same` padding follows TensorFlow (an odd pixel goes to the
bottom and the right), so that published shapes and values agree.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from lorgnette.config import CnnConfig
from lorgnette.errors import ConfigError
from lorgnette.models.layers import (
    ACTIVATIONS,
    NEVER_FALLING,
    FlattenLast,
    PenalisedConv2d,
    PenalisedLinear,
    Shape,
    activation,
    each,
    keras_constants,
    norm,
    outputs,
)


def build(config: CnnConfig, input_shape: Shape, num_classes: int) -> nn.Module:
    """See `lorgnette.models.build`."""
    channels, height, width = input_shape
    blocks = len(config.filters)
    kernels = cast("tuple[int, ...]", each(config.kernel, blocks))
    strides = cast("tuple[int, ...]", each(config.stride, blocks))
    pools = cast("tuple[str, ...]", each(config.pool, blocks))
    weighted = blocks + len(config.dense)
    l1 = _penalties("l1", config.l1, weighted)
    l2 = _penalties("l2", config.l2, weighted)
    body = nn.Sequential()
    for index, filters in enumerate(config.filters):
        block = nn.Sequential()
        for step in _quickest(config.order, pools[index], config.activation):
            if step == "conv":
                kernel, stride = kernels[index], strides[index]
                _check_fits(index, "kernel", kernel, height, width, config.padding == "same")
                pad: nn.Module = nn.Identity()
                if config.padding == "same":
                    pad = _same_padding(height, width, kernel, stride)
                    height, width = -(-height // stride), -(-width // stride)
                else:
                    height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
                if not isinstance(pad, nn.Identity):
                    block.append(pad)
                conv = PenalisedConv2d(channels, filters, kernel, stride)
                conv.l1, conv.l2 = l1[index], l2[index]
                block.append(conv)
                channels = filters
            elif step == "pool" and pools[index] != "none":
                size = config.pool_size
                _check_fits(index, "pooling window", size, height, width, False)
                pool = nn.MaxPool2d if pools[index] == "max" else nn.AvgPool2d
                block.append(pool(size))
                height, width = height // size, width // size
            elif step == "norm" and config.norm == "batch":
                block.append(norm(nn.BatchNorm2d(channels), scale=config.norm_scale))
            elif step == "activation":
                block.append(activation(config.activation))
        body.append(block)
    head = nn.Sequential()
    if config.head == "flatten":
        head.append(FlattenLast())
        features = channels * height * width
    else:
        overall = nn.AdaptiveMaxPool2d if config.head == "max" else nn.AdaptiveAvgPool2d
        head.extend([overall(1), nn.Flatten()])
        features = channels
    dropouts = cast("tuple[float, ...]", each(config.dropout, max(len(config.dense), 1)))
    if len(dropouts) != max(len(config.dense), 1):
        raise ConfigError(
            f"model.dropout must be one value or one for each of the {len(config.dense)} dense "
            f"layers, got {config.dropout}."
        )
    for index, units in enumerate(config.dense):
        dense = PenalisedLinear(features, units)
        dense.l1, dense.l2 = l1[blocks + index], l2[blocks + index]
        head.extend([dense, ACTIVATIONS[config.activation]()])
        if dropouts[index]:
            head.append(nn.Dropout(dropouts[index]))
        features = units
    if not config.dense and dropouts[0]:
        head.append(nn.Dropout(dropouts[0]))
    head.append(nn.Linear(features, outputs(config, num_classes)))
    network = nn.Sequential()
    network.add_module("body", body)
    network.add_module("head", head)
    if config.initialization == "keras":
        keras_constants(network)
    return network


def _quickest(order: tuple[str, ...], pool: str, activation: str) -> tuple[str, ...]:
    """The order inside a block, with an activation before a max-pool moved behind it.

    The largest of activated values is the activation of the largest where the activation never
    falls, and so are the gradients; behind the pool there are a quarter of the values.
    """
    steps = list(order)
    if pool == "max" and activation in NEVER_FALLING and "pool" in steps:
        place = steps.index("pool")
        if place and steps[place - 1] == "activation":
            steps[place - 1 : place + 1] = ["pool", "activation"]
    return tuple(steps)


def _same_padding(height: int, width: int, kernel: int, stride: int) -> nn.Module:
    """Zeros around the input so that the output has ceil(edge / stride) pixels."""
    across = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    down = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    sides = (across // 2, across - across // 2, down // 2, down - down // 2)
    return nn.ZeroPad2d(sides) if any(sides) else nn.Identity()


def _check_fits(index: int, what: str, size: int, height: int, width: int, padded: bool) -> None:
    if not padded and size > min(height, width):
        raise ConfigError(
            f"Block {index + 1} has a {what} of {size} pixels and its input is only {height} × "
            f"{width}: use fewer blocks, smaller kernels or larger images (--size)."
        )


def _penalties(name: str, value: object, count: int) -> tuple[float, ...]:
    values = cast("tuple[float, ...]", each(value, count))
    if len(values) != count:
        raise ConfigError(
            f"model.{name} must be one value or one for each of the {count} convolutions and dense "
            f"layers, got {value}."
        )
    return values
