"""Trials, queue, budgets and leases, with this process as the only worker."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState
from small_studies import Small, prepared, recipe, told

from lorgnette import pipeline
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError, EngineError, ModelError
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.tuning import leases, storages, worker
from lorgnette.tuning.leases import Lease, LeaseLostError, Reaper
from lorgnette.tuning.record import collect
from lorgnette.tuning.settings import TuneConfig, parse
from lorgnette.tuning.study import Plan, StudyDir, dataset_digest
from lorgnette.tuning.trial import folds, parts
from lorgnette.tuning.worker import CLOSING, take


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepared(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def finished(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Small:
    study = Small(small, tmp_path_factory.mktemp("finished"), keep=2)
    study.finish()
    return study


def test_a_study_does_all_its_trials_and_keeps_the_best(finished: Small) -> None:
    assert finished.states == ["complete"] * 4
    assert finished.chief.over
    assert finished.study.user_attrs[CLOSING]
    values = {trial.number: trial.value for trial in finished.trials}
    kept = json.loads((finished.place.root / "kept.json").read_text())
    best = sorted(values, key=lambda number: (-(values[number] or 0), number))[:2]
    assert [each["number"] for each in kept["trials"]] == best
    for number in values:
        run = finished.place.run(number)
        assert run.is_trained == (number in best)
        assert not run.storage.names("checkpoints")
        assert len(run.metrics()) == 2


def test_the_first_trial_is_the_default_configuration(finished: Small) -> None:
    assert finished.trials[0].params == {"train.optimizer.lr": load().train.optimizer.lr}
    assert len({trial.params["train.optimizer.lr"] for trial in finished.trials}) == 4


def test_the_test_part_is_not_looked_at(finished: Small) -> None:
    files = {path.name for path in finished.place.root.rglob("predictions/*")}
    assert files == {"validation.parquet"}
    assert not list(finished.place.root.rglob("evaluation.json"))


def test_a_trial_is_a_run_that_one_command_gives_again(finished: Small, tmp_path: Path) -> None:
    kept = json.loads((finished.place.root / "kept.json").read_text())["trials"][0]
    run = Run(finished.place.root / kept["run"])
    config = load(str(run.root / "config.toml"))
    again = pipeline.train(finished.dataset.location, config, str(tmp_path / "again"))
    first, second = ([line["val_loss"] for line in each.metrics()] for each in (run, again))
    assert first == second
    assert (
        again.metrics()[run.read("run.json")["training"]["best_epoch"] - 1]["val_accuracy"]
        == (kept["value"])
    )


def test_the_same_trials_come_again(small: Dataset, finished: Small, tmp_path: Path) -> None:
    assert told(Small(small, tmp_path).finish()) == told(finished.trials)


def test_what_no_network_can_be_is_rejected_and_not_retried(small: Dataset, tmp_path: Path) -> None:
    study = Small(
        small, tmp_path, "model.family=cnn", "model.filters=[2]", "model.padding=valid",
        "model.kernel={choice = [3, 9], default = 3}", "train.optimizer.lr=0.01", sampler="grid",
        trials=None,
    )  # fmt: skip
    study.finish()
    assert study.states == ["complete", "fail"]
    lost = study.trials[1]
    assert lost.user_attrs["verdict"] == "rejected"
    assert "kernel" in lost.user_attrs["reason"]
    facts = collect(study.study, study.plan, study.place, study.trials, 1.0)
    assert [trial.state for trial in facts.trials] == ["complete", "rejected"]


def test_a_trial_that_diverges_fails_with_its_reason(small: Dataset, tmp_path: Path) -> None:
    study = Small(
        small, tmp_path, "train.optimizer.name=sgd", "train.optimizer.lr={choice = [0.001, 1e30]}",
        sampler="grid", trials=None,
    )  # fmt: skip
    study.finish()
    assert sorted(study.states) == ["complete", "fail"]
    lost = next(trial for trial in study.trials if trial.state == TrialState.FAIL)
    assert "not a number" in lost.user_attrs["reason"]


def test_executions_are_averaged(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, executions=3, trials=1)
    (trial,) = study.finish()
    executions = trial.user_attrs["executions"]
    assert len(executions) == 3
    assert trial.value == pytest.approx(np.mean(executions))
    assert trial.user_attrs["epochs"] == 6
    seeds = {study.place.run(0, number).config.seed for number in range(3)}
    assert len(seeds) == 3
    kept = [number for number in range(3) if study.place.run(0, number).is_trained]
    assert kept == [0]


def test_folds_leave_the_test_part_alone(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, folds=3, trials=1)
    whole = parts(small, Plan(recipe(), TuneConfig(), "", "", ""))[0]
    splits = folds(small, whole, 3, 0)
    judged = np.concatenate([split.indices("val") for split in splits])
    pool = np.concatenate([whole.indices("train"), whole.indices("val")])
    assert sorted(judged) == sorted(pool)
    for split in splits:
        assert not np.intersect1d(split.indices("train"), split.indices("val")).size
        assert (split.indices("test") == whole.indices("test")).all()
    (trial,) = study.finish()
    assert len(trial.user_attrs["executions"]) == 3


def test_pruned_trials_end_early_and_leave_no_checkpoint(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, "train.epochs=4", pruner="halving", trials=8, reduction=2)
    study.finish()
    assert set(study.states) == {"complete", "pruned"}
    for trial in study.trials:
        lines = study.place.run(trial.number).metrics()
        if trial.state == TrialState.COMPLETE:
            assert len(lines) == 4
        assert len(lines) == trial.user_attrs["epochs"] == len(trial.intermediate_values)
        if trial.state == TrialState.PRUNED:
            assert len(lines) < 4
            assert not study.place.run(trial.number).storage.names("checkpoints")
            assert "halving" in trial.user_attrs["reason"]


def test_the_same_settings_are_not_trained_twice(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, "train.optimizer.lr={choice = [0.001, 0.01]}", trials=6)
    study.finish()
    assert study.states == ["complete"] * 6
    trained = [trial for trial in study.trials if "repeats" not in trial.user_attrs]
    assert len(trained) == 2
    for trial in study.trials:
        first = study.trials[trial.user_attrs.get("repeats", trial.number)]
        assert (trial.value, trial.params) == (first.value, first.params)


def test_a_budget_of_epochs_ends_the_search(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, total_epochs=6, trials=None)
    study.finish()
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert sum(trial.user_attrs["epochs"] for trial in done) == 6
    assert study.chief.over


def test_a_budget_of_minutes_ends_the_search(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, minutes=0.5, trials=None)
    assert study.step()
    assert not study.chief.over
    study.chief.before = 31
    study.chief.look()
    assert study.chief.over


def test_choices_take_turns_where_that_is_asked(small: Dataset, tmp_path: Path) -> None:
    study = Small(
        small, tmp_path, "train.batch_size={choice = [8, 16, 20]}", trials=7,
        balanced=("train.batch_size",), default_first=False,
    )  # fmt: skip
    sizes = [trial.params["train.batch_size"] for trial in study.finish()]
    assert sizes == [8, 16, 20, 8, 16, 20, 8]


def test_several_sizes_of_one_dataset_are_searched(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, (8, 4))
    study = Small(
        dataset, tmp_path / "study", "train.size={choice = [8, 4, 6]}", "train.optimizer.lr=0.01",
        sampler="grid", trials=None,
    )  # fmt: skip
    study.finish()
    assert sorted(study.states) == ["complete", "complete", "fail"]
    for trial in study.trials:
        size = trial.params["train.size"]
        if size == 6:
            assert "prepare it with --size 8,4,6" in trial.user_attrs["reason"]
        else:
            assert study.place.run(trial.number).read("model.json")["size"] == size


def test_a_continued_study_may_have_another_budget_and_nothing_else(
    small: Dataset, tmp_path: Path
) -> None:
    Small(small, tmp_path, trials=2).finish()
    longer = Small(small, tmp_path, trials=3)
    assert longer.finish()[2].state == TrialState.COMPLETE
    with pytest.raises(ModelError, match=r"tune\.sampler \(random before, tpe now\)"):
        Small(small, tmp_path, trials=3, sampler="tpe")
    with pytest.raises(ModelError, match=r"train\.epochs \(2 before, 3 now\)"):
        Small(small, tmp_path, "train.epochs=3", trials=3)


def test_a_dead_workers_trial_goes_back_and_on_from_its_checkpoint(
    small: Dataset, finished: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Small(small, tmp_path)
    monkeypatch.setattr(Lease, "check", _dies_after(1))
    with pytest.raises(_Killed):
        study.step()
    monkeypatch.undo()
    assert study.states[0] == "running"
    assert study.place.run(0).storage.names("checkpoints")
    study.chief.reaper.grace = -1
    study.chief.look()
    study.chief.look()
    assert study.states[0] == "waiting"
    trials = study.finish()
    assert trials[0].user_attrs["taken_up"] == 1
    assert told(trials) == told(finished.trials)


class _Killed(BaseException):
    """As if the process had died."""


def _dies_after(epochs: int) -> object:
    def check(self: Lease, progress: int = 0) -> None:
        self._ended.set()
        if progress >= epochs:
            raise _Killed

    return check


def test_a_trial_that_kills_its_workers_is_given_up(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Small(small, tmp_path, trials=1)
    study.chief.reaper.grace = -1
    monkeypatch.setattr(worker, "conduct", _kills)
    for _ in range(leases.ATTEMPTS):
        with pytest.raises(_Killed):
            study.step()
        study.chief.look()
        study.chief.look()
    assert study.states == ["fail"]
    assert "died 3 times" in study.trials[0].user_attrs["reason"]
    assert study.chief.over


def _kills(*_: object) -> None:
    raise _Killed


def test_a_worker_that_was_taken_for_dead_leaves_the_trial_to_the_other(
    small: Dataset, tmp_path: Path
) -> None:
    study = Small(small, tmp_path, trials=1)
    trial = take(study.study, "elsewhere:1:me")
    assert trial is not None
    with Lease(study.study, trial._trial_id, "a") as mine:
        mine.check()
        with Lease(study.study, trial._trial_id, "b") as other:
            other.check()
            with pytest.raises(LeaseLostError):
                mine.check()


def test_a_process_of_this_machine_that_is_gone_is_noticed_at_once(
    small: Dataset, tmp_path: Path
) -> None:
    study = Small(small, tmp_path, trials=1)
    trial = take(study.study, "elsewhere:1:me")
    assert trial is not None
    reaper = Reaper(study.study, grace=1000)
    name = leases.worker_name()
    with Lease(study.study, trial._trial_id, name):
        assert reaper.reap(study.trials) == []
    host = name.partition(":")[0]
    with Lease(study.study, trial._trial_id, f"{host}:{2**22 + 1}:x"):
        assert reaper.reap(study.trials) == [0]


def test_one_trial_is_taken_once(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path, trials=2)
    taken = [take(study.study, "elsewhere:1:me") for _ in range(3)]
    assert [None if trial is None else trial.number for trial in taken] == [0, 1, None]


def test_a_storage_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    class Away:
        calls = 0

        def get_all_studies(self) -> list[str]:
            self.calls += 1
            if self.calls < 3:
                raise OperationalError("no", None, Exception("away"))
            return ["there"]

        def delete_study(self, study_id: int) -> None:
            raise KeyError(study_id)

        def get_n_trials(self, study_id: int) -> int:
            raise OperationalError("no", None, Exception("away"))

    monkeypatch.setattr(storages, "FIRST_PAUSE", 0.01)
    away = Away()
    storage = storages._patient(away, "the chief", 0.2)  # type: ignore[arg-type]
    assert storage.get_all_studies() == ["there"]
    with pytest.raises(KeyError):
        storage.delete_study(1)
    started = time.monotonic()
    with pytest.raises(EngineError, match="the chief has not answered"):
        storage.get_n_trials(1)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"smapler": "tpe"}, "no setting 'tune.smapler' .*did you mean 'sampler'"),
        ({"trials": 0}, "Setting tune.trials: .* got 0"),
        ({"folds": 1}, "folds must be 0"),
        ({"folds": 3, "executions": 2}, "folds or executions"),
        ({"then": [{"space": {}, "epoch": 3}]}, "did you mean 'epochs'"),
    ],
)
def test_settings_of_a_search_are_refused_in_a_sentence(
    data: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(data, "recipe x")


def test_locations_of_storages(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sqlite:///PATH"):
        storages.open_storage("redis://secret:word@host")
    assert storages.without_password("postgresql://me:word@host/db") == "postgresql://me@host/db"
    with pytest.raises(EngineError, match="cannot be opened"):
        storages.open_storage(f"sqlite:///{tmp_path}/no/folder/study.db")
    for text in ("host", "host:", "host:x", "host:99999"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            storages.address(text)
    assert storages.address("[::1]:80") == ("::1", 80)


def test_a_directory_that_holds_no_study(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no study\.json"):
        StudyDir.load(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        StudyDir.load(tmp_path).read("study.json")


def test_the_digest_of_a_dataset_knows_its_decisions(small: Dataset) -> None:
    assert dataset_digest(small) == dataset_digest(Dataset.load(small.location))
