"""Studies that are continued with another budget, and what else changes around a study."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState
from small_studies import Small, prepared, recipe
from typer.testing import CliRunner

from labelled_rows import labelled
from lorgnette import devices, studies
from lorgnette.cli import app
from lorgnette.config import SplitConfig
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.split import split
from lorgnette.dataset.store import Dataset
from lorgnette.engines.base import Engine
from lorgnette.evaluation.members import gather, runs_of
from lorgnette.rundir import Run
from lorgnette.tuning import search, worker
from lorgnette.tuning.chief import Queue
from lorgnette.tuning.facts import StudyFacts
from lorgnette.tuning.record import collect
from lorgnette.tuning.settings import Combination, TuneConfig
from lorgnette.tuning.study import Plan, StudyDir
from lorgnette.tuning.trial import folds
from lorgnette.tuning.worker import CLOSING, take


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepared(tmp_path_factory.mktemp("small"))


def test_items_that_only_a_decision_has_labelled_are_in_folds_too(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 20 + [None] * 4)
    dataset.ledger.append([Wanted(f"i{place}", "relabel", "a") for place in range(40, 44)])
    whole = split(dataset, SplitConfig(), 0)
    judged = np.concatenate([each.indices("val") for each in folds(dataset, whole, 3, 0)])
    assert {40, 41, 42, 43} <= set(judged.tolist())
    assert len(judged) == len(whole.indices("train")) + len(whole.indices("val"))


def test_a_smaller_number_of_trials_ends_a_continued_study(small: Dataset, tmp_path: Path) -> None:
    begun = Small(small, tmp_path, trials=6)
    assert begun.step()
    study = Small(small, tmp_path, trials=2)
    assert not study.chief.over
    study.finish()
    assert study.states == ["complete"] * 2 + ["waiting"] * 4
    assert study.chief.over
    facts = collect(study.study, study.plan, study.place, study.trials, 1.0)
    assert [trial.state for trial in facts.trials] == ["complete"] * 2
    assert facts.planned == 2
    longer = Small(small, tmp_path, trials=3)
    longer.finish()
    assert longer.states == ["complete"] * 3 + ["waiting"] * 3


def test_the_last_trial_that_is_wanted_goes_back_where_its_worker_dies(
    small: Dataset, tmp_path: Path
) -> None:
    Small(small, tmp_path, trials=3)
    study = Small(small, tmp_path, trials=1)
    assert take(study.study, "elsewhere:1:me") is not None
    assert take(study.study, "elsewhere:1:other") is None  # no more are wanted
    study.chief.reaper.grace = -1
    study.chief.look()
    # The other workers stay, for one of them has to take it up.
    assert not study.study.user_attrs[CLOSING]
    study.chief.look()
    assert study.states == ["waiting"] * 3
    study.finish()
    assert study.states == ["complete"] + ["waiting"] * 2


def test_the_order_of_a_grid_does_not_depend_on_the_budget() -> None:
    data = recipe(
        "train.batch_size={choice = [8, 16, 20, 24], default = 24}", "train.optimizer.lr=0.01"
    )

    def sizes(trials: int | None, **more: Any) -> list[int]:
        settings = TuneConfig(sampler="grid", trials=trials, **more)
        points = Queue(optuna.create_study(), Plan(data, settings, "", "", "")).points
        assert points is not None
        return [point["train.batch_size"] for point in points]

    assert sizes(None) == [24, 8, 16, 20]
    assert [sizes(trials) for trials in (1, 2, 3)] == [[24], [24, 8], [24, 8, 16]]
    assert sizes(2, default_first=False) == [8, 16]


def test_a_study_lists_no_model_that_an_earlier_session_removed(
    small: Dataset, tmp_path: Path
) -> None:
    Small(small, tmp_path, keep=1).finish()
    more = Small(small, tmp_path, keep=3, trials=5)
    more.finish()
    kept = json.loads((tmp_path / "kept.json").read_text())["trials"]
    there = {trial.number for trial in more.trials if more.place.run(trial.number).is_trained}
    assert {each["number"] for each in kept} == there
    assert len(there) == 2  # the one that was kept, and the new one
    assert len(gather(runs_of([tmp_path]))) == 2


def test_a_trial_that_lies_elsewhere_counts_as_kept(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, trials=1)
    trial = take(study.study, "elsewhere:1:me")
    assert trial is not None
    study.study.tell(trial, 0.5, TrialState.COMPLETE)
    Small(small, tmp_path, trials=1).finish()
    kept = json.loads((tmp_path / "kept.json").read_text())["trials"]
    assert [each["number"] for each in kept] == [0]


def in_this_process(
    dataset: Dataset, data: Mapping[str, Any], settings: TuneConfig, place: StudyDir, **_: Any
) -> StudyFacts:
    """`search` without processes."""
    study = Small.of(dataset, place.root, data, settings)
    study.finish()
    return collect(study.study, study.plan, place, study.trials, 1.0)


def test_what_is_made_of_the_best_is_made_anew_where_that_is_another(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "search", in_this_process)
    for page in ("study", "page", "ensemble"):  # which take longer to draw than all the rest
        monkeypatch.setattr(f"lorgnette.report.{page}.write", lambda *_: None)
    tune: dict[str, Any] = {
        "sampler": "random", "objective": "val_loss", "retrain": True,
        "then": [{"space": {"train.batch_size": {"choice": [8, 16]}}}], "ensembles": [{}],
    }  # fmt: skip

    def rates(**more: Any) -> list[float]:
        """The learning rates of the best of each stage, and of what was trained of it."""
        settings = TuneConfig.model_validate({**tune, **more})
        found = studies.tune(small.location, recipe(), settings, str(tmp_path))
        first = found[0].trial(found[0].best)
        assert first is not None
        final = [Run(tmp_path / "final" / name).config for name in ("first", "run")]
        second = StudyDir(tmp_path / "stage-2").plan.space.config({})
        return [
            first.values["train.optimizer.lr"],
            *(config.train.optimizer.lr for config in (second, *final)),
        ]

    def earlier() -> set[str]:
        return {path.name for path in (tmp_path / "earlier").glob("*")}

    short = rates(trials=1)
    assert not earlier()
    long = rates(trials=4)
    assert (len(set(short)), len(set(long))) == (1, 1)
    assert short != long
    aside = {"stage-2-1", "final-first-1", "final-run-1", "ensembles-1"}
    assert earlier() == aside
    made = tmp_path / "ensembles" / "average-all" / "ensemble.json"
    before = made.read_bytes()
    assert rates(trials=4) == long  # nothing is made twice
    assert earlier() == aside
    assert made.read_bytes() == before
    assert rates(trials=4, retrain_epochs=1) == long
    assert earlier() - aside <= {"final-first-2", "final-run-2"}
    assert "final-first-2" in earlier()
    StudyDir(tmp_path).clear()
    assert not earlier()


def test_an_ensemble_of_other_members_is_made_anew(small: Dataset, tmp_path: Path) -> None:
    place = Small(small, tmp_path, trials=2)
    place.finish()
    studies._combine(Combination(), place.place, "ensembles/average-all", place.place)
    kept = json.loads((tmp_path / "kept.json").read_text())
    (tmp_path / "kept.json").write_text(json.dumps({**kept, "trials": kept["trials"][:1]}))
    studies._combine(Combination(), place.place, "ensembles/average-all", place.place)
    counts = [
        len(json.loads((tmp_path / each / "ensemble.json").read_text())["members"])
        for each in ("earlier/ensembles-average-all-1", "ensembles/average-all")
    ]
    assert counts == [2, 1]


@pytest.mark.parametrize(("device", "words", "count"), [("cuda", (), 3), ("cuda", ("2",), 2)])
def test_a_worker_of_another_machine_starts_as_many_as_the_chiefs_would(
    device: str, words: tuple[str, ...], count: int,
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    study = Small(small, tmp_path)
    found: list[int] = []

    def labour(engine: Engine, **_: Any) -> list[str]:
        found.append(engine.workers)
        return []

    monkeypatch.setattr(worker, "labour", labour)
    chosen = SimpleNamespace(torch=torch.device(device))
    monkeypatch.setattr(devices, "choose", lambda *_: chosen)
    told = ["tune", "worker", "--chief", study.place.location, "--dataset", small.location]
    result = CliRunner().invoke(app, [*told, *(word for n in words for word in ("--workers", n))])
    assert result.exit_code == 0, result.output
    assert found == [count]
