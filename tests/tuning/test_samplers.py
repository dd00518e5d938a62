"""Samplers repeat themselves; pruners end hopeless trials after whole epochs."""

import warnings
from typing import Any, get_args

import optuna
import pytest
from optuna.trial import TrialState

from lorgnette.errors import ConfigError
from lorgnette.tuning.samplers import pruner, sampler, startup
from lorgnette.tuning.settings import PrunerName, SamplerName, TuneConfig
from lorgnette.tuning.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)

DATA = {
    "model": {
        "family": "mlp",
        "units": {"length": {"range": [1, 3]}, "each": {"range": [8, 64], "step": 8}},
    },
    "train": {"optimizer": {"lr": {"log": [1e-4, 1e-1]}, "name": {"choice": ["adam", "sgd"]}}},
}


def space() -> Space:
    return Space.parse(DATA, "here")


def quality(values: dict[str, Any]) -> float:
    """Best at 64 units throughout and a rate of 0.01."""
    lr = values["train.optimizer.lr"]
    return float(sum(values["model.units"])) / 192 - float(abs(lr - 0.01))


def search(settings: TuneConfig, trials: int) -> list[dict[str, Any]]:
    """The values of a study's trials, one trial after the other."""
    study = optuna.create_study(direction="maximize", sampler=sampler(settings, 7))
    found = []
    for _ in range(trials):
        trial = study.ask()
        values = space().suggest(trial)
        study.tell(trial, quality(values))
        found.append(values)
    return found


@pytest.mark.parametrize("name", ["random", "tpe", "gp"])
def test_the_same_trials_come_again(name: str) -> None:
    settings = TuneConfig(sampler=name, trials=16)  # type: ignore[arg-type]
    trials = 9 if name == "gp" else 16
    first, second = search(settings, trials), search(settings, trials)
    assert first == second
    assert len({str(values) for values in first}) > trials // 2


def test_other_seeds_are_other_trials() -> None:
    settings = TuneConfig(sampler="random")
    drawn = []
    for seed in (0, 1):
        study = optuna.create_study(sampler=sampler(settings, seed))
        drawn.append([space().suggest(study.ask()) for _ in range(3)])
    assert drawn[0] != drawn[1]


def test_workers_draw_what_one_would_draw() -> None:
    """Two workers on one storage, turn by turn, and trials that are drawn in any order."""
    settings = TuneConfig(sampler="random")
    alone = search(settings, 6)
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="s", direction="maximize")
    workers = [
        optuna.load_study(storage=storage, study_name="s", sampler=sampler(settings, 7))
        for _ in range(2)
    ]
    trials = [workers[i % 2].ask() for i in range(6)]
    together = {trial.number: space().suggest(trial) for trial in reversed(trials)}
    assert [together[number] for number in range(6)] == alone


def test_trials_drawn_in_between_each_other_do_not_mix() -> None:
    settings = TuneConfig(sampler="random")
    alone = search(settings, 2)
    study = optuna.create_study(direction="maximize", sampler=sampler(settings, 7))
    first, second = study.ask(), study.ask()
    for key in ("model.units.length", "model.units.0", "model.units.1", "model.units.2"):
        for trial, values in ((first, alone[0]), (second, alone[1])):
            units = values["model.units"]
            drawn = [len(units), *units]
            names = ["model.units.length", *(f"model.units.{i}" for i in range(len(units)))]
            if key in names:
                dimension = space().dimension(key)
                assert dimension.suggest(trial) == drawn[names.index(key)]


def test_trials_that_end_elsewhere_are_forgotten() -> None:
    drawer = sampler(TuneConfig(sampler="random"), 0)
    study = optuna.create_study(sampler=drawer)
    for _ in range(200):
        space().suggest(study.ask())
    assert len(drawer._samplers) <= 64  # type: ignore[attr-defined]
    trial = study.ask()
    space().suggest(trial)
    study.tell(trial, 0.5)
    assert trial.number not in drawer._samplers  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "trials"), [("tpe", 30), ("gp", 16)])
def test_a_search_learns(name: str, trials: int) -> None:
    """The mean of the last trials is far above a random one; for `gp` without conditions."""
    each = "each" if name == "tpe" else "same"
    units = {"length": {"range": [1, 3]}, each: {"range": [8, 64], "step": 8}}
    made = Space.parse({**DATA, "model": {"family": "mlp", "units": units}}, "here")

    def results(settings: TuneConfig, trials: int) -> list[float]:
        study = optuna.create_study(direction="maximize", sampler=sampler(settings, 7))
        found = []
        for _ in range(trials):
            trial = study.ask()
            found.append(quality(made.suggest(trial)))
            study.tell(trial, found[-1])
        return found

    learnt = results(TuneConfig(sampler=name, trials=trials), trials)[-6:]  # type: ignore[arg-type]
    drawn = results(TuneConfig(sampler="random"), 60)
    assert sum(learnt) / 6 > sum(drawn) / 60 + 0.15


