"""Each member trains by itself, and weights are averaged now and then: local SGD.

Stich, "Local SGD Converges Fast and Communicates Little", 2018. PyTorch's averaging is used on all
values as one vector: given the weights one by one it lays them out anew in memory, while the state
of a fused optimizer stays as it was.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.model_averaging.utils import average_parameters

from lorgnette.training.optimizers import WeightAverage
from lorgnette.training.updates.base import Member, Parts, Told
from lorgnette.training.updates.flat import Flat


class Single(Member):
    """What ways have in common whose members train on batches of their own."""

    own_state = True

    def __init__(self, rank: int, members: int) -> None:
        super().__init__(rank, members)
        self.draws = (rank + 1,)
        self.average: WeightAverage | None = None

    def apply(self, optimizer: torch.optim.Optimizer) -> bool:
        """See `Way.apply`."""
        optimizer.step()
        return True

    def mean(self, vector: Tensor) -> Tensor:
        """The mean of a vector over all members."""
        holder = torch.nn.Parameter(vector, requires_grad=False)
        with self.waiting("the weights of all members"):
            average_parameters(iter([holder]), dist.group.WORLD)
        return holder.data

    def average_of_averages(self) -> None:
        """Bring the moving averages of all members to their mean, that of the mean of weights."""
        if self.average is None:
            return
        floats = [value for value in self.average.state.values() if value.is_floating_point()]
        vector = self.mean(torch.cat([value.reshape(-1) for value in floats]))
        for value, part in zip(
            floats, torch.split(vector, [v.numel() for v in floats]), strict=True
        ):
            value.copy_(part.view(value.shape))


class Periodic(Single):
    """See `Way`."""

    def __init__(self, rank: int, members: int, every: int | None) -> None:
        """`every`: steps between two averagings; None to average at the end of epochs alone."""
        super().__init__(rank, members)
        self.every = every

    def join(self, parts: Parts) -> None:
        """See `Way.join`."""
        self.flat = Flat(parts.network)
        self.device = next(parts.network.parameters()).device
        self.average = parts.average
        self.step = parts.step
        self.meet("all members to begin")

    def apply(self, optimizer: torch.optim.Optimizer) -> bool:
        """See `Way.apply`; after every so many steps weights are averaged."""
        optimizer.step()
        self.step += 1
        if self.every is not None and self.step % self.every == 0:
            self._average()
        return True

    def end_epoch(self, told: Told) -> None:
        """See `Way.end_epoch`: what is evaluated is the mean."""
        self._average()
        self.average_of_averages()

    def _average(self) -> None:
        self.flat.write(self.mean(self.flat.read(torch.empty(self.flat.size).to(self.device))))
