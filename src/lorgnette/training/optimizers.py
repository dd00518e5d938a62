"""Optimizers and learning-rate schedules, by name."""

from __future__ import annotations

import math

import torch
from torch import nn

from lorgnette.config import OptimizerConfig, ScheduleConfig


def build_optimizer(network: nn.Module, settings: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of a network; weight decay applies to weights, not to biases and norms."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.lr, betas=settings.betas, eps=settings.epsilon)


def rate_factor(settings: ScheduleConfig, step: int, steps: int, epoch_steps: int) -> float:
    """What the learning rate is multiplied by at a step.

    Args:
        settings: the schedule.
        step: the step, from 0.
        steps: how many steps the training has.
        epoch_steps: how many steps an epoch has.

    Returns:
        1 at the highest point. `one-cycle` starts at 1/25 and rises along a cosine (Smith & Topin,
        "Super-Convergence", 2018); `cosine` rises linearly (Loshchilov & Hutter, "SGDR", 2016,
        without restarts); both then fall to zero along a cosine. `decay` is rate**(epochs / every).
    """
    if settings.name == "constant":
        return 1.0
    if settings.name == "decay":
        return float(settings.rate ** (step / epoch_steps / settings.every))
    rise = settings.warmup * steps
    if step < rise:
        progress = step / rise
        if settings.name == "cosine":
            return (step + 1) / (rise + 1)
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress)) / 2
    progress = (step - rise) / max(steps - rise, 1)
    return (1 + math.cos(math.pi * progress)) / 2


class WeightAverage:
    """An exponential moving average of a network's weights and buffers.

    The decay is eased in, `min(decay, (1 + t) / (10 + t))` at step t, so that the first random
    weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network's weights after a step, counted from 0."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        current = network.state_dict()
        floats = [key for key, value in self.state.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.state[key] for key in floats], [current[key] for key in floats], share
        )
        for key in self.state.keys() - set(floats):
            self.state[key].copy_(current[key])
