"""Write what Keras makes of three published networks, a forward pass and a few steps of Adam each.

    python tests/golden/make_keras_golden.py

It needs Keras 3 on TensorFlow; the tests do not, they read the JSON beside this file. Weights and
inputs come from NumPy's generator by seed (`parameters`, `batches`), so that both sides begin with
the same and only results are stored. Where results are large, a sum, a sum of absolute values and
some places stand for all.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FOLDER = Path(__file__).parent
STEPS = {"furia_cnn": 3, "furia_mlp3": 3, "ghezzi_best": 1}
"""Norms over four pictures amplify rounding: of the network with norms the first step is kept."""
PLACES = 24
"""How many values of each tensor are stored."""

INPUTS: dict[str, tuple[int, ...]] = {
    "furia_cnn": (6, 128, 128, 1),
    "furia_mlp3": (8, 512),
    "ghezzi_best": (4, 128, 128, 3),
}
"""Network -> the shape of a batch, channels last."""

RATES = {"furia_cnn": 1e-3, "furia_mlp3": 1e-4, "ghezzi_best": 1e-3}
BETAS = (0.9, 0.999)
EPSILON = 1e-7


def path(name: str) -> Path:
    """Where the results of a network are."""
    return FOLDER / f"keras_{name}.json"


def batches(name: str) -> list[tuple[Array, NDArray[np.int64]]]:
    """A batch for each step: inputs from 0 to 1 (vectors: normal), labels 0 and 1."""
    rng = np.random.default_rng(2021)
    shape = INPUTS[name]
    found = []
    for _ in range(STEPS[name]):
        draw = rng.normal(size=shape) if len(shape) == 2 else rng.random(shape)
        labels = np.arange(shape[0]) % 2
        found.append((draw.astype(np.float32), rng.permutation(labels)))
    return found


def parameters(shapes: list[tuple[str, tuple[int, ...]]]) -> list[Array]:
    """Values for variables in Keras's order, kind and layout.

    Args:
        shapes: kind (`kernel`, `bias`, `gamma`, `beta`, `moving_mean`, `moving_variance`) and shape
            of each; a kernel is (in, out) or (height, width, in, out).
    """
    rng = np.random.default_rng(512)
    values = []
    for kind, shape in shapes:
        if kind == "kernel":
            field = math.prod(shape[:-2])
            limit = math.sqrt(6 / (field * (shape[-2] + shape[-1])))
            value = rng.uniform(-limit, limit, shape)
        elif kind == "moving_variance":
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.uniform(-0.05, 0.05, shape)
        values.append(value.astype(np.float32))
    return values


def facts(tensor: NDArray[Any]) -> dict[str, Any]:
    """What stands for a tensor in Keras's layout."""
    flat = np.asarray(tensor, np.float64).reshape(-1)
    places = np.linspace(0, len(flat) - 1, min(PLACES, len(flat))).astype(np.int64)
    return {
        "sum": float(f"{flat.sum():.9g}"),
        "absolute": float(f"{np.abs(flat).sum():.9g}"),
        "places": [float(f"{value:.9g}") for value in flat[places]],
    }


def build(name: str, dropout: bool) -> Any:
    """The network as published, up to its probability; the layer before that is its logit."""
    import keras

    layers = keras.layers
    stack: list[Any] = [layers.Input(INPUTS[name][1:])]
    if name == "furia_cnn":
        stack += [
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(16, activation="relu"),
        ]
    elif name == "furia_mlp3":
        stack += [
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.4 if dropout else 0.0),
            layers.Dense(
                16, activation="relu", kernel_regularizer=keras.regularizers.L1L2(1e-5, 1e-5)
            ),
            layers.Dropout(0.3 if dropout else 0.0),
        ]
    else:
        for filters, kernel in ((12, 5), (44, 3), (44, 3)):
            stack += [
                layers.Conv2D(filters, kernel, padding="same"),
                layers.MaxPooling2D(2),
                layers.BatchNormalization(scale=False),
                layers.ReLU(),
            ]
        stack += [layers.Flatten(), layers.Dense(96, activation="relu")]
    stack += [layers.Dense(1, name="logit"), layers.Activation("sigmoid")]
    network = keras.Sequential(stack)
    network.set_weights(parameters(kinds(network)))
    return network


def kinds(network: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Kind and shape of each variable, in the order of `get_weights`."""
    return [(weight.name, tuple(weight.shape)) for weight in network.weights]


def results(name: str) -> dict[str, Any]:
    """Logits of the first batch in inference; losses and variables after each step of Adam."""
    import keras

    made = batches(name)
    published = build(name, dropout=True)
    logits = keras.Model(published.inputs[0], published.get_layer("logit").output)
    network = build(name, dropout=False)
    network.compile(
        optimizer=keras.optimizers.Adam(
            RATES[name], beta_1=BETAS[0], beta_2=BETAS[1], epsilon=EPSILON
        ),
        loss="binary_crossentropy",
    )
    steps = []
    for inputs, labels in made:
        loss = network.train_on_batch(inputs, labels[:, None].astype(np.float32))
        steps.append({"loss": float(loss), "variables": [facts(w) for w in network.get_weights()]})
        network.reset_metrics()
    return {
        "keras": keras.__version__,
        "parameters": sum(math.prod(w.shape) for w in published.trainable_weights),
        "values": published.count_params(),
        "shapes": [list(layer.output.shape[1:]) for layer in published.layers],
        "variables": [[kind, list(shape)] for kind, shape in kinds(published)],
        "logits": [float(value) for value in logits(made[0][0], training=False).numpy().ravel()],
        "steps": steps,
    }


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for name in INPUTS:
        path(name).write_text(json.dumps(results(name)) + "\n")
