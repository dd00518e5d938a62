"""A server holds the weights: it takes what members send as it comes, and answers with fresh ones.

After Dean et al., "Large Scale Distributed Deep Networks", 2012 (Downpour SGD). Member 0 is the
server and trains nothing. Of each batch members send the gradient, and the server takes a step of
the run's optimizer; or, less often, what their own optimizers changed, of which the server adds its
part (one divided by the number of members): members that set out from the same weights move them by
the mean of their changes.

A message is a header of three numbers, what it is and how many batches and images it stands for,
and for most kinds a vector of weights and buffers, which is answered with one.
"""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from lorgnette.training.feed import Part
from lorgnette.training.updates.base import LostError, Member, Parts, Told
from lorgnette.training.updates.flat import Flat

GRADIENT, CHANGE, END, ALIVE, GONE = range(5)
"""What a header says: a gradient or a change follows; the epoch has ended; still computing (so that
the server's patience is with silence, not with long epochs); this member gives up."""
HEADER, PAYLOAD, ANSWER = 1, 2, 3
"""Tags, so that messages of one kind are not taken for another."""
ALIVE_SECONDS = 30.0
GONE_PATIENCE = timedelta(seconds=5)


class _Asynchronous(Member):
    """What server and members have in common."""

    def __init__(self, rank: int, members: int, gradients: bool) -> None:
        """See `Server` and `Worker`."""
        super().__init__(rank, members)
        self.own_state = not gradients  # else the server's optimizer is the only one

    def join(self, parts: Parts) -> None:
        """See `Way.join`."""
        self.parts = parts
        self.flat = Flat(parts.network)
        self.device = next(parts.network.parameters()).device
        self.meet("all members to begin")

    def glance(self, sums: Tensor, wish: bool) -> tuple[Tensor, bool]:
        """See `Way.glance`: members are not in step, and each looks at its own."""
        return sums, False

    def _spread(self) -> None:
        """Give all members the server's weights, and its average of them."""
        vector = self.flat.read()
        average = self.parts.average
        with self.waiting("the server's weights"):
            dist.broadcast(vector, 0)
            if average is not None:
                for value in average.state.values():
                    held = value.cpu()
                    dist.broadcast(held, 0)
                    value.copy_(held)
        self.flat.write(vector)


class Server(_Asynchronous):
    """Member 0; see `Way`."""

    def __init__(self, members: int, gradients: bool) -> None:
        """`members`: those that train; `gradients`: whether they send those of each batch."""
        super().__init__(0, members, gradients)

    def join(self, parts: Parts) -> None:
        """See `Way.join`."""
        self.done = float(parts.step)  # steps of each member, on average
        super().join(parts)

    def apply(self, optimizer: torch.optim.Optimizer) -> bool:
        """See `Way.apply`: a server has no batches, so it moves nothing by any of its own."""
        return False

    def end_epoch(self, told: Told) -> None:
        """See `Way.end_epoch`: serve until all members have ended the epoch."""
        header = torch.empty(3, dtype=torch.int64)
        training = self.members
        while training:
            with self.waiting("any member"):
                sender = dist.recv(header, tag=HEADER)
            kind, batches, images = header.tolist()
            if kind == GONE:
                raise LostError(f"in epoch {self.epoch + 1}, member {sender} gave up")
            if kind == END:
                training -= 1
            elif kind in (GRADIENT, CHANGE):
                self._serve(sender, kind, batches)
                told(images)
        self.meet("all members to end the epoch")
        self._spread()

    def _serve(self, sender: int, kind: int, batches: int) -> None:
        """Take what a member sends and answer with fresh weights."""
        optimizer = self.parts.optimizer
        for group in optimizer.param_groups:
            group["lr"] = self.parts.rate(self.done)
        payload = torch.empty(self.flat.size)
        with self.waiting(f"what member {sender} sends"):
            dist.recv(payload, sender, tag=PAYLOAD)
        payload = payload.to(self.device)
        views = list(self.flat.views(payload))
        with torch.no_grad():
            if kind == GRADIENT:
                trained = len(self.flat.trained)
                for weight, view in zip(self.flat.trained, views[:trained], strict=True):
                    weight.grad = view
                optimizer.step()
                for buffer, view in zip(self.flat.tensors[trained:], views[trained:], strict=True):
                    buffer += view
            else:
                for tensor, view in zip(self.flat.tensors, views, strict=True):
                    tensor.add_(view, alpha=1 / self.members)
        if self.parts.average is not None:
            self.parts.average.update(self.parts.network, int(self.done))
        self.done += batches / self.members
        with self.waiting(f"member {sender} to take fresh weights"):
            dist.send(self.flat.read(), sender, tag=ANSWER)


class Worker(_Asynchronous):
    """A member that trains; see `Way`."""

    def __init__(self, rank: int, members: int, every: int | None, gradients: bool) -> None:
        """Note when to send what.

        Args:
            rank: from 1.
            members: those that train.
            every: batches between two messages; None: an epoch.
            gradients: whether the gradient of each batch is sent.
        """
        super().__init__(rank, members, gradients)
        self.draws = (rank,)
        self.every, self.gradients = every, gradients
        self.batches = self.images = 0
        self.told = time.monotonic()

    def join(self, parts: Parts) -> None:
        """See `Way.join`."""
        super().join(parts)
        self.fetched = self.flat.read()

    def loss(self, losses: Tensor, part: Part | None) -> Tensor:
        """See `Way.loss`; the server is told how many images there were, for the progress."""
        self.images += len(losses)
        return super().loss(losses, part)

    def apply(self, optimizer: torch.optim.Optimizer) -> bool:
        """See `Way.apply`; only the server keeps an average."""
        self.batches += 1
        if self.gradients:
            held = self.flat.read()
            payload = held - self.fetched  # weights have not moved, buffers have
            payload[: self.flat.weights] = self.flat.gradients()
            self._exchange(GRADIENT, payload)
            return False
        optimizer.step()
        if self.every is not None and self.batches >= self.every:
            self._exchange(CHANGE, self.flat.read() - self.fetched)
        elif time.monotonic() - self.told > ALIVE_SECONDS:
            self._say(ALIVE)
        return False

    def end_epoch(self, told: Told) -> None:
        """See `Way.end_epoch`: send what is left, and take what the server has at the end."""
        if self.batches:
            self._exchange(CHANGE, self.flat.read() - self.fetched)
        self._say(END)
        self.meet("all members to end the epoch")  # the slowest may be far behind
        self._spread()
        self.fetched = self.flat.read()

    def abandon(self) -> None:
        """See `Way.abandon`: the server, which waits for anyone, would not notice.

        Where the server gives up for the same reason it does not listen any more.
        """
        with contextlib.suppress(Exception):
            sent = dist.isend(torch.tensor([GONE, 0, 0]), 0, tag=HEADER)
            if sent is not None:
                sent.wait(GONE_PATIENCE)

    def _exchange(self, kind: int, payload: Tensor) -> None:
        """Send a vector and take fresh weights."""
        self._say(kind)
        with self.waiting("the server's answer"):
            dist.send(payload, 0, tag=PAYLOAD)
            dist.recv(self.fetched, 0, tag=ANSWER)
        self.flat.write(self.fetched)
        self.batches = self.images = 0

    def _say(self, kind: int) -> None:
        with self.waiting("the server"):
            header = torch.tensor([kind, self.batches, self.images])
            dist.send(header, 0, tag=HEADER)
        self.told = time.monotonic()
