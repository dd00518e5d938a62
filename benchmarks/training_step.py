"""Training steps a second, of every published architecture, against Keras on TensorFlow.

    python benchmarks/training_step.py          # an idle machine, and the extra `benchmarks`

Both sides train the same network on the same data from memory, in the recipe's batch size, with
Adam and the recipe's penalties and dropout, without augmentation and without validation. Lorgnette
runs the loop that `lorgnette train` runs, from stored uint8 (or float32 vectors), in float32 and in
bfloat16 (vectors: float32 only, as in training). Keras runs `fit` on float32 arrays that are
already scaled, through a prefetching `tf.data` pipeline, in float32 and in `mixed_bfloat16`.

Contenders take turns, each in a process of its own; the first epoch warms up and is not counted.
Medians over rounds; "ratio" is ours at its best to Keras at its best.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from record import RESULTS, Cell, save

RECIPES = (
    "furia-mlp1", "furia-mlp2", "furia-mlp3", "furia-cnn", "dascenzo-cnn", "ghezzi-perceptron",
    "ghezzi-cnn", "ghezzi-cnn-batchnorm", "ghezzi-best", "schiavoni-base", "majerczyk-final",
)  # fmt: skip
CONTENDERS = ("lorgnette float32", "lorgnette bfloat16", "keras float32", "keras bfloat16")
EPOCHS = 2


def items_of(config: Any) -> int:
    """Enough for a second or so."""
    if config.source.features:
        return 20_480
    return {350: 128, 128: 640, 64: 1536}[config.prepare.size[0]]


def data(config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, 512) or pixels (n, H, W, C), and labels (n,)."""
    rng = np.random.default_rng(0)
    n = items_of(config)
    labels = rng.integers(0, 2, n)
    if config.source.features:
        return rng.standard_normal((n, 512)).astype(np.float32), labels
    edge, channels = config.prepare.size[0], 3 if config.prepare.color == "rgb" else 1
    return rng.integers(0, 256, (n, edge, edge, channels), np.uint8), labels


def lorgnette_rate(recipe: str, precision: str) -> float:
    """Items a second in Lorgnette's own loop."""
    import torch

    from lorgnette import resolve
    from lorgnette.config import Augment
    from lorgnette.devices import choose
    from lorgnette.memory import kept_memory
    from lorgnette.model import ModelSpec
    from lorgnette.models import build
    from lorgnette.progress import Silent
    from lorgnette.rundir import Run
    from lorgnette.training.batches import MemoryFeed, steps_per_epoch
    from lorgnette.training.loop import Trainer

    config = resolve.load(recipe)
    items, labels = data(config)
    settings = config.train.model_copy(update={"augment": Augment()})
    device = choose("cpu", precision)
    vectors = items.ndim == 2
    width = items.shape[-1]
    spec = ModelSpec(
        model=config.model,
        classes=("no", "yes"),
        features=tuple(f"v{k}" for k in range(width)) if vectors else (),
        size=0 if vectors else items.shape[1],
        color=config.prepare.color,
        fit="crop",
        mean=(0.0,) * width,
        deviation=(1.0 if vectors else 255.0,) * width,
    )
    torch.manual_seed(0)
    network = device.place(build(config.model, spec.input_shape, 2))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(settings, EPOCHS + 1, 0, spec, network, device, Run(folder))
        feed = trainer.prepared(
            MemoryFeed(torch.from_numpy(items), torch.from_numpy(labels), device)
        )
        steps = steps_per_epoch(len(labels), settings.batch_size)
        seconds = []
        with kept_memory():  # as `train` does
            for epoch in range(EPOCHS + 1):
                trainer.progress.epoch, trainer.progress.step = epoch, 0
                start = time.perf_counter()
                trainer._train_epoch(feed, steps, Silent())
                seconds.append(time.perf_counter() - start)
    return len(labels) * EPOCHS / sum(seconds[1:])


