"""Experiment 2's pipeline as published (D'Ascenzo 2021), in Keras 3 on TensorFlow: a contender.

    python benchmarks/keras_experiment2.py DIR --out FILE.json

DIR holds `{train,val,test}/<class>/`. Files become batches by `image_dataset_from_directory`, which
also resizes them; the pipeline after it is the one of TensorFlow's own guides (cache in memory,
shuffle, prefetch). Augmentation runs inside the model: horizontal flip, translation, rotation up to
±45°, zoom. The network is the one that the published search chose: 3 blocks of 3×3 convolution,
max-pooling, batch normalisation and ReLU, a global average, a dense layer, one sigmoid; Adam at
1e-3; at most 50 epochs, patience 10, the best epoch's weights restored, then one look at the test
part. What the publication leaves open (filters, dense units, strength of translation and zoom) is
set here once: 32, 64 and 128 filters, 128 units, 0.1 and 0.2.

Threads, jit and precision are Keras's defaults: all processors that the process may use; XLA where
there is a GPU; float32. Nothing is printed in training.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf


def read(folder: Path, size: int, batch: int) -> Any:
    """The files of one part as cached batches: float32 (B, size, size, 3) and labels (B, 1)."""
    return keras.utils.image_dataset_from_directory(
        folder,
        label_mode="binary",
        image_size=(size, size),
        batch_size=batch,
        shuffle=folder.name == "train",
        verbose=False,
    )


def build(size: int) -> Any:
    """The network, augmentation included."""
    layers = keras.layers
    stack = [
        layers.Input((size, size, 3)),
        layers.Rescaling(1 / 255),
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomRotation(45 / 360),
        layers.RandomZoom(0.2),
    ]
    for filters in (32, 64, 128):
        stack += [
            layers.Conv2D(filters, 3, padding="same"),
            layers.MaxPooling2D(),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    stack += [
        layers.GlobalAveragePooling2D(),
        layers.Dense(128, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ]
    return keras.Sequential(stack)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="a folder {train,val,test}/<class>/")
    parser.add_argument("--out", type=Path, required=True, help="the figures, as JSON")
    parser.add_argument("--size", type=int, default=64, help="edge of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images per step")
    parser.add_argument("--max-epochs", type=int, default=50, help="epochs at most")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better one")
    parser.add_argument("--seed", type=int, default=0, help="initial weights, order, augmentation")
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    train, val, test = (
        read(options.data / part, options.size, options.batch) for part in ("train", "val", "test")
    )
    items = len(test.file_paths)
    train = train.cache().shuffle(1000).prefetch(tf.data.AUTOTUNE)
    val, test = (part.cache().prefetch(tf.data.AUTOTUNE) for part in (val, test))
    model = build(options.size)
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=options.patience, restore_best_weights=True
    )
    history = model.fit(
        train,
        validation_data=val,
        epochs=options.max_epochs,
        callbacks=[stopping],
        verbose=0,
    )
    figures = model.evaluate(test, verbose=0, return_dict=True)
    facts = {
        "accuracy": figures["accuracy"],
        "n": items,
        "epochs": len(history.epoch),
        "parameters": sum(math.prod(weight.shape) for weight in model.trainable_variables),
    }
    options.out.write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
