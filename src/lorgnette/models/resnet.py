"""A small residual network: what the default recipe trains from scratch.

Residual blocks after He et al., "Deep Residual Learning for Image Recognition" (2015), basic block;
the shortcut of a block that shrinks averages before its 1 × 1 convolution (He et al., "Bag of
Tricks for Image Classification", 2018, ResNet-D), and the last norm of a block starts at zero
(Goyal et al., "Accurate, Large Minibatch SGD", 2017), so that the network starts as a shallow one.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from lorgnette.config import ResnetConfig
from lorgnette.errors import ConfigError
from lorgnette.models.layers import each, outputs


class Block(nn.Module):
    """Two 3 × 3 convolutions with a shortcut around them."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if channels_in != channels_out:
            self.shortcut.append(nn.Conv2d(channels_in, channels_out, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels_out))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, ceil(H / stride), ceil(W / stride))."""
        inner = F.relu(self.norm1(self.conv1(maps)), inplace=True)
        inner = self.norm2(self.conv2(inner))
        return F.relu(inner + self.shortcut(maps), inplace=True)


def build(config: ResnetConfig, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """See `lorgnette.models.build`."""
    channels, height, width = input_shape
    shrink = config.stem_stride * 2 ** (len(config.widths) - 1)
    if min(height, width) < shrink:
        raise ConfigError(
            f"A resnet with a stem stride of {config.stem_stride} and {len(config.widths)} stages "
            f"needs images of at least {shrink} pixels, got {height} × {width}: prepare larger "
            "ones (--size), or use fewer stages (--set model.widths=[32,64])."
        )
    blocks = cast("tuple[int, ...]", each(config.blocks, len(config.widths)))
    stride = config.stem_stride
    stem = nn.Conv2d(channels, config.widths[0], stride + 1 if stride > 1 else 3, stride,
                     stride // 2 if stride > 1 else 1, bias=False)  # fmt: skip
    body = nn.Sequential(
        nn.Sequential(stem, nn.BatchNorm2d(config.widths[0]), nn.ReLU(inplace=True))
    )
    width_in = config.widths[0]
    for index, (width_out, count) in enumerate(zip(config.widths, blocks, strict=True)):
        stage = nn.Sequential()
        for place in range(count):
            step = 2 if index > 0 and place == 0 else 1
            stage.append(Block(width_in, width_out, step))
            width_in = width_out
        body.append(stage)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if config.dropout:
        head.append(nn.Dropout(config.dropout))
    head.append(nn.Linear(width_in, outputs(config, num_classes)))
    network = nn.Sequential()
    network.add_module("body", body)
    network.add_module("head", head)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
