import pytest
import torch
from torch import nn

from lorgnette.config import CnnConfig, ResnetConfig
from lorgnette.errors import ConfigError
from lorgnette.models import build, count_parameters, penalty

FURIA = CnnConfig(
    filters=(16, 32),
    kernel=(3, 5),
    padding="valid",
    norm="none",
    order=("conv", "activation", "pool"),
    head="flatten",
    dense=(32, 16),
)
BEST = CnnConfig(
    filters=(12, 44, 44),
    kernel=(5, 3, 3),
    order=("conv", "pool", "norm", "activation"),
    norm_scale=False,
    head="flatten",
    dense=(96,),
)
SCHIAVONI = CnnConfig(
    filters=(32, 32, 32),
    kernel=(5, 3, 2),
    stride=2,
    padding="valid",
    pool=("max", "max", "none"),
    norm="none",
    order=("conv", "activation", "pool"),
    head="flatten",
    dense=(128,),
)


@pytest.mark.parametrize(
    ("config", "shape", "parameters"),
    [
        (FURIA, (1, 128, 128), 874_753),
        (BEST, (3, 128, 128), 1_104_813),
        (SCHIAVONI, (3, 350, 350), 425_665),
    ],
    ids=["furia", "ghezzi-limoncini", "schiavoni"],
)
def test_published_architectures_have_their_parameters(
    config: CnnConfig, shape: tuple[int, int, int], parameters: int
) -> None:
    network = build(config, shape, 2)
    assert count_parameters(network) == parameters
    assert network.eval()(torch.zeros(2, *shape)).shape == (2, 1)


@pytest.mark.parametrize("family", [CnnConfig(), ResnetConfig()])
@pytest.mark.parametrize(("classes", "output", "logits"), [(2, "auto", 1), (2, "softmax", 2),
                                                           (5, "auto", 5)])  # fmt: skip
def test_logits(family: CnnConfig | ResnetConfig, classes: int, output: str, logits: int) -> None:
    config = family.model_copy(update={"output": output})
    network = build(config, (1, 32, 32), classes).eval()
    assert network(torch.zeros(3, 1, 32, 32)).shape == (3, logits)


@pytest.mark.parametrize("head", ["average", "max", "both"])
@pytest.mark.parametrize("blocks", [0, 1, (0, 2, 1)])
def test_residual_networks_build(head: str, blocks: int | tuple[int, ...]) -> None:
    config = ResnetConfig.model_validate({"widths": (4, 8, 8), "blocks": blocks, "head": head,
                                          "dropout": 0.1})  # fmt: skip
    assert build(config, (3, 19, 19), 3)(torch.zeros(2, 3, 19, 19)).shape == (2, 3)


@pytest.mark.parametrize("head", ["flatten", "max", "average"])
@pytest.mark.parametrize("pool", ["max", "average", "none"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_every_combination_builds(head: str, pool: str, padding: str) -> None:
    config = CnnConfig.model_validate(
        {"filters": (4, 6), "kernel": (3, 2), "stride": (1, 2), "head": head, "pool": pool,
         "padding": padding, "dense": (5,), "dropout": 0.3}
    )  # fmt: skip
    assert build(config, (3, 21, 21), 2)(torch.zeros(2, 3, 21, 21)).shape == (2, 1)


def test_same_padding_puts_the_odd_pixel_at_the_end() -> None:
    # TensorFlow: input 4, kernel 3, stride 2 -> output 2, one zero at the end and none before
    config = CnnConfig(filters=(1,), kernel=3, stride=2, pool="none", norm="none", head="flatten",
                       order=("conv",))  # fmt: skip
    network = build(config, (1, 4, 4), 2)
    conv = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.bias.zero_()  # type: ignore[union-attr]
        maps = network.body(torch.ones(1, 1, 4, 4))  # type: ignore[operator]
    assert maps[0, 0].tolist() == [[9.0, 6.0], [6.0, 4.0]]


def test_penalties_are_sums_over_the_layers_that_have_them() -> None:
    config = CnnConfig(filters=(4, 4), dense=(8,), l1=(0.0, 0.1, 0.0), l2=(0.2, 0.0, 0.3))
    network = build(config, (1, 16, 16), 2)
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    dense = [module for module in network.modules() if isinstance(module, nn.Linear)]
    expected = (
        0.2 * convs[0].weight.pow(2).sum()
        + 0.1 * convs[1].weight.abs().sum()
        + 0.3 * dense[0].weight.pow(2).sum()
    )
    found = penalty(network)
    assert found is not None
    assert torch.allclose(found, expected)
    assert penalty(build(CnnConfig(), (1, 16, 16), 2)) is None


def test_keras_constants() -> None:
    network = build(CnnConfig(initialization="keras"), (1, 32, 32), 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.momentum == pytest.approx(0.01)
            assert module.eps == 1e-3
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None
            assert (module.bias == 0).all()


@pytest.mark.parametrize(
    ("config", "size", "words"),
    [
        (CnnConfig(filters=(8, 8, 8), padding="valid"), 8, "Block 2 has a pooling window of 2"),
        (CnnConfig(filters=(8, 8, 8)), 4, "Block 3 has a pooling window of 2 pixels"),
        (CnnConfig(dense=(8,), dropout=(0.1, 0.2)), 32, "model.dropout must be one value or one"),
        (CnnConfig(l1=(0.1, 0.2)), 32, "model.l1 must be one value or one for each of the 3"),
        (ResnetConfig(), 12, "needs at least 16 pixels, got 12"),
    ],
)
def test_impossible_networks_are_one_sentence(
    config: CnnConfig | ResnetConfig, size: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        build(config, (3, size, size), 2)


def test_one_logit_for_three_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="separates two classes and there are 3"):
        build(CnnConfig(output="sigmoid"), (3, 32, 32), 3)
