import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lorgnette.config import Config
from lorgnette.dataset.split import Split, split
from lorgnette.dataset.store import Dataset
from lorgnette.devices import choose
from lorgnette.errors import TrainingError
from lorgnette.model import Model
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.training import loop
from lorgnette.training.losses import item_losses

SMALL = [
    "model.family=cnn",
    "model.filters=[8, 8]",
    "train.epochs=4",
    "train.batch_size=16",
    "train.augment.flip_horizontal=false",  # left and right are the classes
    "model.dropout=0.2",
    "train.stopping.restore_best=true",
]


def small(*settings: str) -> Config:
    return load(settings=[*SMALL, *settings])


def fit(dataset: Dataset, config: Config, folder: Path) -> tuple[Model, Run]:
    run = Run(folder)
    run.begin(config, dataset.location)
    return loop.train(dataset, split(dataset, config.split, config.seed), config, run), run


def figures(run: Run) -> list[dict[str, Any]]:
    """The history without what depends on the clock."""
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "images_per_second")}
        for line in run.metrics()
    ]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_it_learns(dataset: Dataset, tmp_path: Path) -> None:
    model, run = fit(dataset, small("train.epochs=10"), tmp_path)
    lines = run.metrics()
    assert len(lines) == 10
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    assert lines[-1]["val_accuracy"] == 1.0
    facts = run.read("run.json")["training"]
    assert facts["epochs"] == 10
    assert facts["images"] == 96
    pixels = dataset.read(np.arange(10))
    assert model.probabilities(pixels).shape == (10, 2)
    assert model.probabilities(pixels).sum(axis=1) == pytest.approx(1.0)


def test_the_seed_fixes_everything(dataset: Dataset, tmp_path: Path) -> None:
    fit(dataset, small(), tmp_path / "one")
    fit(dataset, small(), tmp_path / "same")
    fit(dataset, small("seed=1"), tmp_path / "other")
    assert weights(tmp_path / "one") == weights(tmp_path / "same")
    assert weights(tmp_path / "one") != weights(tmp_path / "other")


class Crash(BaseException):
    """Stands for a kill: nothing in the package catches it."""


@pytest.mark.parametrize("crash_at", [0, 3, 6, 7, 17])
@pytest.mark.parametrize(
    "settings", [(), ("train.average=0.9",), ("train.memory_gib=0.00005",)],
    ids=["plain", "average", "stream"],
)  # fmt: skip
def test_taken_up_again_it_ends_the_same(
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crash_at: int,
    settings: tuple[str, ...],
) -> None:
    config = small("train.checkpoint_minutes=1e-9", *settings)
    monkeypatch.setattr(loop, "LOSS_CHECK_STEPS", 2)  # checkpoints inside epochs of six steps
    undisturbed, run = fit(dataset, config, tmp_path / "undisturbed")
    step = loop.Trainer._step
    calls = 0

    def crashing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == crash_at + 1:
            raise Crash
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", crashing)
        with pytest.raises(Crash):
            fit(dataset, config, tmp_path / "crashed")
    again, run_again = fit(dataset, config, tmp_path / "crashed")
    assert figures(run_again) == figures(run)
    assert weights(tmp_path / "crashed") == weights(tmp_path / "undisturbed")
    assert run_again.read("run.json")["training"] == run.read("run.json")["training"]
    assert undisturbed.spec == again.spec


@pytest.mark.slow
def test_sigkill_and_the_same_command_end_the_same(dataset: Dataset, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "lorgnette", "train", dataset.location, "--quiet", "--json"),
        *(word for setting in (*SMALL, "train.epochs=40") for word in ("--set", setting)),
    ]
    whole = subprocess.run(
        [*command, "--out", str(tmp_path / "whole")], check=True, capture_output=True, text=True
    )
    killed = 0
    for epochs in (3, 15, 30):
        process = subprocess.Popen([*command, "--out", str(tmp_path / "killed")],
                                   stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        metrics = tmp_path / "killed" / "metrics.jsonl"
        while process.poll() is None:
            if metrics.exists() and len(metrics.read_text().splitlines()) >= epochs:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.002)
        process.wait()
    assert killed >= 2
    again = subprocess.run(
        [*command, "--out", str(tmp_path / "killed")], check=True, capture_output=True, text=True
    )
    one, two = (json.loads(done.stdout.splitlines()[-1]) for done in (whole, again))
    assert one["test"] == two["test"]
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")


