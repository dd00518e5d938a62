"""Small trained runs on one dataset, for the tests of ensembles."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.evaluation.evaluate import evaluate
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.training import loop
from pictures import encoded

MLP = ["model.family=mlp", "model.units=[5]"]
CNN = ["model.family=cnn", "model.filters=[4]", "model.head=flatten"]
TINY = [
    "train.epochs=5", "train.batch_size=16", "train.device=cpu", "train.precision=float32",
    "train.optimizer.lr=0.01", "train.augment.flip_horizontal=false",
    "split.train=0.5", "split.val=0.25", "split.test=0.25",
]  # fmt: skip


def folder_of(root: Path, each: int, classes: tuple[str, ...], strength: float) -> Path:
    """ROOT/<class>/<number>.png: a side is brighter by so little that some cannot be told."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(each):
            rng = np.random.default_rng([label, number])
            pixels = rng.integers(0, 160, (16, 16, 3)) + rng.integers(0, 40)
            lighter = (np.s_[:, :8], np.s_[:, 8:], np.s_[:8])[label]
            pixels[lighter] += int(rng.normal(strength, 16))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            (root / name / f"{number:04d}.png").write_bytes(encoded(image))
    return root


def pictures(
    root: Path, classes: tuple[str, ...] = ("a", "b"), *, each: int = 40,
    size: tuple[int, ...] = (8,), strength: float = 30.0,
) -> Dataset:  # fmt: skip
    """A dataset of pictures, `each` of a class, whose sides differ by `strength` grey levels."""
    source = SourceConfig(location=str(folder_of(root / "source", each, classes, strength)))
    return prepare(source, str(root / "data"), PrepareConfig(size=size), LocalEngine(1))


def vectors(root: Path, *, holes: bool = False) -> Dataset:
    """120 points of three numbers; with holes, some of the numbers are missing."""
    rng = np.random.default_rng(0)
    points = rng.normal(3, 2, (120, 3))
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "points.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "x", "y", "z", "label"])
        for n, point in enumerate(points):
            cells = [f"{value:.5f}" for value in point]
            if holes and n % 5 == 0:
                cells[n % 3] = ""
            writer.writerow([f"p{n}", *cells, "high" if point.sum() > 9 else "low"])
    source = SourceConfig(location=str(root / "points.csv"), kind="table", features="x,y,z")
    settings = PrepareConfig(missing="mean" if holes else "error")
    return prepare(source, str(root / "data"), settings, LocalEngine(1))


def trained(dataset: Dataset, out: Path, *settings: str, judged: bool = True) -> Run:
    """A run as `lorgnette train` leaves it, but for the report."""
    info = dataset.info
    config = load(settings=[*TINY, *(MLP if "model.family" not in "".join(settings) else []),
                            *settings])  # fmt: skip
    config = config.model_copy(update={"source": info.source, "prepare": info.prepare})
    run = Run(out)
    run.begin(config, dataset.location)
    parts = run.divide(dataset)
    model = loop.train(dataset, parts, config, run)
    if judged:
        evaluate(model, dataset, parts, run)
    return run
