"""Spaces: what is written is what is drawn, and what cannot be is refused in a sentence."""

import itertools
import json
import re
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from lorgnette import resolve
from lorgnette.config import CnnConfig, MlpConfig, PerceptronConfig, ResnetConfig
from lorgnette.errors import ConfigError
from lorgnette.tuning.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


def space(recipe: str = "default", **spaces: Any) -> Space:
    """The space of a recipe with spaces over it; `__` stands for a dot."""
    overrides = {key.replace("__", "."): value for key, value in spaces.items()}
    return Space.parse(resolve.data(recipe, overrides=overrides), "here")


def draws(of: Space, count: int = 20, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return [of.suggest(study.ask()) for _ in range(count)]


def test_without_spaces_there_is_one_point() -> None:
    of = space()
    assert of.dimensions == ()
    assert of.config({}) == resolve.load()
    assert list(of.grid()) == [{}]


def test_ranges_have_the_type_of_their_setting() -> None:
    of = space(
        train__batch_size={"range": [16, 64]},
        train__optimizer__lr={"log": [1e-4, 1e-2]},
        train__augment__rotation={"range": [0, 45]},
        model__widths={"length": {"choice": [3]}, "each": {"log": [8, 128]}},
        model__blocks=0,
    )
    for values in draws(of):
        config = of.config(values)
        assert isinstance(values["train.batch_size"], int)
        assert isinstance(values["train.augment.rotation"], float)
        assert 16 <= config.train.batch_size <= 64
        assert 1e-4 <= config.train.optimizer.lr <= 1e-2
        assert isinstance(config.model, ResnetConfig)
        assert len(config.model.widths) == 3
        assert all(isinstance(width, int) for width in values["model.widths"])
    assert len({values["train.batch_size"] for values in draws(of)}) > 5


def test_logarithms_are_uniform() -> None:
    of = space(train__optimizer__lr={"log": [1e-4, 1.0]})
    below = sum(values["train.optimizer.lr"] < 1e-2 for values in draws(of, 200))
    assert 70 < below < 130


def test_steps_are_clean_points() -> None:
    of = space(train__label_smoothing={"range": [0.0, 0.35], "step": 0.1})
    assert {values["train.label_smoothing"] for values in draws(of, 40)} == {0.0, 0.1, 0.2, 0.3}
    assert [point["train.label_smoothing"] for point in of.grid()] == [0.0, 0.1, 0.2, 0.3]
    assert of.describe()[0]["high"] == 0.3
    of = space(train__batch_size={"range": [8, 40], "step": 16})
    assert [point["train.batch_size"] for point in of.grid()] == [8, 24, 40]


def test_lists_can_be_choices() -> None:
    of = space("furia-mlp1", model__units={"choice": [[16, 8], [32], [8, 8, 8]]})
    stored = [point["model.units"] for point in of.grid()]
    assert stored == ["[16, 8]", "[32]", "[8, 8, 8]"]
    found = [of.config(of.values(point)).model for point in of.grid()]
    assert [model.units for model in found if isinstance(model, MlpConfig)] == [
        (16, 8), (32,), (8, 8, 8)
    ]  # fmt: skip
    assert of.decode({"model.units": "[32]", "other": 1}) == {"model.units": [32]}
    assert {str(values["model.units"]) for values in draws(of)} == set(stored)


def test_a_list_of_searched_length() -> None:
    of = space(
        "furia-mlp1",
        model__units={"length": {"range": [1, 3]}, "each": {"range": [8, 256], "step": 8}},
        model__dropout={"like": "model.units", "each": {"range": [0, 0.5]}},
    )
    names = [dimension.key for dimension in of.dimensions]
    assert names == [
        "model.units.length", "model.units.0", "model.units.1", "model.units.2",
        "model.dropout.0", "model.dropout.1", "model.dropout.2",
    ]  # fmt: skip
    lengths = set()
    for values in draws(of, 30):
        model = of.config(values).model
        assert isinstance(model, MlpConfig)
        assert isinstance(model.dropout, tuple)
        assert len(model.units) == len(model.dropout)
        assert all(8 <= units <= 256 and units % 8 == 0 for units in model.units)
        lengths.add(len(model.units))
    assert lengths == {1, 2, 3}
    assert of.defaults() == {
        "model.units.length": 2, "model.units.0": 16, "model.units.1": 8,
        "model.dropout.0": 0.0, "model.dropout.1": 0.0,
    }  # fmt: skip
    trial = FixedTrial({"model.units.length": 1, "model.units.0": 24, "model.dropout.0": 0.2})
    assert of.suggest(trial) == {"model.units": [24], "model.dropout": [0.2]}


def test_a_list_of_one_value() -> None:
    of = space(
        "majerczyk-final",
        model__filters={"length": {"choice": [1, 2, 3]}, "same": {"choice": [32, 64, 128]}},
        model__dense=[{"equal": "model.filters.same"}],
    )
    points = list(of.grid())
    assert len(points) == 9
    assert points[0] == {"model.filters.length": 1, "model.filters.same": 32}
    found = set()
    for point in points:
        model = of.config(of.values(point)).model
        assert isinstance(model, CnnConfig)
        assert set(model.filters) == set(model.dense)
        found.add(model.filters)
    assert found == {(size,) * n for n in (1, 2, 3) for size in (32, 64, 128)}
    assert of.defaults() == {"model.filters.length": 3, "model.filters.same": 32}


def test_a_list_of_fixed_length() -> None:
    of = space(
        "furia-mlp1", train__optimizer__betas=[{"choice": [0.8, 0.9]}, {"range": [0.99, 0.9999]}]
    )
    assert of.defaults() == {"train.optimizer.betas.0": 0.9, "train.optimizer.betas.1": 0.999}
    of = space("furia-mlp1", train__optimizer__betas=[{"choice": [0.8, 0.9]}, 0.99])
    assert of.config({}).train.optimizer.betas == (0.9, 0.99)
    assert {tuple(values["train.optimizer.betas"]) for values in draws(of)} == {
        (0.8, 0.99), (0.9, 0.99)
    }  # fmt: skip


def test_like_a_list_that_is_fixed() -> None:
    of = space("furia-mlp1", model__dropout={"like": "model.units", "each": {"range": [0, 0.5]}})
    assert [dimension.key for dimension in of.dimensions] == ["model.dropout.0", "model.dropout.1"]
    of = space(model__widths=[8, 8, 8], model__blocks={"like": "model.widths", "same": {
        "choice": [0, 1]}})  # fmt: skip
    found = [of.config(of.values(point)).model for point in of.grid()]
    assert [model.blocks for model in found if isinstance(model, ResnetConfig)] == [
        (0, 0, 0), (1, 1, 1)
    ]  # fmt: skip


def families() -> Space:
    return Space.parse(
        {
            "model": {
                "family": {"choice": ["cnn", "mlp", "perceptron"]},
                "output": "softmax",
                "activation": "tanh",
                "units": {"length": {"choice": [1, 2]}, "each": {"choice": [8, 16]},
                          "when": {"model.family": ["mlp"]}},
                "filters": {"choice": [[8], [8, 16]], "when": {"model": {"family": ["cnn"]}}},
                "dropout": {"choice": [0.0, 0.5], "when": {"model.units.length": [2]}},
            },
            "train": {"optimizer": {
                "momentum": {"choice": [0.5, 0.9], "when": {"train.optimizer.name": ["sgd"]}},
                "name": {"choice": ["adam", "sgd"]},
            }},
        },
        "here",
    )  # fmt: skip


def test_conditions_and_families() -> None:
    of = families()
    points = list(of.grid())
    # mlp: units of one or of two layers (with dropout), cnn: filters; adam, or sgd with momentum
    assert len(points) == (2 + 4 * 2 + 2 + 1) * (1 + 2)
    assert len({json.dumps(point) for point in points}) == len(points)
    for point in points:
        values = of.values(point)
        model = of.config(values).model
        assert model.family == values["model.family"]
        assert model.output == "softmax"
        assert ("model.units" in values) == isinstance(model, MlpConfig)
        assert ("model.filters" in values) == isinstance(model, CnnConfig)
        if isinstance(model, MlpConfig):
            assert model.activation == "tanh"
            assert ("model.dropout" in values) == (len(model.units) == 2)
        assert ("train.optimizer.momentum" in values) == (values["train.optimizer.name"] == "sgd")
    assert isinstance(of.config({"model.family": "perceptron"}).model, PerceptronConfig)
    assert of.config({"train.optimizer.name": "sgd"}).train.optimizer.momentum == 0.9
    assert {str(values["model.family"]) for values in draws(of)} == {"cnn", "mlp", "perceptron"}


def test_settings_that_are_fixed_decide_about_conditions() -> None:
    data = {"train": {"optimizer": {
        "name": "adam",
        "momentum": {"choice": [0.5, 0.9], "when": {"train.optimizer.name": ["sgd"]}},
    }}}  # fmt: skip
    assert Space.parse(data, "here").dimensions == ()
    data["train"]["optimizer"]["name"] = "sgd"
    (dimension,) = Space.parse(data, "here").dimensions
    assert (dimension.key, dimension.when) == ("train.optimizer.momentum", {})


def test_a_searched_family_can_be_fixed_on_the_command_line() -> None:
    data = {
        "model": {
            "family": {"choice": ["cnn", "mlp"]},
            "units": {"choice": [[8], [16]], "when": {"model.family": ["mlp"]}},
            "dense": [8],
            "norm_scale": False,
        }
    }
    resolve.assign(data, "model.family", "cnn")
    of = Space.parse(data, "here")
    assert of.dimensions == ()
    model = of.config({}).model
    assert isinstance(model, CnnConfig)
    assert (model.dense, model.norm_scale) == ((8,), False)


def test_the_order_of_writing_does_not_matter_to_conditions() -> None:
    of = families()
    keys = [dimension.key for dimension in of.dimensions]
    assert keys.index("train.optimizer.name") < keys.index("train.optimizer.momentum")


@pytest.mark.parametrize(
    ("written", "default"),
    [
        ({"choice": [1e-3, 2e-3]}, 2e-3),  # what the setting has without a recipe
        ({"choice": [1e-3, 1e-4]}, 1e-3),
        ({"log": [1e-4, 1e-2]}, 2e-3),
        ({"log": [1e-5, 1e-3]}, 1e-4),
        ({"range": [0.1, 0.2]}, pytest.approx(0.15)),
        ({"range": [0.1, 0.5], "step": 0.1}, 0.3),
        ({"log": [1e-5, 1e-1], "default": 1}, None),
        ({"log": [1e-5, 1], "default": 1}, 1.0),
        ({"choice": [0.1, 0.2], "default": 0.2}, 0.2),
        ({"choice": [0.1, 0.2], "was": 0.2}, 0.2),
        ({"choice": [0.1, 0.2], "was": 0.7}, 0.1),
    ],
)
def test_defaults(written: dict[str, Any], default: Any) -> None:
    data = {"train": {"optimizer": {"lr": written}}}
    if default is None:
        with pytest.raises(ConfigError, match="the default is not in the space, got 1"):
            Space.parse(data, "here")
        return
    of = Space.parse(data, "here")
    assert of.defaults() == {"train.optimizer.lr": default}
    assert of.base["train"]["optimizer"]["lr"] == default


def test_defaults_of_lists() -> None:
    each: dict[str, Any] = {"choice": [8, 16, 32]}
    written: dict[str, Any] = {"length": {"range": [1, 4]}, "each": each}
    assert space("furia-mlp1", model__units=written).base["model"]["units"] == [16, 8]
    written["default"] = [8, 8, 32]
    assert space("furia-mlp1", model__units=written).base["model"]["units"] == [8, 8, 32]
    for wrong in ([8] * 5, [9], 8):
        with pytest.raises(ConfigError, match="default"):
            space("furia-mlp1", model__units={**written, "default": wrong})
    with pytest.raises(ConfigError, match=r"not in the space, got \[8, 16\] \(nearest: \[8, 8\]"):
        space("furia-mlp1", model__units={"length": 2, "same": each, "default": [8, 16]})
    written = {"length": {"range": [1, 4], "default": 3}, "each": {**each, "default": 32}}
    assert space("furia-mlp1", model__units=written).base["model"]["units"] == [32] * 3


def test_what_a_recipe_has_is_the_default_of_a_space_over_it() -> None:
    spaces = [
        "train.optimizer.lr={log=[1e-4,1e-1]}",
        "train.optimizer.name={choice=['sgd','adam']}",
        "train.optimizer.betas=[{choice=[0.5,0.9]},{range=[0.9,0.9999]}]",
        "model.units={length={range=[1,3]},each={range=[8,64]}}",
        "model.dropout={like='model.units',each={range=[0,0.5]}}",
    ]
    data = resolve.data("furia-mlp1", spaces)
    same = resolve.load("furia-mlp1", overrides={"model.dropout": [0.0, 0.0]})
    assert Space.parse(data, "here").config({}) == same
    data = resolve.data("furia-mlp1", [spaces[0], "train.optimizer.lr={choice=[1e-2,1e-3]}"])
    assert Space.parse(data, "here").defaults() == {"train.optimizer.lr": 1e-3}


def test_the_next_search_begins_from_the_best() -> None:
    of = space(
        "majerczyk-final",
        model__filters={"length": {"choice": [1, 2, 3]}, "same": {"choice": [32, 64]}},
    )
    best = of.values({"model.filters.length": 2, "model.filters.same": 64})
    then = of.further(best, {"model.dropout": {"choice": [0.5, 0.7]},
                             "train.optimizer.lr": {"choice": [0.01, 0.001]}})  # fmt: skip
    assert then.config({}).model.model_dump()["filters"] == (64, 64)
    assert len(list(then.grid())) == 4
    assert then.defaults() == {"model.dropout": 0.5, "train.optimizer.lr": 0.01}
    again = of.further(best, {"model.filters": {"choice": [[64, 64], [64, 64, 64]]}})
    assert again.config({}) == of.config(best)
    with pytest.raises(ConfigError, match="did you mean 'dropout'"):
        of.further(best, {"model.drop": {"choice": [1]}})


def test_what_does_not_go_together_is_refused_when_it_is_drawn() -> None:
    of = space(
        "furia-cnn",
        model__filters={"choice": [[16, 32], [16]]},
        model__kernel={"choice": [[3, 5], 3]},
    )
    assert of.config({"model.filters": [16], "model.kernel": 3}).model.family == "cnn"
    with pytest.raises(ConfigError, match="kernel must be one value or one for each of the 1"):
        of.config({"model.filters": [16], "model.kernel": [3, 5]})
    with pytest.raises(ConfigError, match=r"model\.stride is not searched"):
        of.config({"model.stride": 2})


def test_other_parameters_than_the_space_has_are_refused() -> None:
    of = space("furia-mlp1", model__units={"choice": [[16, 8], [32]]})
    with pytest.raises(ConfigError, match="was made with another space"):
        of.values({"model.units": "[33]"})
    with pytest.raises(ConfigError, match=r"no parameter 'model.unit'.*did you mean 'model.units'"):
        of.dimension("model.unit")


def test_grids_need_points() -> None:
    for written in ({"log": [1e-4, 1e-2]}, {"range": [0.1, 0.2]}):
        with pytest.raises(ConfigError, match=r"lr: a grid needs choices or a step"):
            list(space(train__optimizer__lr=written).grid())
    assert len(list(space(train__batch_size={"range": [2, 9]}).grid())) == 8


def test_descriptions_are_plain() -> None:
    of = families()
    described = of.describe()
    assert [one["key"] for one in described] == [dimension.key for dimension in of.dimensions]
    assert json.loads(json.dumps(described)) == described
    by_key = {one["key"]: one for one in described}
    assert by_key["model.filters"]["choices"] == [[8], [8, 16]]
    lr = space(train__optimizer__lr={"log": [1e-4, 1e-2]}).describe()[0]
    assert lr == {"key": "train.optimizer.lr", "kind": "log", "integer": False, "choices": [],
                  "low": 1e-4, "high": 1e-2}  # fmt: skip


def test_data_survive_json() -> None:
    """Workers read the data from a file."""
    data = resolve.data("furia-mlp1", ["model.units={length={range=[1,3]},each={range=[8,64]}}"])
    of, again = Space.parse(data, "here"), Space.parse(json.loads(json.dumps(data)), "here")
    assert of == again
    assert draws(of) == draws(again)


@pytest.mark.parametrize(
    ("key", "written", "words"),
    [
        ("train.optimizer.lr", {"choice": []}, "a choice is a list of one or more values, got an"),
        ("train.optimizer.lr", {"choice": 3}, "a choice is a list"),
        ("train.optimizer.lr", {"choice": [0.1, 0.1]}, "choice differ, got 0.1 twice"),
        ("train.optimizer.lr", {"choice": [{"log": [1, 2]}]}, "a choice is between values"),
        ("train.optimizer.lr", {"range": [0.2, 0.1]}, "lower end is below the upper"),
        ("train.optimizer.lr", {"range": [0.1, 0.1]}, "lower end is below the upper"),
        ("train.optimizer.lr", {"range": [0.1]}, "range takes two numbers"),
        ("train.optimizer.lr", {"range": [0.1, float("nan")]}, "range takes two numbers"),
        ("train.optimizer.lr", {"range": ["a", "b"]}, "range takes two numbers"),
        ("train.optimizer.lr", {"log": [0, 0.1]}, "log begins above 0, got"),
        ("train.optimizer.lr", {"log": [0.1, 1], "step": 0.1}, "has no 'step' here"),
        ("train.optimizer.lr", {"range": [0.1, 1], "step": 0}, "step is a number above 0"),
        ("train.optimizer.lr", {"range": [0.1, 1], "step": 2}, "step is a number above 0"),
        ("train.optimizer.lr", {"choice": [0.1], "defualt": 0.1}, "did you mean 'default'"),
        ("train.optimizer.lr", {"chioce": [0.1]}, "a space is written with .*choice.*'chioce'"),
        ("train.optimizer.lr", {"choice": [0.1], "log": [0.1, 1]}, "of one kind, got choice and"),
        ("train.optimizer.lr", {"choice": [0.1, -1]}, "greater than 0, got -1"),
        ("train.optimizer.lr", {"range": [0, 1]}, "greater than 0, got 0"),
        ("train.optimizer.lr", {"choice": ["x"]}, "lr: .*number.*got 'x'"),
        ("train.optimizer.lr", {"equal": 3}, "equal names another key"),
        ("train.optimizer.lr", {"length": 2, "each": {"choice": [0.1]}}, "lr: .*got \\[0.1\\]"),
        ("train.optimiser.lr", {"choice": [0.1]}, "no setting 'train.optimiser'.*'optimizer'"),
        ("train.optimizer.rate", {"choice": [0.1]}, "no setting 'train.optimizer.rate'"),
        ("train.optimizer", {"choice": [0.1]}, "train.optimizer is a section"),
        ("train.batch_size", {"range": [1.5, 4]}, "its ends are whole numbers"),
        ("train.batch_size", {"range": [2, 8], "step": 1.5}, "step is a whole number above 0"),
        ("train.augment.invert", {"range": [0, 2]}, "less than or equal to 1, got 2"),
        ("train.augment.flip_vertical", {"range": [0, 1]}, "range is for numbers"),
        ("train.optimizer.name", {"log": [1, 2]}, "log is for numbers.*use choice"),
        ("train.optimizer.name", {"choice": ["adam", "adan"]}, "got 'adan'.*did you mean 'adam"),
        ("model.head", {"choice": ["max", "flatten"]}, "model.head: .*got 'flatten'"),
        ("model.filters", {"choice": [[8]]}, "no setting 'model.filters'"),
        ("model.family", {"choice": ["resnet", "resnt"]}, "no model family 'resnt'.*'resnet'"),
        ("model.family", [{"choice": ["resnet"]}], "model.family"),
        ("model.family", {"length": 1, "each": {"choice": ["resnet"]}}, "model.family"),
        ("model.widths", {"length": {"choice": [1]}}, "either each or same, got length"),
        ("model.widths", {"each": {"choice": [8]}}, "either length or like, got each"),
        ("model.widths", {"length": -1, "each": 8}, "length is a whole number up to 1000, got -1"),
        ("model.widths", {"length": {"choice": [1.5]}, "each": 8}, "up to 1000, got 1.5"),
        ("model.widths", {"length": {"log": [1, 9]}, "each": 8}, "length is a whole number, a"),
        ("model.widths", {"length": "2", "each": 8}, "length is a whole number"),
        ("model.widths", {"length": 2, "each": {"choice": [0]}}, "greater than 0, got 0"),
        ("model.widths", {"length": 2, "each": 0}, "greater than 0, got 0"),
        ("model.widths", {"length": 2, "each": {"choice": [8], "when": {}}}, "no 'when' here"),
        ("model.widths", {"like": "model.blocs", "each": 8}, "like names a list.*'model.blocks'"),
        ("model.dropout", {"equal": "model.widths.3"}, "equal names a searched key, got 'model.w"),
        ("model.dropout", {"choice": [0.1], "when": {"model.familie": ["cnn"]}},
         "when names a searched key, got 'model.familie'"),
        ("model.dropout", {"choice": [0.1], "when": {"model.family": "resnet"}},
         "when gives each of other keys a list"),
        ("model.dropout", {"choice": [0.1], "when": 3}, "when gives each of other keys a list"),
        ("prepare.size", {"choice": [[64], [128]]}, "varies settings of model and train .*train.s"),
        ("seed", {"range": [0, 9]}, "varies settings of model and train, got a space for seed"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(key: str, written: Any, words: str) -> None:
    data: dict[str, Any] = {}
    resolve.assign(data, key, written)
    with pytest.raises(ConfigError, match=words) as caught:
        Space.parse(data, "here")
    assert "(here)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert re.search(r"[.?]$", str(caught.value))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"model": {"family": {"choice": ["mlp", "cnn"]}, "units": {"choice": [[8]]}}},
         'model.units: not every family of the search has it, only mlp .*"model.family" = \\["mlp'),
        ({"model": {"family": {"choice": ["mlp", "cnn"]}, "unitz": [8]}}, "'model.unitz'.*'units'"),
        ({"model": {"family": {"choice": ["mlp", "cnn"]},
                    "units": {"choice": [[8]], "when": {"model.family": ["resnet"]}}}},
         "when lists values that model.family can have, got 'resnet'"),
        ({"model": {"family": "mlp", "units": {"length": 2, "same": {"choice": [8]}},
                    "dropout": {"choice": [0.1], "when": {"model.units.9": [8]}}}},
         "no parameter 'model.units.9'"),
        ({"model": {"dropout": {"choice": [0.1], "when": {"train.label_smoothing": [0.1]}}},
          "train": {"label_smoothing": {"choice": [0.1], "when": {"model.dropout": [0.1]}}}},
         "waits for another one"),
        ({"train": {"optimizer": {"lr": {"equal": "train.optimizer.lr"}}}}, "waits for another"),
        ({"model": {"family": {"choice": ["mlp", "cnn"]},
                    "units": {"length": 2, "same": {"choice": [8]},
                              "when": {"model.family": ["mlp"]}},
                    "dense": {"like": "model.units", "same": {"choice": [8]},
                              "when": {"model.family": ["cnn"]}}}},
         "model.dense: no family has it together with model.units"),
        ({"model": {"family": "cnn", "filters": {"length": 2, "same": {"choice": [8]}}, "dense": {
            "length": 1, "same": {"equal": "model.filters.same"}, "default": [8]}}},
         "model.dense: a list that is equal to another key has no default"),
        ({"train": {"optimizer": {"lr": {"choice": [0.1]}, "epsilon": {
            "equal": "train.optimizer.lr", "default": 0.1}}}}, "has no 'default' here"),
        ({"train": {"epohcs": 3}}, "'train.epohcs'.*'epochs'"),
        ({"model": {"family": "nmlp", "units": {"choice": [[8]]}}}, "no model family 'nmlp'"),
        ({"model": {"family": "mlp", "units": {"choice": [[8], [8, 8]]}, "dropout": [0.1, 0.1]}},
         "dropout must be one value or one for each of the 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_one_sentence(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Space.parse(data, "here")


def test_a_search_is_no_configuration() -> None:
    with pytest.raises(
        ConfigError, match=r"is a search \(it leaves train.optimizer.lr open\): use"
    ):
        resolve.load(settings=["train.optimizer.lr={log=[1e-4, 1e-2]}"])
    with pytest.raises(ConfigError, match=r"is a search \(it leaves model.widths open\)"):
        resolve.load(overrides={"model.widths": [{"choice": [8]}, 16]})
    with pytest.raises(ConfigError, match=r"is a search \(it has a section \[tune\]\)"):
        resolve.load(settings=["tune.trials=3"])


numbers = st.integers(1, 60)


@st.composite
def written_spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Spaces of an MLP with lists, conditions and references."""

    def whole() -> dict[str, Any]:
        low, width = draw(numbers), draw(numbers)
        return draw(
            st.sampled_from(
                [
                    {"range": [low, low + width]},
                    {"range": [low, low + width], "step": draw(st.integers(1, width))},
                    {"log": [low, low + width]},
                    {"choice": sorted({low, width})},
                ]
            )
        )

    def share() -> dict[str, Any]:
        low = draw(st.floats(0.001, 0.4))
        high = low + draw(st.floats(0.01, 0.5))
        return draw(
            st.sampled_from([{"range": [low, high]}, {"log": [low, high]}, {"choice": [low, high]}])
        )

    lengths = draw(
        st.sampled_from([{"range": [1, 3]}, {"choice": [3, 1]}, 2, {"choice": [2], "default": 2}])
    )
    data: dict[str, Any] = {"model": {"family": "mlp"}, "train": {"optimizer": {}}}
    data["model"]["units"] = {"length": lengths, draw(st.sampled_from(["each", "same"])): whole()}
    for name in draw(st.sets(st.sampled_from(["dropout", "l1", "l2"]))):
        data["model"][name] = draw(
            st.sampled_from([share(), {"like": "model.units", "each": share()}])
        )
    data["train"]["optimizer"]["name"] = {"choice": ["adam", "sgd"]}
    if draw(st.booleans()):
        data["train"]["optimizer"]["momentum"] = {
            **share(),
            "when": {"train.optimizer.name": ["sgd"]},
        }
    return data


@settings(max_examples=60, deadline=None)
@given(written_spaces(), st.integers(0, 1000))
def test_whatever_is_drawn_is_in_the_space(data: dict[str, Any], seed: int) -> None:
    of = Space.parse(data, "here")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    study.enqueue_trial(of.defaults())
    for number in range(4):
        trial = study.ask()
        values = of.suggest(trial)
        known = {dimension.key: dimension for dimension in of.dimensions}
        assert all(known[key].holds(of.decode({key: v})[key]) for key, v in trial.params.items())
        assert of.values(trial.params) == values
        config = of.config(values)
        model = config.model
        assert isinstance(model, MlpConfig)
        assert list(model.units) == values["model.units"]
        assert ("train.optimizer.momentum" in values) <= (config.train.optimizer.name == "sgd")
        if number == 0:
            assert trial.params == of.defaults()
            assert config == of.config({})
            assert resolve.parse(of.base, "here") == config


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True),
    st.integers(1, 3),
    st.booleans(),
)
def test_a_grid_has_every_point_once(lengths: list[int], sizes: int, like: bool) -> None:
    choices = [8 * (i + 1) for i in range(sizes)]
    data = {
        "model": {
            "family": "mlp",
            "units": {"length": {"choice": lengths}, "each": {"choice": choices}},
            "dropout": {"like": "model.units", "same": {"choice": [0.0, 0.5]}} if like else 0.0,
        }
    }
    of = Space.parse(data, "here")
    found = [of.values(point) for point in of.grid()]
    expected = [
        {"model.units": list(units), **({"model.dropout": [d] * n} if like else {})}
        for n in lengths
        for units in itertools.product(choices, repeat=n)
        for d in ((0.0, 0.5) if like else (0.0,))
    ]
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert of.defaults() in list(of.grid())
