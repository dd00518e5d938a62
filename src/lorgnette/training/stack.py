"""Networks of one shape as one: their trained values in a matrix, one batched computation for all.

F networks with D trained values each are a matrix (F, D). `torch.func` runs them in one call, the
gradient of the summed losses is each network's own gradient, and the optimizers' updates are
elementwise, so that a step of F small networks costs hardly more calls than a step of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lorgnette.config import OptimizerConfig
from lorgnette.models import penalty


class _WithPenalty(nn.Module):
    """A network that also returns its l1 and l2 terms: those of the values it is called with."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and the terms of the loss that depend on the weights alone, ()."""
        logits = self.network(inputs)
        extra = penalty(self.network)
        return logits, logits.new_zeros(()) if extra is None else extra


class Stack:
    """F networks of one shape.

    Attributes:
        values: float32 (F, D), the trained values of each network in one row.
        decayed: float32 (D,), 1 where weight decay applies (weights) and 0 where not (biases).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._module = _WithPenalty(networks[0])
        trained = [(name, p) for name, p in self._module.named_parameters() if p.requires_grad]
        self._names = [name for name, _ in trained]
        self._shapes = [p.shape for _, p in trained]
        self._sizes = [p.numel() for _, p in trained]
        rows = [torch.cat([p.detach().reshape(-1) for p in _trained(each)]) for each in networks]
        self.values = torch.stack(rows)
        marks = [torch.full((p.numel(),), float(p.ndim > 1)) for _, p in trained]
        self.decayed = torch.cat(marks).to(self.values.device)

    def __call__(self, values: Tensor, inputs: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Run networks on their own inputs.

        Args:
            values: (F, D), or some of the rows.
            inputs: (F, B, ...), the batch of each network.
            training: whether dropout is on; each network draws masks of its own.

        Returns:
            Logits (F, B, C), and each network's l1 and l2 terms, (F,).
        """
        self._module.train(training)
        parts = torch.split(values, self._sizes, dim=1)
        state = {
            name: part.view(len(values), *shape)
            for name, part, shape in zip(self._names, parts, self._shapes, strict=True)
        }

        def one(state: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
            found: tuple[Tensor, Tensor] = functional_call(self._module, state, (inputs,))
            return found

        logits, extra = vmap(one, randomness="different")(state, inputs)
        return logits, extra

    def unstack(self, values: Tensor, network: nn.Module) -> nn.Module:
        """A network of this shape with one row of values, (D,)."""
        with torch.no_grad():
            parts = torch.split(values, self._sizes)
            for p, part in zip(_trained(network), parts, strict=True):
                p.copy_(part.view(p.shape))
        return network


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]


class StackedOptimizer:
    """`optimizers.build_optimizer` for a stack: the same updates, a rate and a count for each row.

    Attributes:
        first: (F, D): Adam's first moment, SGD's momentum.
        second: (F, D): Adam's second moment.
        steps: (F, 1): updates so far.
    """

    def __init__(self, settings: OptimizerConfig, stack: Stack) -> None:
        self.settings = settings
        self.decay = settings.weight_decay * stack.decayed
        self.first = torch.zeros_like(stack.values)
        self.second = torch.zeros_like(stack.values)
        self.steps = torch.zeros(len(stack.values), 1, dtype=torch.float64).to(self.first.device)

    @torch.no_grad()
    def update(self, values: Tensor, gradient: Tensor, rates: Tensor, rows: Tensor | None) -> None:
        """Move values against their gradient, in place.

        Args:
            values: (F, D).
            gradient: (F, D).
            rates: learning rates, float64 (F, 1).
            rows: the rows that move, int64; None for all. The others keep their state.
        """
        held = (values, self.first, self.second, self.steps)
        if rows is None:
            self._update(*held, gradient, rates)
            return
        moved = [tensor[rows] for tensor in held]
        self._update(*moved, gradient[rows], rates[rows])  # type: ignore[call-arg]
        for tensor, part in zip(held, moved, strict=True):
            tensor[rows] = part

    def _update(
        self,
        values: Tensor,
        first: Tensor,
        second: Tensor,
        steps: Tensor,
        gradient: Tensor,
        rates: Tensor,
    ) -> None:
        settings = self.settings
        rate = rates.float()
        steps += 1
        if settings.weight_decay:
            if settings.name == "adamw":
                values.mul_(1 - rate * self.decay)
            else:
                gradient = gradient + self.decay * values
        if settings.name == "sgd":
            # torch.optim.SGD with Nesterov's momentum and no dampening; without momentum, plain.
            first.mul_(settings.momentum).add_(gradient)
            values.sub_(rate * (gradient + settings.momentum * first))
            return
        # Kingma & Ba, "Adam", 2014; in torch.optim.Adam's order of operations.
        beta1, beta2 = settings.betas
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (1 - beta2**steps).sqrt().float()
        length = (rates / (1 - beta1**steps)).float()
        if settings.epsilon_form == "keras":
            below = second.sqrt().add_(settings.epsilon).div_(scale)
        else:
            below = second.sqrt().div_(scale).add_(settings.epsilon)
        values.sub_(length * first / below)
