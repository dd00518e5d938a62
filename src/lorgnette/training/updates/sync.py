"""Every batch is shared, and the gradients of all members are averaged: PyTorch's DDP.

Averaged gradients of `sum of own losses * members / B` are the gradient of the mean over the batch,
however its B items are spread over the members.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lorgnette.training.feed import Part
from lorgnette.training.updates.base import Member, Parts, Told
from lorgnette.training.updates.whole import Present, make_whole

_KNOWN = inspect.signature(DistributedDataParallel).parameters
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _KNOWN else "broadcast_buffers"
"""DDP's setting changed its name in torch 2.13."""


class Sync(Member):
    """See `Way`."""

    def __init__(self, rank: int, members: int) -> None:
        super().__init__(rank, members)
        self.present = Present()

    def join(self, parts: Parts) -> None:
        """See `Way.join`."""
        make_whole(parts.network, self.present)
        with self.waiting("all members to begin"):
            # Buffers are the same in all members, as the norms that move them are.
            options: dict[str, Any] = {_SYNC_BUFFERS: False}
            self.shared = DistributedDataParallel(
                parts.network, gradient_as_bucket_view=True, **options
            )

    @contextlib.contextmanager
    def computing(self, part: Part | None, last: bool) -> Iterator[None]:
        """See `Way.computing`."""
        self.present.part = part
        alone = contextlib.nullcontext() if last else self.shared.no_sync()
        with self.waiting("the gradients of all members"), alone:
            yield
        self.present.part = None

    def forward(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """See `Way.forward`; without items, one of zeros stands in, and nothing of it is used."""
        if not len(inputs):
            inputs = inputs.new_zeros(1, *inputs.shape[1:])
            if inputs.ndim == 4:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            return self.shared(inputs)[:0]  # type: ignore[no-any-return]
        logits: Tensor = self.shared(inputs)
        return logits

    def loss(self, losses: Tensor, part: Part | None) -> Tensor:
        """See `Way.loss`."""
        assert part is not None
        return losses.sum() * (self.members / part.whole)

    def apply(self, optimizer: torch.optim.Optimizer) -> bool:
        """See `Way.apply`."""
        optimizer.step()
        return True

    def end_epoch(self, told: Told) -> None:
        """See `Way.end_epoch`: it is one network all the time."""
