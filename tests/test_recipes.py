"""Recipes: what they say is what the published experiments did."""

import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from lorgnette import resolve
from lorgnette.config import CnnConfig, Config
from lorgnette.errors import ConfigError
from lorgnette.models import build
from lorgnette.models.summary import input_shape, parameters, recipe_summaries

PUBLISHED = {
    "furia-mlp1": 8_353,
    "furia-mlp2": 8_353,
    "furia-mlp3": 8_497,
    "furia-cnn": 874_753,
    "ghezzi-perceptron": 49_153,
    "ghezzi-best": 1_104_813,
    "schiavoni-base": 425_665,
    "schiavoni-l1": 425_665,
    "schiavoni-l2": 425_665,
    "schiavoni-dropout": 425_665,
}
"""Trained parameters."""
OTHERS = {"dascenzo-cnn", "ghezzi-cnn", "ghezzi-cnn-dropout", "ghezzi-cnn-batchnorm",
          "majerczyk-final"}  # fmt: skip
EXPERIMENTS = sorted(PUBLISHED.keys() | OTHERS)
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "furia-mlp1": [(16,), (8,), (1,)],
    "furia-mlp3": [(16,), (16,), (1,)],
    "furia-cnn": [(16, 126, 126), (16, 63, 63), (32, 59, 59), (32, 29, 29), (26_912,), (32,),
                  (16,), (1,)],
    "ghezzi-perceptron": [(49_152,), (1,)],
    "ghezzi-best": [(12, 128, 128), (12, 64, 64), (44, 64, 64), (44, 32, 32), (44, 32, 32),
                    (44, 16, 16), (11_264,), (96,), (1,)],
    "schiavoni-base": [(32, 173, 173), (32, 86, 86), (32, 42, 42), (32, 21, 21), (32, 10, 10),
                       (3_200,), (128,), (1,)],
}  # fmt: skip
"""Outputs of convolutions, pooling, flattening and dense layers."""


def test_every_experiment_has_its_recipes() -> None:
    assert set(resolve.recipe_names()) >= set(EXPERIMENTS)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_are_those_published(name: str) -> None:
    assert parameters(resolve.load(name)) == PUBLISHED[name]


