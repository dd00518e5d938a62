"""Small studies: a dataset of 80 pictures, networks of some neurons, trials of an epoch or two."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from lorgnette import resolve
from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.tuning.chief import Chief
from lorgnette.tuning.samplers import pruner
from lorgnette.tuning.settings import TuneConfig
from lorgnette.tuning.storages import open_storage
from lorgnette.tuning.study import Plan, StudyDir, create, dataset_digest, join
from lorgnette.tuning.trial import epochs_of, parts
from lorgnette.tuning.worker import CLOSING, do, take
from pictures import folder_of

TINY = [
    "model.family=mlp", "model.units=[5]", "train.epochs=2", "train.batch_size=16",
    "train.device=cpu", "train.precision=float32", "train.augment.flip_horizontal=false",
]  # fmt: skip
RATE = "train.optimizer.lr={log = [1e-4, 1e-1]}"


def prepared(folder: Path, sizes: tuple[int, ...] = (8,)) -> Dataset:
    """80 pictures of 8 pixels, half of each class."""
    source = SourceConfig(location=str(folder_of(folder / "source", 40)))
    settings = PrepareConfig(size=sizes, shard_items=32)
    return prepare(source, str(folder / "out"), settings, LocalEngine(1))


def recipe(*settings: str) -> dict[str, Any]:
    """The data of a small search over the learning rate, and further settings."""
    return resolve.data(settings=[*TINY, RATE, *settings])


class Small:
    """A study whose only worker is this process."""

    def __init__(self, dataset: Dataset, place: Path, *settings: str, **tune: Any) -> None:
        tuned = TuneConfig.model_validate({"sampler": "random", "trials": 4, **tune})
        self._open(dataset, place, recipe(*settings), tuned)

    @classmethod
    def of(cls, dataset: Dataset, place: Path, data: Mapping[str, Any], tuned: TuneConfig) -> Small:
        """One over the data of a recipe."""
        found = cls.__new__(cls)
        found._open(dataset, place, data, tuned)
        return found

    def _open(
        self, dataset: Dataset, place: Path, data: Mapping[str, Any], tuned: TuneConfig
    ) -> None:
        self.dataset, self.place = dataset, StudyDir(place)
        location, digest = dataset.location, dataset_digest(dataset)
        plan = Plan(data, tuned, location, digest, str(place))
        self.place.begin(plan, "default", None)
        self.storage = open_storage(self.place.location)
        self.chief = Chief(create(self.storage, self.place.name, plan), plan, self.place, 1)
        self.study, self.plan = join(open_storage(self.place.location))
        self.splits = parts(dataset, plan)
        self.study.pruner = pruner(tuned, epochs_of(plan.space.config({}), self.splits[0]))

    def step(self, me: str = "elsewhere:1:me") -> bool:
        """Do a trial; whether there was one."""
        if self.study.user_attrs[CLOSING]:
            return False
        trial = take(self.study, me)
        if trial is not None:
            do(trial, self.study, self.plan, self.place, self.dataset, self.splits, me)
        self.chief.look()
        return trial is not None

    def finish(self, most: int = 100) -> list[FrozenTrial]:
        """Do all trials; what became of them."""
        for _ in itertools.takewhile(lambda _: self.step(), range(most)):
            pass
        return self.trials

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials as the storage has them."""
        found: list[FrozenTrial] = self.study.get_trials()
        return found

    @property
    def states(self) -> list[str]:
        """Their states in lower case."""
        return [trial.state.name.lower() for trial in self.trials]


def told(trials: list[FrozenTrial]) -> list[tuple[int, str, dict[str, Any], float | None]]:
    """What must not depend on who did a trial when."""
    return [
        (trial.number, trial.state.name, trial.params, trial.values and trial.values[0])
        for trial in trials
    ]
