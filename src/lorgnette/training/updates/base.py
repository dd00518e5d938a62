"""What a way of updating is: the places in a training where members of a gang meet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lorgnette.training.feed import Batch, Part
from lorgnette.training.optimizers import WeightAverage

Told = Callable[[int], None]
"""Is given how many more images were shown."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What a way works on, once a checkpoint is loaded and the length of the training is known.

    Attributes:
        network: on its device, without any wrapper.
        optimizer: of its trained weights.
        average: of its weights; None where none is kept.
        rate: the learning rate at a step of this training, from 0; steps may have fractions.
        step: steps that were done before.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    rate: Callable[[float], float]
    step: int


class Way(Protocol):
    """A way of updating, as one process of it.

    Attributes:
        rank: of this process; 0 writes what a training leaves.
        draws: what random numbers depend on beside the run's seed and the step: nothing where all
            processes share a batch.
        own_state: whether optimizers, or weights between meetings, differ between processes.
    """

    rank: int
    draws: tuple[int, ...]
    own_state: bool

    def join(self, parts: Parts) -> None:
        """Become one network; returns when all members are there."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Set out on an epoch, from 0."""
        ...

    def computing(self, part: Part | None, last: bool) -> AbstractContextManager[None]:
        """A context for forward and backward of a batch.

        Args:
            part: the batch's.
            last: whether a step follows; else further gradients are added.
        """
        ...

    def forward(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Logits (B, 1) or (B, K) of float inputs (B, ...)."""
        ...

    def loss(self, losses: Tensor, part: Part | None) -> Tensor:
        """What is differentiated, of losses (B,)."""
        ...

    def apply(self, optimizer: torch.optim.Optimizer) -> bool:
        """Make gradients a step; whether this process has moved its own weights by it."""
        ...

    def shown(self, batch: Batch) -> int:
        """How many images all members show in the step of this batch."""
        ...

    def glance(self, sums: Tensor, wish: bool) -> tuple[Tensor, bool]:
        """In the middle of an epoch: sums that may be checked, and whether to write a checkpoint.

        Args:
            sums: of this process.
            wish: whether it wants a checkpoint; that of member 0 counts.
        """
        ...

    def end_epoch(self, told: Told) -> None:
        """Become one network again after the last step; a server serves until then."""
        ...

    def total(self, sums: Tensor) -> Tensor:
        """Sums over all members, the same bits in each."""
        ...

    def meet(self, what: str) -> None:
        """Wait until all members are here; `what` is done then, for the message."""
        ...

    def abandon(self) -> None:
        """Tell whoever would wait for this process that it gives up; never raises."""
        ...


class LostError(RuntimeError):
    """A member waited for others in vain: an accident, after which the gang starts again."""


class Member:
    """What all ways in a gang have in common; a process group is open.

    Attributes:
        patient: the group for meetings to which some come much later than others; None: that one.
    """

    own_state = False
    patient: dist.ProcessGroup | None = None

    def __init__(self, rank: int, members: int) -> None:
        self.rank, self.members = rank, members
        self.draws: tuple[int, ...] = ()
        self.epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        """See `Way.begin_epoch`."""
        self.epoch = epoch

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

    def shown(self, batch: Batch) -> int:
        """See `Way.shown`."""
        return batch.whole * (self.members if batch.part is None else 1)

    def glance(self, sums: Tensor, wish: bool) -> tuple[Tensor, bool]:
        """See `Way.glance`: members in step add up their sums, and go by member 0's wish."""
        asked = torch.tensor([float(wish and self.rank == 0)], dtype=sums.dtype).to(sums.device)
        *found, wished = self.total(torch.cat([sums, asked]))
        return torch.stack(found), bool(wished)

    def total(self, sums: Tensor) -> Tensor:
        """See `Way.total`."""
        found = sums.clone()
        with self.waiting("the sums of all members"):
            dist.all_reduce(found)
            dist.broadcast(found, 0)  # early stopping goes by it, and must not by another's digit
        return found

    def meet(self, what: str) -> None:
        """See `Way.meet`."""
        with self.waiting(what):
            dist.barrier(self.patient)

    def abandon(self) -> None:
        """See `Way.abandon`: whoever waits notices that connections are closed."""

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Name the epoch and what was waited for where a connection breaks or stays silent."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, LostError) or not _of_a_connection(error):
                raise
            reason = (str(error).splitlines() or [""])[0]
            raise LostError(
                f"in epoch {self.epoch + 1}, member {self.rank} waited in vain for {what}: {reason}"
            ) from error


def _of_a_connection(error: RuntimeError) -> bool:
    """Whether other members are the reason; gloo's errors are plain RuntimeErrors."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(
        word in text for word in ("gloo", "connection", "timed out", "timeout", "nccl")
    )