def test_the_best_of_ghezzi_and_limoncini_has_its_values() -> None:
    with torch.device("meta"):
        network = build(resolve.load("ghezzi-best").model, (3, 128, 128), 2)
    moments = [b.numel() for name, b in network.named_buffers() if "running" in name]
    assert PUBLISHED["ghezzi-best"] + sum(moments) == 1_105_013


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_outputs_have_the_published_shapes(name: str) -> None:
    config = resolve.load(name)
    shape = input_shape(config)
    assert shape is not None
    found: list[tuple[int, ...]] = []
    with torch.device("meta"):
        network = build(config.model, shape, 2).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.Linear) or (
                type(module).__name__ == "FlattenLast"
            ):
                module.register_forward_hook(lambda *args: found.append(tuple(args[2].shape[1:])))
        network(torch.zeros(1, *shape))
    assert found == SHAPES[name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_use_the_constants_of_their_framework(name: str) -> None:
    config = resolve.load(name)
    train, optimizer = config.train, config.train.optimizer
    assert config.model.family != "resnet"
    assert config.model.initialization == "keras"
    assert (optimizer.weight_decay, train.label_smoothing, train.average) == (0, 0, 0)
    if optimizer.name == "adam":
        assert optimizer.betas == (0.9, 0.999)
        assert (optimizer.epsilon, optimizer.epsilon_form) == (1e-7, "keras")
    assert train.schedule.name == ("decay" if name == "ghezzi-perceptron" else "constant")
    assert train.normalize == ("unit" if config.source.features is None else "standard")
    assert train.epochs is not None


@pytest.mark.parametrize("name", resolve.recipe_names())
def test_headers_say_what_is_followed(name: str) -> None:
    text = resolve.header(name)
    assert len(text.splitlines()[0]) < 100
    if name in EXPERIMENTS:
        assert re.match(
            r"# (Furia|D'Ascenzo|Ghezzi & Limoncini|Schiavoni|Majerczyk) 202[12], ", text
        )
        assert "Data: " in text
        assert "Published" in text
    if name in PUBLISHED:
        assert f"{PUBLISHED[name]:,}" in text


def test_details_of_the_experiments() -> None:
    def recipe(name: str) -> Config:
        return resolve.load(name)

    assert recipe("furia-mlp2").model.model_dump() == {
        **recipe("furia-mlp1").model.model_dump(), "dropout": (0.4, 0.0)
    }  # fmt: skip
    split = recipe("furia-cnn").split
    assert (split.train, split.val, split.test) == (0.64, 0.16, 0.2)
    augment = recipe("dascenzo-cnn").train.augment
    assert (augment.flip_horizontal, augment.flip_vertical, augment.rotation) == (True, False, 45)
    variants = {name: recipe(f"ghezzi-cnn{name}").model for name in ("", "-dropout", "-batchnorm")}
    assert all(isinstance(model, CnnConfig) for model in variants.values())
    assert variants["-dropout"] == variants[""].model_copy(update={"dropout": 0.4})
    base = recipe("schiavoni-base")
    assert base.train.augment.rotation == pytest.approx(0.3 * 360)
    assert base.train.augment.invert == 0.5
    for variant in ("l1", "l2", "dropout"):
        other = recipe(f"schiavoni-{variant}")
        assert other.train == base.train
        changed = {key for key, value in other.model if value != getattr(base.model, key)}
        assert changed == {variant}
    final = recipe("majerczyk-final")
    assert (final.model.output, final.train.epochs, final.train.batch_size) == ("softmax", 7, 32)
    assert final.train.optimizer.lr == 0.01


def test_summaries_are_a_line_each() -> None:
    found = {summary.name: summary for summary in recipe_summaries()}
    assert sorted(found) == resolve.recipe_names()
    assert found["furia-mlp3"].parameters == 8_497
    assert found["furia-mlp3"].title.startswith("Furia 2021, MLP 3: ")


@pytest.mark.parametrize(
    ("features", "shape"),
    [("v1..v512", (512,)), ("a,b, c", (3,)), ("v01..v10,age", (11,)), ("v*", None)],
)
def test_the_input_of_vectors(features: str, shape: tuple[int, ...] | None) -> None:
    config = resolve.load("furia-mlp1", overrides={"source.features": features})
    assert input_shape(config) == shape
    assert (parameters(config) is None) == (shape is None)


def test_listing_needs_torch_and_help_does_not() -> None:
    code = "import sys, lorgnette.resolve, lorgnette.cli; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("recipe", "settings", "words"),
    [
        ("furia-mlp", [], "There is no recipe 'furia-mlp': did you mean 'furia-mlp"),
        ("ghezi-best", [], "did you mean 'ghezzi-best'"),
        ("furia-mlp1", ["model.family=perceptrom"], "did you mean 'perceptron'"),
        ("furia-mlp1", ["model.unit=[3]"], "no setting 'model.unit'.*did you mean 'units'"),
        ("furia-mlp1", ["model.drop_out=0.1"], "did you mean 'dropout'"),
        ("ghezzi-perceptron", ["model.units=[3]"], "no setting 'model.units'.*outputs?"),
        ("furia-mlp1", ["model.activation=rellu"], "got 'rellu' .*did you mean 'relu'"),
        ("furia-mlp1", ["model.activation=['relu','tahn']"],
         "activation.1: .*got 'tahn' .*did you mean 'tanh'"),
        ("furia-mlp1", ["model.norm=bacth"], "model.norm: .*got 'bacth' .*did you mean 'batch'"),
        ("furia-mlp1", ["model.initialization=kers"], "did you mean 'keras'"),
        ("furia-mlp1", ["train.normalise=unit"], "did you mean 'normalize'"),
        ("furia-mlp1", ["train.optimizer.epsilon_form=kears"], "did you mean 'keras'"),
        ("furia-mlp1", ["model.dropout=[0.1,0.2,0.3]"],
         "dropout must be one value or one for each of the 2 hidden layers, got 3"),
        ("furia-mlp1", ["model.l1=[0.1]"], "l1 must be .* each of the 2 hidden layers, got 1"),
        ("furia-mlp1", ["model.units=[]"], "units must name at least one hidden layer"),
        ("furia-mlp1", ["model.units=[0]"], "greater than 0, got 0"),
        ("furia-mlp1", ["model.l2=[0,-1]"], "l2.1: .*greater than or equal to 0, got -1"),
        ("furia-mlp1", ["model.l2=-1"], "greater than or equal to 0, got -1"),
        ("furia-cnn", ["model.kernel=[3]"], "kernel must be .* each of the 2 blocks, got 1"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(recipe: str, settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve.load(recipe, settings)
