from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lorgnette.config import Config, OptimizerConfig, PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import TrainingError
from lorgnette.model import Model
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.training import batchable, loop, together
from lorgnette.training.optimizers import build_optimizer
from lorgnette.training.stack import Stack, StackedOptimizer
from pictures import folder_of

CNN = [
    "model.family=cnn", "model.filters=[4]", "model.norm=none", "model.head=flatten",
    "model.dense=[6]", "train.epochs=3", "train.batch_size=16", "train.precision=float32",
    "train.device=cpu", "train.augment.flip_horizontal=false",
]  # fmt: skip
SIZES = (65, 64, 40)
"""Training items of each fold: five, four and three steps of at most 16."""


def tiny(*settings: str) -> Config:
    return load(settings=[*CNN, *settings])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """120 pictures of 8 pixels."""
    folder = tmp_path_factory.mktemp("small")
    source = SourceConfig(location=str(folder_of(folder / "source", 60)))
    settings = PrepareConfig(size=(8,), shard_items=16)
    return prepare(source, str(folder / "out"), settings, LocalEngine(1))


def splits_of(dataset: Dataset, sizes: tuple[int, ...] = SIZES) -> list[Split]:
    """Random parts: so many training items, and 20 to 22 for validation."""
    found = []
    for fold, size in enumerate(sizes):
        parts = np.full(len(dataset), -1, np.int8)
        order = np.random.default_rng(fold).permutation(len(dataset))
        parts[order[:size]] = 0
        parts[order[size : size + 20 + fold]] = 1
        found.append(Split(parts))
    return found


def runs_of(
    dataset: Dataset, config: Config, folder: Path, count: int
) -> tuple[list[Config], list[Run]]:
    configs = [config.model_copy(update={"seed": 10 + fold}) for fold in range(count)]
    runs = [Run(folder / str(fold)) for fold in range(count)]
    for run, each in zip(runs, configs, strict=True):
        run.begin(each, dataset.location)
    return configs, runs


def fit(
    dataset: Dataset, config: Config, folder: Path, sizes: tuple[int, ...] = SIZES
) -> tuple[list[Model], list[Run]]:
    configs, runs = runs_of(dataset, config, folder, len(sizes))
    return together.train_together(dataset, splits_of(dataset, sizes), configs, runs), runs


def one_by_one(dataset: Dataset, config: Config, folder: Path) -> tuple[list[Model], list[Run]]:
    configs, runs = runs_of(dataset, config, folder, len(SIZES))
    parts = zip(splits_of(dataset), configs, runs, strict=True)
    return [loop.train(dataset, split, each, run) for split, each, run in parts], runs


def figures(run: Run) -> list[dict[str, Any]]:
    """The history without what depends on the clock."""
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in line.items() if k not in clock} for line in run.metrics()]


