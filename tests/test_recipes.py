"""Recipes: what they say is what the published experiments did."""

import re
import subprocess
import sys

import optuna
import pytest
import torch
from torch import nn

from lorgnette import resolve
from lorgnette.config import CnnConfig, Config, MlpConfig
from lorgnette.errors import ConfigError
from lorgnette.models import build
from lorgnette.models.summary import input_shape, parameters, recipe_summaries
from lorgnette.tuning.settings import TuneConfig, stages
from lorgnette.tuning.settings import parse as parse_tune
from lorgnette.tuning.space import Space

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
STUDIES = {
    "furia-bayes": "furia-mlp1",
    "dascenzo-size": "dascenzo-cnn",
    "dascenzo-layers": "dascenzo-cnn",
    "dascenzo-search": "dascenzo-cnn",
    "ghezzi-hyperband": "ghezzi-best",
    "majerczyk-grid": "majerczyk-final",
}
"""Searches, and the recipe whose constants they share."""


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


def study(name: str) -> tuple[Space, TuneConfig]:
    data = resolve.data(name)
    tune = parse_tune(data.pop("tune"), name)
    return Space.parse(data, name), tune


def test_every_published_search_is_a_study() -> None:
    assert set(resolve.study_names()) == {*STUDIES, "quick"}
    assert not set(resolve.study_names()) & set(resolve.recipe_names())
    with pytest.raises(ConfigError, match="did you mean 'dascenzo-search'"):
        resolve.data("dascenzo-serch")


@pytest.mark.parametrize("name", resolve.study_names())
def test_studies_say_what_they_follow_and_are_searches(name: str) -> None:
    text = resolve.header(name)
    assert len(text.splitlines()[0]) < 100
    if name in STUDIES:
        assert re.match(r"# (Furia|D'Ascenzo|Ghezzi & Limoncini|Majerczyk) 202[12], ", text)
        for part in ("Data: ", "Published: ", "Not published, and chosen here: ", "Figures "):
            assert part in text
    with pytest.raises(ConfigError, match=f"Recipe {name} is a search .*lorgnette tune"):
        resolve.load(name)


@pytest.mark.parametrize("name", resolve.study_names())
def test_networks_of_studies_can_be_built(name: str) -> None:
    """The default's, and those that are drawn: none of these spaces has an impossible network."""
    space, tune = study(name)
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for settings, spaces in stages(tune):
        space = space.further({}, spaces) if spaces else space
        assert settings.objective in ("val_accuracy", "val_loss")
        assert (parameters(space.config({})) or 0) > 1000
        counts = {parameters(space.config(space.suggest(drawn.ask()))) for _ in range(12)}
        assert len(counts) > 3 or spaces


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_studies_share_the_constants_of_their_recipe(name: str) -> None:
    """What neither is searched nor belongs to the search is as in the recipe."""
    space, _ = study(name)
    found = flat(space.config({}).model_dump())
    recipe = flat(resolve.load(STUDIES[name]).model_dump())
    own = {"recipe", "seed", "prepare.size", "train.epochs", "train.stopping.patience"}
    own |= {setting.key for setting in space.searched}
    if name == "majerczyk-grid":
        own |= {"split.train", "split.val", "split.test", "train.optimizer.lr"}
    for key in found:
        assert key in own or found[key] == recipe[key], key


