"""Published networks against Keras, which trained them; see tests/golden/make_keras_golden.py."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from golden.make_keras_golden import (
    BETAS,
    EPSILON,
    INPUTS,
    RATES,
    Array,
    batches,
    facts,
    parameters,
    path,
)
from lorgnette import resolve
from lorgnette.config import Config
from lorgnette.models import build, count_parameters, penalty
from lorgnette.models.summary import input_shape
from lorgnette.training.losses import item_losses
from lorgnette.training.optimizers import build_optimizer

RECIPES = {
    "furia_cnn": "furia-cnn",
    "furia_mlp3": "furia-mlp3",
    "ghezzi_best": "ghezzi-best",
}
TOLERANCE = 1e-4

Variable = tuple[str, Tensor]


def recipe(name: str, *settings: str) -> Config:
    return resolve.load(RECIPES[name], settings)


def network_of(config: Config) -> nn.Module:
    shape = input_shape(config)
    assert shape is not None
    return build(config.model, shape, 2)


def variables(network: nn.Module) -> Iterator[Variable]:
    """Kind and tensor of each variable in Keras's order."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None
            yield "kernel", module.weight
            yield "bias", module.bias
        elif isinstance(module, nn.BatchNorm2d):
            assert not module.weight.requires_grad
            assert module.running_mean is not None
            assert module.running_var is not None
            yield "beta", module.bias
            yield "moving_mean", module.running_mean
            yield "moving_variance", module.running_var


def to_keras(tensor: Tensor) -> NDArray[Any]:
    """A tensor in Keras's layout: (out, in, h, w) to (h, w, in, out), (out, in) to (in, out)."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, (0,))
    return tensor.detach().permute(axes).numpy()


def from_keras(value: Array) -> Tensor:
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,))
    return torch.from_numpy(value).permute(axes)


def set_weights(network: nn.Module) -> None:
    """The values with which Keras began."""
    pairs = list(variables(network))
    values = parameters([(kind, to_keras(tensor).shape) for kind, tensor in pairs])
    with torch.no_grad():
        for (_, tensor), value in zip(pairs, values, strict=True):
            tensor.copy_(from_keras(value))


def inputs_of(batch: Array) -> Tensor:
    tensor = torch.from_numpy(batch)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


@pytest.fixture(params=sorted(RECIPES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path(name).read_text())
    return found


def test_recipes_use_the_constants_with_which_keras_trained(name: str) -> None:
    optimizer = recipe(name).train.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.betas) == ("adam", RATES[name], BETAS)
    assert (optimizer.epsilon, optimizer.epsilon_form) == (EPSILON, "keras")
    assert optimizer.weight_decay == 0


def test_variables_are_those_of_keras(name: str, golden: dict[str, Any]) -> None:
    network = network_of(recipe(name))
    found = [[kind, list(to_keras(tensor).shape)] for kind, tensor in variables(network)]
    assert found == golden["variables"]
    assert count_parameters(network) == golden["parameters"]
    assert sum(tensor.numel() for _, tensor in variables(network)) == golden["values"]


def test_outputs_of_layers_have_the_shapes_of_keras(name: str, golden: dict[str, Any]) -> None:
    network = network_of(recipe(name)).eval()
    found: list[list[int]] = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        shape = list(output.shape[1:])
        found.append([*shape[1:], shape[0]] if len(shape) == 3 else shape)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.MaxPool2d):
            module.register_forward_hook(note)
    network(inputs_of(np.zeros((1, *INPUTS[name][1:]), np.float32)))

    def without_repeats(shapes: list[list[int]]) -> list[list[int]]:
        # activations, norms and dropout keep a shape; the flattened maps are no layer here
        kept = [shape for shape, before in zip(shapes, [[], *shapes], strict=False)
                if shape != before]  # fmt: skip
        return [shape for shape in kept if shape not in ([26_912], [11_264])]

    assert without_repeats(found) == without_repeats(golden["shapes"])


def test_the_forward_pass_agrees_with_keras(name: str, golden: dict[str, Any]) -> None:
    network = network_of(recipe(name)).eval()
    set_weights(network)
    with torch.inference_mode():
        logits = network(inputs_of(batches(name)[0][0]))
    assert logits.squeeze(1).numpy() == pytest.approx(np.array(golden["logits"]), abs=TOLERANCE)


def steps(name: str, *settings: str) -> Iterator[tuple[float, nn.Module]]:
    """Loss and network after each step of the recipe's own optimizer, without dropout."""
    config = recipe(name, "model.dropout=0.0", *settings)
    network = network_of(config).train()
    set_weights(network)
    optimizer = build_optimizer(network, config.train.optimizer)
    for inputs, labels in batches(name):
        losses = item_losses(
            network(inputs_of(inputs)), torch.from_numpy(labels), config.train.label_smoothing
        )
        extra = penalty(network)
        loss = losses.mean() if extra is None else losses.mean() + extra
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        yield loss.item(), network


def without_effect(network: nn.Module) -> set[int]:
    """Biases that a norm takes away again: no output depends on them, and their gradient is zero
    but for rounding, which Adam makes large.
    """
    modules = list(network.modules())
    normed = any(isinstance(module, nn.BatchNorm2d) for module in modules)
    return {id(module.bias) for module in modules if isinstance(module, nn.Conv2d) and normed}


def test_steps_of_training_agree_with_keras(name: str, golden: dict[str, Any]) -> None:
    for number, (loss, network) in enumerate(steps(name)):
        step = golden["steps"][number]
        assert loss == pytest.approx(step["loss"], abs=TOLERANCE / 10)
        left_out = without_effect(network)
        # No step is longer than about the rate, so differences are measured in rates. Norms over
        # four pictures leave gradients near zero, whose direction is rounding.
        near = TOLERANCE if left_out else RATES[name] * (1e-3 if number == 0 else 1e-2)
        for (kind, tensor), expected in zip(variables(network), step["variables"], strict=True):
            if id(tensor) in left_out:
                continue
            found = facts(to_keras(tensor))
            assert found["places"] == pytest.approx(expected["places"], abs=near), kind
            for total in ("sum", "absolute"):
                rounding = 1e-5 * expected["absolute"]
                assert found[total] == pytest.approx(expected[total], abs=rounding), (kind, total)
    assert number + 1 == len(golden["steps"])


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("furia_cnn", "train.optimizer.epsilon_form=torch"),
        ("furia_cnn", "train.optimizer.epsilon=1e-8"),
        ("furia_mlp3", "train.optimizer.epsilon_form=torch"),
        ("furia_mlp3", "train.optimizer.betas=[0.9,0.99]"),
        ("furia_mlp3", "model.l1=0.0"),
        ("furia_mlp3", "model.l2=0.0"),
    ],
)
def test_the_steps_tell_other_constants_apart(name: str, setting: str) -> None:
    golden = json.loads(path(name).read_text())["steps"]
    farthest = max(
        abs(found - expected)
        for (_, network), step in zip(steps(name, setting), golden, strict=True)
        for (_, tensor), facts_ in zip(variables(network), step["variables"], strict=True)
        for found, expected in zip(facts(to_keras(tensor))["places"], facts_["places"], strict=True)
    )
    assert farthest > 0.05 * RATES[name]
