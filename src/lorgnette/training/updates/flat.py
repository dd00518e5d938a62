"""All trained weights and floating-point buffers of a network as one vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class Flat:
    """The layout of a network's trained weights, then its buffers, in a vector of float32.

    Values come in the order in which they lie in memory, so that a part of the vector can be seen
    as a weight with that weight's own strides: fused optimizers go through weights and state side
    by side, whatever their strides.

    Attributes:
        tensors: the weights, then the buffers.
        weights: how many values of the vector are weights.
        size: how many there are in all.
    """

    def __init__(self, network: nn.Module) -> None:
        self.trained = [p for p in network.parameters() if p.requires_grad]
        buffers = [b for b in network.buffers() if b.is_floating_point()]
        self.tensors: list[Tensor] = [*self.trained, *buffers]
        self.weights = sum(p.numel() for p in self.trained)
        self.size = sum(tensor.numel() for tensor in self.tensors)

    def views(self, vector: Tensor) -> Iterator[Tensor]:
        """Parts of a vector, shaped and laid out like the tensors in turn; as many as it holds."""
        start = 0
        for tensor in self.tensors:
            if start == len(vector):
                return
            place = vector.storage_offset() + start
            yield vector.as_strided(tensor.shape, tensor.stride(), place)
            start += tensor.numel()

    @torch.no_grad()
    def read(self, vector: Tensor | None = None) -> Tensor:
        """The network's values, in a new vector on the CPU or in the given one."""
        vector = torch.empty(self.size) if vector is None else vector
        return self._gather(self.tensors, vector)

    @torch.no_grad()
    def write(self, vector: Tensor) -> None:
        """Set the network's values."""
        for tensor, view in zip(self.tensors, self.views(vector), strict=True):
            tensor.copy_(view)

    @torch.no_grad()
    def gradients(self) -> Tensor:
        """The gradients of the weights, in a new vector on the CPU, (weights,)."""
        grads = [p.grad for p in self.trained]
        assert all(grad is not None for grad in grads)
        return self._gather([grad for grad in grads if grad is not None], torch.empty(self.weights))

    def _gather(self, tensors: Sequence[Tensor], vector: Tensor) -> Tensor:
        for view, tensor in zip(self.views(vector), tensors, strict=True):
            view.copy_(tensor)
        return vector
