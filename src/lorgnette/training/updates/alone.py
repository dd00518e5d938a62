"""A training by itself: one process, nobody to wait for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from lorgnette.training.feed import Batch, Part
from lorgnette.training.updates.base import Parts, Told


class Alone:
    """See `Way`."""

    rank = 0
    draws: tuple[int, ...] = ()
    own_state = False

    def join(self, parts: Parts) -> None:
        """See `Way.join`: it is one network already."""

    def begin_epoch(self, epoch: int) -> None:
        """See `Way.begin_epoch`."""

    def computing(self, part: Part | None, last: bool) -> AbstractContextManager[None]:
        """See `Way.computing`."""
        return nullcontext()

    def forward(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """See `Way.forward`."""
        logits: Tensor = network(inputs)
        return logits

    def loss(self, losses: Tensor, part: Part | None) -> Tensor:
        """See `Way.loss`."""
        return losses.mean()

    def apply(self, optimizer: torch.optim.Optimizer) -> bool:
        """See `Way.apply`."""
        optimizer.step()
        return True

    def shown(self, batch: Batch) -> int:
        """See `Way.shown`."""
        return len(batch.labels)

    def glance(self, sums: Tensor, wish: bool) -> tuple[Tensor, bool]:
        """See `Way.glance`."""
        return sums, wish

    def end_epoch(self, told: Told) -> None:
        """See `Way.end_epoch`."""

    def total(self, sums: Tensor) -> Tensor:
        """See `Way.total`."""
        return sums

    def meet(self, what: str) -> None:
        """See `Way.meet`."""

    def abandon(self) -> None:
        """See `Way.abandon`."""
