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
    if not settings.weight_decay:  # nothing sets them apart, and one group is one kernel
        groups = [{"params": trained, "weight_decay": 0.0}]
    # One kernel for all weights: for small networks the steps of Adam took as long as the rest.
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    if settings.name == "sgd":
        momentum = settings.momentum
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0, fused=fused
        )
    else:
        kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
        optimizer = kind(
            groups, lr=settings.lr, betas=settings.betas, eps=settings.epsilon, fused=fused
        )
        if settings.epsilon_form == "keras":
            optimizer.register_step_pre_hook(_KerasEpsilon(settings.epsilon, settings.betas[1]))
    optimizer.register_load_state_dict_post_hook(_lay_out_like_weights)
    return optimizer


def _lay_out_like_weights(optimizer: torch.optim.Optimizer) -> None:
    """Bring a loaded state into the memory layout of the weights.

    Checkpoints hold contiguous tensors and weights may be channels_last; the fused kernels go
    through the memory of both side by side, whatever their strides.
    """
    for weight, state in optimizer.state.items():
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == weight.shape:
                state[key] = torch.empty_like(weight).copy_(value)


def keras_epsilon(epsilon: float, beta2: float, step: int) -> float:
    """The epsilon by which torch's Adam does in a step, from 1, what Keras's does with its own.

    With the second moment v and its correction c = 1 - beta2**step, torch divides by
    sqrt(v / c) + epsilon and Keras by (sqrt(v) + epsilon) / sqrt(c): the second formulation in
    Kingma & Ba, "Adam", 2014, section 2. In the first step it is 32 times epsilon.
    """
    return epsilon / math.sqrt(1 - beta2**step)


class _KerasEpsilon:
    """Sets the epsilon of each step; the count is the optimizer's own and so in its checkpoint."""

    def __init__(self, epsilon: float, beta2: float) -> None:
        self.epsilon = epsilon
        self.beta2 = beta2

    def __call__(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        done = next((int(state["step"]) for state in optimizer.state.values()), 0)
        for group in optimizer.param_groups:
            group["eps"] = keras_epsilon(self.epsilon, self.beta2, done + 1)


def rate_factor(settings: ScheduleConfig, step: float, steps: int, epoch_steps: int) -> float:
    """What the learning rate is multiplied by at a step.

    Args:
        settings: the schedule.
        step: the step, from 0; may have a fraction.
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
