import math

import pytest
import torch
from torch import nn

from lorgnette.config import OptimizerConfig, ScheduleConfig
from lorgnette.training.optimizers import WeightAverage, build_optimizer, rate_factor


def curve(steps: int = 100, epoch_steps: int = 10, **settings: object) -> list[float]:
    schedule = ScheduleConfig.model_validate(settings)
    return [rate_factor(schedule, step, steps, epoch_steps) for step in range(steps)]


def test_constant() -> None:
    assert set(curve(name="constant")) == {1.0}


def test_decay_multiplies_once_an_interval() -> None:
    rates = curve(name="decay", rate=0.5, every=2)
    assert rates[0] == 1
    assert rates[20] == pytest.approx(0.5)
    assert rates[40] == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_rise_and_fall(name: str) -> None:
    rates = curve(name=name, warmup=0.3)
    peak = rates.index(max(rates))
    assert peak == 30
    assert max(rates) == pytest.approx(1)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] < 0.01
    assert rates[0] > 0


def test_no_warmup() -> None:
    assert curve(name="cosine", warmup=0)[0] == 1


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_weight_decay_spares_biases_and_norms(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 1))
    settings = OptimizerConfig.model_validate({"name": name, "weight_decay": 0.1})
    decayed, spared = build_optimizer(network, settings).param_groups
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in spared["params"]} == {1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_one_step_of_sgd_against_the_formula() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    settings = OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.0)
    optimizer = build_optimizer(layer, settings)
    torch.autograd.backward((layer.weight * 2).sum())
    optimizer.step()
    assert layer.weight.item() == pytest.approx(1 - 0.1 * (2 + 0.9 * 2))  # Nesterov's first step


def test_adam_with_the_epsilon_of_keras_against_the_formula() -> None:
    """Kingma & Ba's second formulation, over small gradients, where epsilon counts."""
    settings = OptimizerConfig(name="adam", lr=0.1, weight_decay=0.0, betas=(0.9, 0.999),
                               epsilon=1e-3, epsilon_form="keras")  # fmt: skip
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    optimizer = build_optimizer(layer, settings)
    weight, m, v = 1.0, 0.0, 0.0
    for step in range(1, 8):
        gradient = 1e-2 * math.sin(step)
        optimizer.zero_grad()
        torch.autograd.backward((layer.weight * gradient).sum())
        if step == 4:  # a training that goes on from its checkpoint
            state = optimizer.state_dict()
            optimizer = build_optimizer(layer, settings)
            optimizer.load_state_dict(state)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        rate = 0.1 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight -= rate * m / (math.sqrt(v) + 1e-3)
        assert layer.weight.item() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_contiguous_state_serves_weights_that_are_channels_last(name: str) -> None:
    layer = nn.Conv2d(3, 4, 3)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = OptimizerConfig.model_validate({"name": name, "lr": 0.1})

    def step(optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        for p in layer.parameters():
            p.grad = torch.empty_like(p).copy_(torch.randn(p.shape))
        optimizer.step()

    optimizer = build_optimizer(layer, settings)
    step(optimizer, 0)
    held = [p.detach().clone() for p in layer.parameters()]
    state = optimizer.state_dict()
    state["state"] = {
        index: {key: value.clone(memory_format=torch.contiguous_format) if torch.is_tensor(value)
                else value for key, value in parts.items()}
        for index, parts in state["state"].items()
    }  # fmt: skip
    step(optimizer, 1)
    expected = [p.detach().clone() for p in layer.parameters()]
    with torch.no_grad():
        for p, value in zip(layer.parameters(), held, strict=True):
            p.copy_(value)
    again = build_optimizer(layer, settings)
    again.load_state_dict(state)
    step(again, 1)
    for p, value in zip(layer.parameters(), expected, strict=True):
        assert torch.equal(p, value)


def test_the_average_follows_its_formula() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    average = WeightAverage(layer, 0.5)
    expected = 0.0
    for step in range(20):
        value = math.sin(step)
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(layer, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.state["weight"].item() == pytest.approx(expected, abs=1e-6)
