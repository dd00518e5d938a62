"""A soup: one network whose weights are the mean of several trained ones.

After Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
accuracy without increasing inference time", ICML 2022: from the best network on, each next one is
stirred in if validation accuracy does not fall. The moments of batch normalisation belong to the
weights that they were taken with, so they are taken anew, as in stochastic weight averaging
(Izmailov et al., UAI 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device
from lorgnette.errors import ModelError
from lorgnette.evaluation.selection import Score, Step
from lorgnette.model import Model, ModelSpec, as_input, standardise
from lorgnette.models import build

MOMENT_ITEMS = 8192
"""Training items that moments are taken from, at most."""
MOMENT_BATCH = 256
NEAR = 0.02
"""Of a deviation: how far standardisations may be apart. They are taken from a random sample of a
large training part, which differs with the seed."""
IN_TRAINING = ("dropout", "l1", "l2")
"""Settings of a network that say nothing about what it computes once it is trained."""

State = dict[str, Tensor]


def check(specs: Sequence[ModelSpec], names: Sequence[str]) -> None:
    """Refuse networks whose weights do not mean the same.

    Args:
        specs: of the networks, the first one is what the others must be like.
        names: of the networks.

    Raises:
        ModelError: they differ in architecture, size or standardisation.
    """
    first, *others = specs
    for spec, name in zip(others, names[1:], strict=True):
        what = _apart(first, spec)
        if what:
            raise ModelError(
                "A soup is the mean of weights, for which networks must share architecture, size "
                f"and standardisation, and {names[0]} and {name} differ in {what}: use --combine "
                "average, or name runs that are alike."
            )


def _apart(one: ModelSpec, other: ModelSpec) -> str:
    """In what two networks differ; empty where weights can be averaged."""
    before, now = _architecture(one), _architecture(other)
    for key in (*before, *(key for key in now if key not in before)):
        if before.get(key) != now.get(key):
            return f"model.{key} ({before.get(key)} and {now.get(key)})"
    if one.size != other.size:
        return f"size ({one.size} and {other.size} pixels)"
    scale = np.array(one.deviation)
    steps = np.array(one.mean) - np.array(other.mean), scale - np.array(other.deviation)
    if any((np.abs(step) > NEAR * scale).any() for step in steps):
        return "standardisation (train.normalize)"
    return ""


def _architecture(spec: ModelSpec) -> dict[str, Any]:
    settings = spec.model.model_dump(mode="json")
    return {key: value for key, value in settings.items() if key not in IN_TRAINING}


def greedy_soup(
    models: Sequence[Model],
    names: Sequence[str],
    moments: Callable[[nn.Module], None],
    judge: Callable[[Model], Score],
) -> tuple[Model, list[Step]]:
    """Stir in one network after the other, as long as validation accuracy does not fall.

    Args:
        models: the best first, with weights that mean the same; see `check`.
        names: of the models.
        moments: takes the moments of batch normalisation anew, in place.
        judge: the validation score of a model.

    Returns:
        The soup, and what was tried, with the places of `models`.
    """
    best, reached = models[0], judge(models[0])
    inside, path = [0], [Step(0, reached, True)]
    for place in range(1, len(models)):
        tried = stir([models[n] for n in (*inside, place)], [names[n] for n in (*inside, place)])
        moments(tried.network)
        score = judge(tried)
        better = score.accuracy >= reached.accuracy
        path.append(Step(place, score, better))
        if better:
            best, reached = tried, score
            inside.append(place)
    return best, path


def stir(models: Sequence[Model], names: Sequence[str]) -> Model:
    """The network with the mean of all weights; of one network, that network.

    Raises:
        ModelError: their weights have other names or shapes.
    """
    first = models[0]
    if len(models) == 1:
        return first
    states = [model.network.state_dict() for model in models]
    for state, name in zip(states[1:], names[1:], strict=True):
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in states[0].items()}:
            raise ModelError(
                "A soup is the mean of weights, for which networks must share their layers, and "
                f"the weights of {names[0]} and {name} have other names or shapes: use --combine "
                "average, or name runs that are alike."
            )
    spec = first.spec
    network = build(spec.model, spec.input_shape, len(spec.classes))
    network.load_state_dict({key: _mean([state[key] for state in states]) for key in states[0]})
    return Model.of(spec, network, first.device)


def _mean(values: Sequence[Tensor]) -> Tensor:
    """The mean in double precision; of counters, the first."""
    if not values[0].is_floating_point():
        return values[0]
    total = torch.stack([value.double() for value in values]).mean(dim=0)
    return total.to(values[0].dtype)


def take_moments(
    network: nn.Module,
    dataset: Dataset,
    rows: NDArray[np.int64],
    spec: ModelSpec,
    device: Device,
    seed: int,
) -> None:
    """Set the moments of batch normalisation to those of training items, in place.

    The mean over batches of 256 of at most 8,192 random items, unchanged by augmentation, with
    everything but the norms as in prediction.

    Args:
        network: on the device.
        dataset: where the items are.
        rows: the training part, (n,).
        spec: how items are standardised.
        device: where the network is.
        seed: of the items and their order.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    if not norms:
        return
    order = np.random.default_rng(seed).permutation(rows)[:MOMENT_ITEMS]
    parts = np.array_split(order, -(-len(order) // MOMENT_BATCH))
    mean, deviation = (
        torch.tensor(values, device=device.torch) for values in (spec.mean, spec.deviation)
    )
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    try:
        with torch.no_grad(), device.autocast():
            for part in parts:
                items = torch.from_numpy(dataset.read(part, spec.size or None)).to(device.torch)
                network(standardise(as_input(items), mean, deviation))
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.eval()