def assert_same(dataset: Dataset, one: Any, two: Any) -> None:
    """Two times models and runs: the same figures, facts and probabilities within 1e-4."""
    pixels = dataset.read(np.arange(len(dataset)))
    for model, run, other, other_run in zip(*one, *two, strict=True):
        lines, other_lines = figures(run), figures(other_run)
        assert len(lines) == len(other_lines) > 0
        for line, other_line in zip(lines, other_lines, strict=True):
            assert line == pytest.approx(other_line, abs=1e-4)
        assert model.spec == other.spec
        facts, other_facts = (each.read("run.json")["training"] for each in (run, other_run))
        assert facts.pop("together") == len(one[0])
        assert facts == other_facts
        difference = model.probabilities(pixels) - other.probabilities(pixels)
        assert np.abs(difference).max() < 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("train.optimizer.name=adam", "train.optimizer.weight_decay=0.01", "train.batch_size=7"),
        ("train.optimizer.name=sgd", "train.optimizer.lr=0.01", "train.class_weights=balanced"),
        ("model.l1=1e-3", "model.l2=[1e-3, 1e-2]", "train.schedule.name=cosine"),
        ("train.augment.flip_horizontal=true", "train.augment.rotation=20"),
        ("train.epochs=30", "train.stopping.patience=2", "train.optimizer.lr=0.01"),
        ("train.stopping.monitor=val_accuracy", "model.output=softmax"),
    ],
    ids=["adamw", "adam", "sgd", "penalties", "augmented", "stopped", "softmax"],
)
def test_together_gives_the_figures_of_one_by_one(
    small: Dataset, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    config = tiny(*settings)
    assert batchable.obstacle(small, config) is None
    both = fit(small, config, tmp_path / "together"), one_by_one(small, config, tmp_path / "alone")
    assert_same(small, *both)


MLP = [
    "model.family=mlp", "model.units=[6,5]", "train.epochs=4", "train.batch_size=16",
    "train.device=cpu", "train.precision=float32", "model.l2=1e-4",
    "train.augment.flip_horizontal=false",  # left and right are the classes
]  # fmt: skip


@pytest.mark.parametrize("family", ["mlp", "perceptron"])
def test_dense_families_on_pixels(small: Dataset, tmp_path: Path, family: str) -> None:
    config = load(settings=MLP if family == "mlp" else [f"model.family={family}", *MLP[2:]])
    both = fit(small, config, tmp_path / "together"), one_by_one(small, config, tmp_path / "alone")
    assert_same(small, *both)


def test_with_dropout_it_learns_and_the_seed_fixes_it(small: Dataset, tmp_path: Path) -> None:
    longer = [*MLP, "train.epochs=12", "train.optimizer.lr=0.01"]
    config = load(settings=[*longer, "model.dropout=0.2"])
    one, two = fit(small, config, tmp_path / "one"), fit(small, config, tmp_path / "two")
    for run, again in zip(one[1], two[1], strict=True):
        assert figures(run) == figures(again)
        assert figures(run)[-1]["val_accuracy"] > 0.9
    without = fit(small, load(settings=longer), tmp_path / "without")[1]
    assert figures(without[0]) != figures(one[1][0])


class Crash(BaseException):
    """Stands for a kill: nothing in the package catches it."""


@pytest.mark.parametrize("crash_at", [0, 7, 14, 30])
def test_taken_up_again_it_ends_the_same(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    settings = ["model.dropout=0.5", "train.epochs=12", "train.stopping.patience=1"]
    rate = ["train.optimizer.lr=0.01", "train.schedule.name=constant"]
    config = load(settings=[*MLP, *settings, *rate])
    monkeypatch.setattr(together, "CHECKPOINT_SECONDS", 0.0)
    _, undisturbed = fit(small, config, tmp_path / "undisturbed")
    assert len({len(run.metrics()) for run in undisturbed}) > 1  # folds stop at different epochs
    step, calls = together.TogetherTrainer._step, 0

    def crashing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == crash_at + 1:
            raise Crash
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(together.TogetherTrainer, "_step", crashing)
        with pytest.raises(Crash):
            fit(small, config, tmp_path / "crashed")
    _, again = fit(small, config, tmp_path / "crashed")
    for run, other in zip(again, undisturbed, strict=True):
        assert figures(run) == figures(other)
        weights = [each.root / "model.safetensors" for each in (run, other)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        OptimizerConfig(name="adam", epsilon=1e-3, epsilon_form="keras", weight_decay=0.1),
        OptimizerConfig(name="adamw", weight_decay=0.3, lr=0.1),
        OptimizerConfig(name="sgd", momentum=0.0, weight_decay=0.1, lr=0.1),
        OptimizerConfig(name="sgd", momentum=0.8, lr=0.1),
    ],
    ids=["keras", "adamw", "plain", "nesterov"],
)
def test_updates_are_those_of_torch(settings: OptimizerConfig) -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2) for _ in range(3)]
    stack = Stack(networks)
    stacked = StackedOptimizer(settings, stack)
    single = [build_optimizer(network, settings) for network in networks]
    for step in range(6):
        gradient = torch.randn(3, 8)
        moved = [0, 2] if step % 2 else [0, 1, 2]  # the second has fewer steps
        for i in moved:
            networks[i].weight.grad = gradient[i, :6].view(2, 3).clone()
            networks[i].bias.grad = gradient[i, 6:].clone()
            single[i].step()
        rows = torch.tensor(moved) if len(moved) < 3 else None
        rates = torch.full((3, 1), settings.lr, dtype=torch.float64)
        stacked.update(stack.values, gradient, rates, rows)
    expected = torch.stack([torch.cat([n.weight.flatten(), n.bias]) for n in networks])
    assert torch.allclose(stack.values, expected, atol=1e-6)
    copy = stack.unstack(stack.values[1], nn.Linear(3, 2))
    assert torch.allclose(copy.weight, networks[1].weight, atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (("model.norm=batch",), "batch normalisation"),
        (("train.average=0.9",), "train.average"),
        (("train.memory_gib=1e-6",), "the items take"),
    ],
)
def test_what_stands_in_the_way(small: Dataset, settings: tuple[str, ...], why: str) -> None:
    assert why in (batchable.obstacle(small, tiny(*settings)) or "")


def test_on_a_cpu_dense_layers_pay_and_convolutions_do_not(small: Dataset) -> None:
    assert batchable.pays(small, load(settings=MLP))
    assert not batchable.pays(small, tiny())


def test_not_a_number_is_one_sentence(small: Dataset, tmp_path: Path) -> None:
    config = tiny("train.optimizer.name=sgd", "train.optimizer.lr=1e30")
    with pytest.raises(TrainingError, match=r"not a number any more.*train\.optimizer\.lr=1e\+29"):
        fit(small, config, tmp_path)
    assert not (tmp_path / "0" / "model.json").exists()


def test_out_of_memory_is_one_sentence(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")

    monkeypatch.setattr(together.TogetherTrainer, "_step", full)
    with pytest.raises(TrainingError, match=r"Memory ran out.*train\.batch_size=8"):
        fit(small, tiny(), tmp_path)


def test_a_damaged_checkpoint_is_one_sentence(small: Dataset, tmp_path: Path) -> None:
    fit(small, tiny("train.epochs=1"), tmp_path)
    (tmp_path / "0" / together.CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="damaged or of other folds"):
        fit(small, tiny("train.epochs=1"), tmp_path)