def test_a_few_trials_are_random_at_first() -> None:
    assert startup(TuneConfig(trials=10)) == 4
    assert startup(TuneConfig()) == 7
    assert startup(TuneConfig(trials=150)) == 10
    assert startup(TuneConfig(minutes=5)) == 10
    gp, random = TuneConfig(sampler="gp", trials=10), TuneConfig(sampler="random")
    found, at_random = search(gp, 6), search(random, 6)
    assert found[:4] == at_random[:4]
    assert found[4:] != at_random[4:]


def test_a_grid_draws_nothing() -> None:
    data = {"train": {"optimizer": {"lr": {"choice": [0.1, 0.01]}}}}
    grid = Space.parse(data, "here")
    study = optuna.create_study(sampler=sampler(TuneConfig(sampler="grid"), 0))
    for point in grid.grid():
        study.enqueue_trial(point)
    drawn = [grid.suggest(study.ask())["train.optimizer.lr"] for _ in range(2)]
    assert drawn == [0.1, 0.01]
    with pytest.raises(ConfigError, match=r"trial 2 has no value for train\.optimizer\.lr"):
        grid.suggest(study.ask())


def test_enqueued_parts_of_a_trial_leave_the_rest_to_the_sampler() -> None:
    """Choices that take turns: the study fixes one parameter, the sampler draws the others."""
    study = optuna.create_study(sampler=sampler(TuneConfig(sampler="tpe"), 3))
    for i in range(14):
        study.enqueue_trial({"train.optimizer.name": ["adam", "sgd"][i % 2]})
    rates = []
    for i in range(14):
        trial = study.ask()
        values = space().suggest(trial)
        assert values["train.optimizer.name"] == ["adam", "sgd"][i % 2]
        rates.append(values["train.optimizer.lr"])
        study.tell(trial, quality(values))
    assert len(set(rates)) == 14


def run_pruned(settings: TuneConfig, epochs: int, levels: list[float]) -> list[int]:
    """Epochs that trials with constant curves of these levels are trained for."""
    study = optuna.create_study(
        study_name="s",
        direction="maximize",
        sampler=sampler(TuneConfig(sampler="random"), 0),
        pruner=pruner(settings, epochs),
    )
    done = []
    for level in levels:
        trial = study.ask()
        for epoch in range(1, epochs + 1):
            trial.report(level, epoch)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, level)
        done.append(epoch)
    return done


def test_without_a_pruner_every_trial_is_trained_to_the_end() -> None:
    assert run_pruned(TuneConfig(), 9, [0.9, 0.1, 0.5]) == [9, 9, 9]


def test_halving_keeps_one_in_so_many() -> None:
    falling = [1 - i / 20 for i in range(12)]
    done = run_pruned(TuneConfig(pruner="halving", reduction=3), 9, falling)
    assert done[0] == 9
    assert set(done[1:]) == {1}
    done = run_pruned(TuneConfig(pruner="halving", reduction=3, min_epochs=2), 9, falling)
    assert set(done[1:]) == {2}


def test_hyperband_has_brackets_that_wait_longer() -> None:
    falling = [1 - i / 100 for i in range(40)]
    done = run_pruned(TuneConfig(pruner="hyperband", reduction=3), 9, falling)
    assert {1, 3, 9} == set(done)
    assert done.count(1) > done.count(3)
    assert sum(done) < 0.5 * 9 * 40


def test_the_median_ends_what_is_below_it() -> None:
    done = run_pruned(TuneConfig(pruner="median", min_epochs=2), 9, [0.5] * 6 + [0.1, 0.9])
    assert done == [9] * 6 + [2, 9]


@pytest.mark.parametrize("name", ["hyperband", "halving", "median"])
def test_more_least_epochs_than_there_are_end_nothing_early(name: str) -> None:
    settings = TuneConfig(pruner=name, min_epochs=50)  # type: ignore[arg-type]
    assert set(run_pruned(settings, 4, [1 - i / 20 for i in range(10)])) == {4}


def test_nothing_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in get_args(SamplerName):
            optuna.create_study(sampler=sampler(TuneConfig(sampler=name), 1)).ask()
        for name in get_args(PrunerName):
            pruner(TuneConfig(pruner=name), 20)
