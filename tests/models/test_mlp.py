import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lorgnette.config import CnnConfig, MlpConfig, PerceptronConfig, ResnetConfig
from lorgnette.errors import ConfigError
from lorgnette.models import build, count_parameters, penalty

FLAGS = st.booleans()
SHAPES = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
)


@st.composite
def configs(draw: st.DrawFn) -> MlpConfig:
    units = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))

    def one_or_each(values: st.SearchStrategy[Any]) -> Any:
        several = st.lists(values, min_size=len(units), max_size=len(units))
        return draw(st.one_of(values, several))

    return MlpConfig.model_validate(
        {
            "units": units,
            "activation": one_or_each(st.sampled_from(["relu", "gelu", "silu", "tanh", "elu"])),
            "norm": one_or_each(st.sampled_from(["batch", "none"])),
            "norm_scale": draw(FLAGS),
            "dropout": one_or_each(st.floats(0, 0.9)),
            "l1": one_or_each(st.sampled_from([0.0, 1e-3])),
            "l2": one_or_each(st.sampled_from([0.0, 1e-2])),
            "initialization": draw(st.sampled_from(["torch", "keras"])),
        }
    )


@settings(max_examples=60, deadline=None)
@given(configs(), SHAPES, st.integers(2, 5))
def test_every_mlp_has_its_shapes_and_parameters(
    config: MlpConfig, shape: tuple[int, ...], classes: int
) -> None:
    network = build(config, shape, classes)
    logits = 1 if classes == 2 else classes
    assert network(torch.randn(3, *shape)).shape == (3, logits)
    widths = [math.prod(shape), *config.units, logits]
    expected = sum((before + 1) * after for before, after in pairwise(widths))
    norms = config.norm if isinstance(config.norm, tuple) else (config.norm,) * len(config.units)
    for units, norm in zip(config.units, norms, strict=True):
        if norm == "batch":
            expected += units * (2 if config.norm_scale else 1)
    assert count_parameters(network) == expected


@settings(max_examples=40, deadline=None)
@given(configs(), st.integers(1, 20))
def test_the_penalty_of_every_mlp_is_its_formula(config: MlpConfig, features: int) -> None:
    network = build(config, (features,), 2)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)][:-1]
    count = len(layers)
    l1 = config.l1 if isinstance(config.l1, tuple) else (config.l1,) * count
    l2 = config.l2 if isinstance(config.l2, tuple) else (config.l2,) * count
    expected = sum(
        a * layer.weight.abs().sum().item() + b * layer.weight.square().sum().item()
        for layer, a, b in zip(layers, l1, l2, strict=True)
    )
    found = penalty(network)
    assert (0.0 if found is None else found.item()) == pytest.approx(expected, rel=1e-5)
    assert (found is None) == (not any(l1) and not any(l2))


def test_the_order_in_a_layer_is_affine_norm_activation_dropout() -> None:
    config = MlpConfig(
        units=(4, 3, 2),
        activation=("relu", "tanh", "elu"),
        norm=("batch", "none", "batch"),
        dropout=(0.4, 0.3, 0.0),
    )
    kinds = [type(module).__name__ for module in build(config, (5,), 2).modules()]
    leaves = [kind for kind in kinds if kind != "Sequential"]
    assert leaves == [
        "PenalisedLinear", "BatchNorm1d", "ReLU", "Dropout",
        "PenalisedLinear", "Tanh", "Dropout",
        "PenalisedLinear", "BatchNorm1d", "ELU",
        "Linear",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [MlpConfig(units=(2,)), PerceptronConfig()])
def test_images_are_flattened_with_channels_varying_fastest(
    config: MlpConfig | PerceptronConfig,
) -> None:
    network = build(config, (3, 2, 4), 2).eval()
    vectors = build(config, (24,), 2).eval()
    for ours, theirs in zip(vectors.parameters(), network.parameters(), strict=True):
        ours.data.copy_(theirs.data)
    images = torch.randn(5, 2, 4, 3)  # (N, H, W, C), as datasets store them
    assert torch.allclose(network(images.permute(0, 3, 1, 2)), vectors(images.reshape(5, 24)))


@pytest.mark.parametrize(("classes", "output", "logits"), [(2, "auto", 1), (2, "softmax", 2),
                                                           (5, "auto", 5)])  # fmt: skip
def test_a_perceptron_is_one_affine_map(classes: int, output: str, logits: int) -> None:
    config = PerceptronConfig.model_validate({"output": output, "l1": 0.5, "l2": 0.25})
    network = build(config, (7,), classes)
    weight, bias = network.parameters()
    inputs = torch.randn(3, 7)
    assert network(inputs).shape == (3, logits)
    assert torch.allclose(network(inputs), inputs @ weight.T + bias, atol=1e-6)
    found = penalty(network)
    assert found is not None
    expected = 0.5 * weight.abs().sum() + 0.25 * weight.square().sum()
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    "config",
    [MlpConfig(units=(300,), norm="batch", initialization="keras"),
     PerceptronConfig(initialization="keras", output="softmax")],
)  # fmt: skip
def test_keras_constants_of_dense_layers(config: MlpConfig | PerceptronConfig) -> None:
    for module in build(config, (200,), 2).modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.momentum == pytest.approx(0.01)
            assert module.eps == 1e-3
        if isinstance(module, nn.Linear):
            limit = math.sqrt(6 / sum(module.weight.shape))
            assert 0.9 * limit < module.weight.abs().max().item() <= limit
            assert (module.bias == 0).all()


@pytest.mark.parametrize("config", [CnnConfig(), ResnetConfig()])
def test_vectors_are_refused_by_families_for_images(config: CnnConfig | ResnetConfig) -> None:
    with pytest.raises(ConfigError, match=rf"{config.family} reads images.*vectors of 512 numbers"):
        build(config, (512,), 2)


@pytest.mark.parametrize(
    "config", [MlpConfig(output="sigmoid"), PerceptronConfig(output="sigmoid")]
)
def test_one_logit_for_three_classes_is_refused(config: MlpConfig | PerceptronConfig) -> None:
    with pytest.raises(ConfigError, match="separates two classes and there are 3"):
        build(config, (4,), 3)