def test_a_stream_learns_too(dataset: Dataset, tmp_path: Path) -> None:
    _, run = fit(dataset, small("train.epochs=10", "train.memory_gib=0.0001"), tmp_path)
    assert run.metrics()[-1]["val_accuracy"] == 1.0


def test_not_a_number_is_one_sentence_and_the_checkpoint_stays(
    dataset: Dataset, tmp_path: Path
) -> None:
    config = small("train.optimizer.name=sgd", "train.optimizer.lr=1e30", "model.norm=none")
    with pytest.raises(TrainingError, match=r"not a number any more.*train\.optimizer\.lr=1e\+29"):
        fit(dataset, config, tmp_path)
    assert not (tmp_path / "model.json").exists()


def test_patience_stops_and_the_best_epoch_is_kept(dataset: Dataset, tmp_path: Path) -> None:
    config = small(
        "train.epochs=60", "train.stopping.patience=3", "train.schedule.name=constant",
        "train.optimizer.lr=0.01",
    )  # fmt: skip
    model, run = fit(dataset, config, tmp_path)
    facts = run.read("run.json")["training"]
    losses = [line["val_loss"] for line in run.metrics()]
    assert facts["epochs"] < 60
    assert facts["stopped"] == "no better epoch in 3"
    assert facts["best_epoch"] == int(np.argmin(losses)) + 1 == facts["epochs"] - 3
    parts = split(dataset, config.split, config.seed)
    assert validation_loss(model, dataset, parts) == pytest.approx(min(losses), abs=2e-3)


def validation_loss(model: Model, dataset: Dataset, parts: Split) -> float:
    rows = parts.indices("val")
    chances = model.probabilities(dataset.read(rows))
    return float(-np.log(chances[np.arange(len(rows)), dataset.labels()[rows]]).mean())


def test_the_test_part_is_not_looked_at(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    test = set(split(dataset, config.split, config.seed).indices("test").tolist())
    read = Dataset.read
    seen: set[int] = set()

    def watched(self: Dataset, indices: Any, size: int | None = None) -> Any:
        seen.update(np.asarray(indices).tolist())
        return read(self, indices, size)

    monkeypatch.setattr(Dataset, "read", watched)
    fit(dataset, config, tmp_path)
    assert seen
    assert not seen & test


def test_out_of_memory_is_one_sentence(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")

    monkeypatch.setattr(loop.Trainer, "_step", full)
    with pytest.raises(TrainingError, match=r"Memory ran out.*train\.batch_size=8"):
        fit(dataset, small(), tmp_path)


def test_a_damaged_checkpoint_is_one_sentence(dataset: Dataset, tmp_path: Path) -> None:
    fit(dataset, small("train.epochs=1"), tmp_path)
    (tmp_path / "checkpoints" / "last.safetensors").write_bytes(b"nonsense")
    (tmp_path / "model.json").unlink()
    with pytest.raises(TrainingError, match="damaged or of another network"):
        fit(dataset, small("train.epochs=1"), tmp_path)


@pytest.mark.parametrize(("items", "epochs"), [(1600, 14), (100, 100), (10**8, 12)])
def test_default_epochs(items: int, epochs: int) -> None:
    assert loop.default_epochs(items) == epochs


def test_class_weights_are_balanced(dataset: Dataset, tmp_path: Path) -> None:
    config = small("train.class_weights=balanced")
    run = Run(tmp_path)
    trainer = loop.Trainer(
        config.train, 1, 0, fit(dataset, config, tmp_path / "x")[0].spec, torch.nn.Linear(1, 1),
        choose("cpu"), run,
    )  # fmt: skip
    trainer.weigh_classes(np.array([0, 0, 0, 1], np.int32))
    assert trainer.class_weights is not None
    assert trainer.class_weights.tolist() == pytest.approx([4 / 6, 2.0])


def test_one_logit_and_two_give_the_same_loss() -> None:
    logit = torch.tensor([[0.3], [-1.2]])
    two = torch.cat([torch.zeros(2, 1), logit], dim=1)
    labels = torch.tensor([1, 0])
    for smoothing in (0.0, 0.1):
        one = item_losses(logit, labels, smoothing)
        assert torch.allclose(one, item_losses(two, labels, smoothing), atol=1e-6)
