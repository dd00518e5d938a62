"""KerasTuner's random search over plain convolutional networks: a contender of `tune.py keras`.

    python benchmarks/keras_tuner_search.py PICTURES.npz TRIALS.json --out FOLDER

PICTURES.npz holds `train`, `val` (uint8, (N, H, W, 3)) and `train_labels`, `val_labels` (N,);
TRIALS.json a list of settings, one object for each trial. The search is `RandomSearch` in all but
the draw: its oracle takes the listed settings one after another, so that both sides train the same
networks. Everything else is KerasTuner's own: it builds, trains and judges each model and keeps the
weights of its best epoch on disk. Pictures wait in memory as float32 in [0, 1], batches are
shuffled and prefetched by `tf.data`; threads and jit are Keras's defaults.

With KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set it is a chief or a
worker of KerasTuner's distributed search. At the end it prints one JSON object: when the search
began and ended (seconds since 1970), and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
import tensorflow as tf


class Listed(keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
    """Random search over a list of settings that somebody drew before."""

    def __init__(self, settings: list[dict[str, Any]], **options: Any) -> None:
        super().__init__(max_trials=len(settings), **options)
        self.settings = settings

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The settings of the trial of this number."""
        if int(trial_id) >= len(self.settings):
            return {"status": keras_tuner.engine.trial.TrialStatus.STOPPED, "values": None}
        values = self.settings[int(trial_id)]
        return {"status": keras_tuner.engine.trial.TrialStatus.RUNNING, "values": dict(values)}


def build(shape: tuple[int, ...], augmented: bool, settings: Any) -> Any:
    """The network of a trial, compiled."""
    layers = keras.layers
    stack = [layers.Input(shape)]
    if augmented:
        stack += [
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(0.1, 0.1),
            layers.RandomRotation(45 / 360),
            layers.RandomZoom(0.2),
        ]
    pools = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}
    pool = pools[settings.Choice("pool", ["max", "average"])]
    for filters in (32, 64, 128)[: settings.Int("blocks", 1, 3)]:
        stack += [
            layers.Conv2D(filters, 3, padding="same"),
            pool(2),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    stack += [
        layers.GlobalAveragePooling2D(),
        layers.Dense(settings.Choice("dense", [32, 64, 128]), activation="relu"),
        layers.Dense(1),
        layers.Activation("sigmoid", dtype="float32"),
    ]
    network = keras.Sequential(stack)
    rate = settings.Float("rate", 1e-4, 1e-2, sampling="log")
    optimizer = {
        "adam": lambda: keras.optimizers.Adam(rate),
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    }[settings.Choice("optimizer", ["adam", "sgd"])]()
    network.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("trials", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where KerasTuner works")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--augment", action="store_true")
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    policy = "mixed_bfloat16" if options.precision == "bfloat16" else "float32"
    keras.mixed_precision.set_global_policy(policy)
    with np.load(options.pictures) as file:
        arrays = {name: file[name] for name in file.files}
    shape = arrays["train"].shape[1:]

    def feed(part: str) -> Any:
        pixels = arrays[part].astype(np.float32) / 255
        labels = arrays[f"{part}_labels"][:, None].astype(np.float32)
        found = tf.data.Dataset.from_tensor_slices((pixels, labels))
        if part == "train":
            found = found.shuffle(len(labels), seed=options.seed)
        return found.batch(options.batch).prefetch(tf.data.AUTOTUNE)

    train, val = feed("train"), feed("val")
    began = time.time()
    tuner = keras_tuner.Tuner(
        Listed(json.loads(options.trials.read_text()), objective="val_accuracy", seed=options.seed),
        lambda settings: build(shape, options.augment, settings),
        directory=str(options.out),
        project_name="search",
    )
    tuner.search(train, validation_data=val, epochs=options.epochs, verbose=0)
    facts = {
        "began": began,
        "ended": time.time(),
        "versions": {
            name: version(name) for name in ("tensorflow", "keras", "keras-tuner", "numpy")
        },
        "python": platform.python_version(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