def keras_rate(recipe: str, precision: str) -> float:
    """Items a second in Keras's `fit`."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    from lorgnette import resolve

    config = resolve.load(recipe)
    items, labels = data(config)
    keras.mixed_precision.set_global_policy(
        "float32" if precision == "float32" else "mixed_bfloat16"
    )
    network = keras_network(config.model, items.shape[1:])
    softmax = config.model.output == "softmax"
    network.compile(
        optimizer=keras.optimizers.Adam(config.train.optimizer.lr),
        loss="sparse_categorical_crossentropy" if softmax else "binary_crossentropy",
        metrics=["accuracy"],
    )
    scaled = items if items.ndim == 2 else items.astype(np.float32) / 255
    targets = labels if softmax else labels[:, None].astype(np.float32)
    feed = (
        tf.data.Dataset.from_tensor_slices((scaled, targets))
        .shuffle(len(labels), seed=0)
        .batch(config.train.batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    network.fit(feed, epochs=1, verbose=0)
    start = time.perf_counter()
    network.fit(feed, epochs=EPOCHS, verbose=0)
    return len(labels) * EPOCHS / (time.perf_counter() - start)


def keras_network(model: Any, shape: tuple[int, ...]) -> Any:
    """The same network in Keras."""
    import keras

    layers = keras.layers

    def one(value: Any, place: int) -> Any:
        return value[place] if isinstance(value, tuple) else value

    def penalty(place: int) -> Any:
        return keras.regularizers.L1L2(one(model.l1, place), one(model.l2, place))

    stack: list[Any] = [layers.Input(shape)]
    if model.family == "cnn":
        pools = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}
        for place, filters in enumerate(model.filters):
            for step in model.order:
                if step == "conv":
                    stack.append(
                        layers.Conv2D(
                            filters,
                            one(model.kernel, place),
                            one(model.stride, place),
                            model.padding,
                            kernel_regularizer=penalty(place),
                        )
                    )
                elif step == "pool" and one(model.pool, place) != "none":
                    stack.append(pools[one(model.pool, place)](model.pool_size))
                elif step == "norm" and model.norm == "batch":
                    stack.append(layers.BatchNormalization(scale=model.norm_scale))
                elif step == "activation":
                    stack.append(layers.Activation(model.activation))
        heads = {
            "flatten": layers.Flatten,
            "average": layers.GlobalAveragePooling2D,
            "max": layers.GlobalMaxPooling2D,
        }
        stack.append(heads[model.head]())
        hidden, before = model.dense, len(model.filters)
    else:
        stack += [layers.Flatten()] if len(shape) > 1 else []
        hidden, before = getattr(model, "units", ()), 0
    for place, units in enumerate(hidden):
        stack.append(layers.Dense(units, kernel_regularizer=penalty(before + place)))
        stack.append(layers.Activation(one(model.activation, place)))
        if one(model.dropout, place):
            stack.append(layers.Dropout(one(model.dropout, place)))
    two = model.output == "softmax"
    stack.append(layers.Dense(2 if two else 1))
    stack.append(layers.Activation("softmax" if two else "sigmoid", dtype="float32"))
    return keras.Sequential(stack)


def measure(recipe: str, contender: str) -> float | None:
    """Items a second of one contender in a process of its own; None where it cannot run."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", recipe, contender],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{contender} did not run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        recipe, contender = arguments.one
        side, precision = contender.split()
        print(
            json.dumps((lorgnette_rate if side == "lorgnette" else keras_rate)(recipe, precision))
        )
        return
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for recipe in arguments.recipes:
            for contender in CONTENDERS:
                if "mlp" in recipe and contender == "lorgnette bfloat16":
                    continue  # vectors are always trained in float32
                rate = measure(recipe, contender)
                if rate is not None:
                    found.setdefault((recipe, contender), []).append(rate)
    rows: list[list[Cell]] = []
    for recipe in arguments.recipes:
        medians = {
            contender: statistics.median(found[recipe, contender])
            for contender in CONTENDERS
            if (recipe, contender) in found
        }
        best = {
            side: max((v for c, v in medians.items() if c.startswith(side)), default=None)
            for side in ("lorgnette", "keras")
        }
        ratio = best["lorgnette"] / best["keras"] if best["lorgnette"] and best["keras"] else None
        cells = [None if c not in medians else round(medians[c], 1) for c in CONTENDERS]
        rows.append([recipe, *cells, None if ratio is None else round(ratio, 2)])
        print(*rows[-1], sep="\t", flush=True)
    columns = ("recipe", *(c.replace(" ", "_") for c in CONTENDERS), "ratio")
    save(RESULTS / "training_step.csv", columns, rows, packages=("keras", "tensorflow"))


if __name__ == "__main__":
    main()