def flat(data: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def searched(space: Space) -> dict[str, object]:
    """Choices, or low and high, of each parameter."""
    return {d.key: list(d.choices) or (d.low, d.high) for d in space.dimensions}


def test_furias_bayesian_search() -> None:
    space, tune = study("furia-bayes")
    assert (tune.sampler, tune.trials, tune.executions) == ("gp", 10, 5)
    assert tune.objective == "val_loss"
    found = searched(space)
    for layer in range(4):
        assert found[f"model.units.{layer}"] == (8, 256)
    assert {"model.units.length", "model.l1", "model.l2", "model.activation"} <= found.keys()
    optimizer = {key.split(".")[2] for key in found if key.startswith("train.optimizer.")}
    assert optimizer == {"lr", "betas", "epsilon"}
    model = space.config({}).model
    assert isinstance(model, MlpConfig)
    assert parameters(space.config({})) == PUBLISHED["furia-mlp1"]


def test_dascenzos_searches() -> None:
    for name, trials, epochs, patience in (
        ("dascenzo-size", 15, 50, 5),
        ("dascenzo-layers", 100, 50, 10),
        ("dascenzo-search", 150, 100, 10),
    ):
        space, tune = study(name)
        config = space.config({})
        assert (tune.sampler, tune.trials, config.seed) == ("random", trials, 1337)
        assert (config.train.epochs, config.train.stopping.patience) == (epochs, patience)
        assert (config.train.optimizer.name, config.train.augment.rotation) == ("adam", 45)

    space, tune = study("dascenzo-size")
    sizes = searched(space)["train.size"]
    assert sizes == [64, 128, 256] == list(space.config({}).prepare.size)
    assert (tune.balanced, tune.default_first) == (("train.size",), False)
    assert tune.trials == 5 * 3
    layers, _ = study("dascenzo-layers")
    assert searched(layers)["model.filters.length"] == (1, 5)
    assert searched(layers)["train.optimizer.name"] == ["adam", "sgd"]
    best, tune = study("dascenzo-search")
    assert "train.optimizer.name" not in searched(best)
    assert [key for key in searched(best) if "filters" in key] == [
        f"model.filters.{layer}" for layer in range(3)
    ]
    assert tune.keep == 100
    assert [(each.combine, each.select, each.above) for each in tune.ensembles] == [
        ("average", "all", 0.89), ("vote", "all", 0.89)
    ]  # fmt: skip


def test_the_search_of_ghezzi_and_limoncini() -> None:
    space, tune = study("ghezzi-hyperband")
    assert (tune.sampler, tune.pruner, tune.trials) == ("random", "hyperband", 30)
    assert space.config({}).train.epochs == 20
    found = searched(space)
    assert found["model.filters.length"] == (2, 4)
    for layer in range(4):
        assert found[f"model.filters.{layer}"] == (12, 64)
        assert found[f"model.kernel.{layer}"] == [3, 5]
    assert found["model.dense.0"] == (32, 200)
    assert found["model.pool"] == ["max", "average"]
    assert found["train.optimizer.lr"] == [1e-2, 1e-3, 1e-4]
    # Their best model is one of the points, and not the first.
    values = {"model.filters": [12, 44, 44], "model.kernel": [5, 3, 3], "model.pool": "max",
              "model.dense": [96], "train.optimizer.lr": 1e-3}  # fmt: skip
    for key, value in values.items():
        for i, one in enumerate(value if isinstance(value, list) else [value]):
            name = f"{key}.{i}" if isinstance(value, list) else key
            assert space.dimension(name).holds(one)
    best = resolve.load("ghezzi-best")
    assert parameters(space.config(values)) == PUBLISHED["ghezzi-best"]
    assert space.config({}).model != best.model


def test_majerczyks_grid() -> None:
    space, tune = study("majerczyk-grid")
    config = space.config({})
    assert (config.split.train, config.train.epochs, config.train.batch_size) == (4000, 5, 32)
    points = [space.config(space.values(point)).model for point in space.grid()]
    assert len(points) == 9
    shapes = set()
    for model in points:
        assert isinstance(model, CnnConfig)
        assert {*model.filters, *model.dense} == {model.filters[0]}
        shapes.add((len(model.filters), model.filters[0]))
    assert shapes == {(layers, size) for layers in (1, 2, 3) for size in (32, 64, 128)}
    (_, first), (second, spaces) = stages(tune)
    assert (first, tune.sampler, second.sampler) == ({}, "grid", "grid")
    then = space.further({"model.filters": [32, 32, 32]}, spaces)
    found = {(c.model.dropout, c.train.optimizer.lr)  # type: ignore[union-attr]
             for c in (then.config(then.values(point)) for point in then.grid())}  # fmt: skip
    assert found == {(dropout, lr) for dropout in (0.5, 0.7) for lr in (0.01, 0.001)}
    assert (tune.retrain, tune.retrain_epochs) == (True, 10)
    best = then.config({"model.dropout": 0.5, "train.optimizer.lr": 0.01})
    final = resolve.load("majerczyk-final")
    assert best.model == final.model
    assert best.train.optimizer == final.train.optimizer


def test_the_first_trial_of_the_quick_search_is_the_default_recipe() -> None:
    space, tune = study("quick")
    assert space.config({}).model_copy(update={"recipe": "default"}) == resolve.load()
    assert tune.default_first
    assert tune.trials == 30
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()
    config = space.config(space.suggest(drawn))
    assert config.train.augment.zoom_out == config.train.augment.zoom_in
