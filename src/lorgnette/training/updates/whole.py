"""Layers that treat a batch as one though several processes compute parts of it.

Batch normalisation takes its statistics over the whole batch, and dropout draws for the whole batch
and takes what falls to its own items, so that a batch gives what it would in one process. (torch's
own SyncBatchNorm does the first, on GPUs only.)
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lorgnette.training.feed import Part


class Present:
    """The part of the batch under way, which all layers look at.

    Attributes:
        part: None between batches.
    """

    part: Part | None = None

    @property
    def empty(self) -> bool:
        """Whether none of the batch is this process's; what it computes then is a stand-in."""
        return self.part is not None and not len(self.part.places)


class _Normalise(torch.autograd.Function):
    """(x - mean) / deviation * weight + bias, by statistics of which x is one process's part."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        inverse: Tensor,
        count: Tensor,
        empty: bool,
    ) -> Tensor:
        """Float (B, C, ...); weight to inverse (C,); `count` values of a channel in all, ()."""
        ctx.save_for_backward(x, weight, mean, inverse, count)
        ctx.empty = empty
        centred = (x.float() - _along(mean, x)) * _along(inverse, x)
        return (centred * _along(weight, x) + _along(bias, x)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """As for one process, with the two sums of the backward pass taken over all."""
        x, weight, mean, inverse, count = ctx.saved_tensors
        above = gradients[0].float()
        centred = (x.float() - _along(mean, x)) * _along(inverse, x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        own = torch.stack([above.sum(dim=axes), (above * centred).sum(dim=axes)])  # (2, C)
        sums = own.clone()
        dist.all_reduce(sums)
        if not ctx.empty:  # a stand-in has no share in the statistics
            sums /= count
            above = above - _along(sums[0], x) - centred * _along(sums[1], x)
        below = (above * _along(weight * inverse, x)).to(x.dtype)
        return below, own[1], own[0], None, None, None, None


def _along(values: Tensor, x: Tensor) -> Tensor:
    """One value for each channel, (C,), in the shape of x, (B, C, ...)."""
    return values.view(1, -1, *(1 for _ in x.shape[2:]))


class WholeNorm(nn.Module):
    """Batch normalisation over all processes: that of a layer which it takes the place of."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, present: Present) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.eps, self.momentum = layer.eps, cast("float", layer.momentum)
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)
        self.present = present

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same; all processes must call it."""
        if not self.training:
            mean, variance = self.running_mean, self.running_var
            return nn.functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        count, mean, variance = self._statistics(x)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), self.momentum)
        inverse = torch.rsqrt(variance + self.eps)
        normal: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, mean, inverse, count, self.present.empty
        )
        return normal

    @torch.no_grad()
    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Count, mean and variance (over n) of each channel over all processes.

        Those of the parts are merged without losing digits where a mean is large (Chan, Golub &
        LeVeque 1983, *Algorithms for Computing the Sample Variance*).
        """
        axes = [axis for axis in range(x.ndim) if axis != 1]
        values = x.float()
        number = 0 if self.present.empty else x.numel() // x.shape[1]
        mean = values.mean(dim=axes)
        squares = (values - _along(mean, x)).square().sum(dim=axes)
        own = torch.cat([mean.new_tensor([number]), mean, squares])
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, own)
        parts = torch.stack(gathered).double()
        numbers = parts[:, :1]
        means, sums = parts[:, 1:].chunk(2, dim=1)
        present = numbers > 0  # a stand-in's figures, whatever they are, count for nothing
        means, sums = torch.where(present, means, 0.0), torch.where(present, sums, 0.0)
        count = numbers.sum()
        centre = (numbers * means).sum(dim=0) / count
        spread = (sums + numbers * (means - centre) ** 2).sum(dim=0) / count
        return count.float(), centre.float(), spread.float()


class WholeDropout(nn.Module):
    """Dropout that draws for the whole batch and uses what falls to its own items.

    On a processor the draws are those of `nn.Dropout` in one process, bit for bit.
    """

    def __init__(self, p: float, present: Present) -> None:
        super().__init__()
        self.p = p
        self.present = present

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to the same."""
        part = self.present.part
        if not self.training or part is None or self.present.empty:
            return x
        noise = torch.empty((part.whole, *x.shape[1:]), dtype=x.dtype, device=x.device)
        noise.bernoulli_(1 - self.p).div_(1 - self.p)
        return x * noise.index_select(0, part.places.to(x.device))


def make_whole(network: nn.Module, present: Present) -> None:
    """Put such layers in the place of a network's norms and dropouts; names and weights stay."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            made: nn.Module = WholeNorm(child, present)
        elif isinstance(child, nn.Dropout):
            made = WholeDropout(child.p, present)
        else:
            make_whole(child, present)
            continue
        setattr(network, name, made.train(child.training))
