"""A study: one directory with a search's settings, its trials and their runs.

What is searched and how is in `study.json`; the trials are in Optuna's storage, beside it or
elsewhere. Trials are put into a queue by the chief alone (`chief`) and taken out of it by workers
(`worker`), so that each is done once however many there are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from lorgnette import __version__
from lorgnette.dataset.store import INFO, Dataset
from lorgnette.errors import ConfigError, ModelError
from lorgnette.rundir import Run, read_json, write_json
from lorgnette.storage import Storage, is_url
from lorgnette.tuning.samplers import sampler
from lorgnette.tuning.settings import TuneConfig
from lorgnette.tuning.space import Space
from lorgnette.tuning.storages import storage_at

FORMAT = 1
STUDY, DATABASE, KEPT, PAGE, TRIALS = "study.json", "study.db", "kept.json", "study.html", "trials"
EARLIER = "earlier"
"""In a study: what was made of a best that is not the best any more."""
NAME = "lorgnette"
"""Of the study in its storage, where the storage is its own; another database gives each a name of
its own."""
PLAN = "plan"
"""Of the study in its storage: what workers need to know, `Plan` as JSON."""
BUDGETS = ("trials", "minutes", "total_epochs", "keep", "retrain", "retrain_epochs", "ensembles")
"""Settings that may be others when a study is continued."""


class Plan:
    """What a search is: all that a worker needs to know.

    Attributes:
        data: the recipe as plain data, spaces included.
        settings: how the search is made.
        dataset: its location, as the chief knows it.
        digest: of the dataset, which must be the same on every machine.
        directory: the study's, as the chief knows it.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        settings: TuneConfig,
        dataset: str,
        digest: str,
        directory: str,
    ) -> None:
        self.data, self.settings = dict(data), settings
        self.dataset, self.digest, self.directory = dataset, digest, directory

    @cached_property
    def space(self) -> Space:
        """What is searched.

        Raises:
            ConfigError: it is not allowed.
        """
        data = dict(self.data)
        if self.settings.epochs is not None:
            data["train"] = {**data.get("train", {}), "epochs": self.settings.epochs}
        return Space.parse(data, "the study")

    @property
    def seed(self) -> int:
        """Fixes the trials, and the split, weights and order of each."""
        return int(self.data.get("seed", 0))

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """`maximize` or `minimize`."""
        return "minimize" if self.settings.objective == "val_loss" else "maximize"

    def dump(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "format": FORMAT,
            "version": __version__,
            "data": self.data,
            "tune": self.settings.model_dump(mode="json", exclude_none=True),
            "dataset": self.dataset,
            "digest": self.digest,
            "directory": self.directory,
        }

    @classmethod
    def parse(cls, facts: Mapping[str, Any]) -> Plan:
        """What `dump` gave.

        Raises:
            ModelError: it is of another format.
        """
        if facts.get("format") != FORMAT:
            raise ModelError(
                f"The study has format {facts.get('format')} and this version reads format "
                f"{FORMAT}: use the version that made it ({facts.get('version')})."
            )
        return cls(
            facts["data"],
            TuneConfig.model_validate(facts["tune"]),
            facts["dataset"],
            facts["digest"],
            facts["directory"],
        )


def dataset_digest(dataset: Dataset) -> str:
    """What tells a dataset from others, wherever it lies: its description, and decisions."""
    told = dataset.storage.read(INFO) + dataset.ledger.digest().encode()
    return hashlib.sha256(told).hexdigest()[:16]


class StudyDir:
    """The directory of a study.

    Attributes:
        storage: the directory.
        root: its path.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        if is_url(str(location)):
            raise ModelError(
                f"A study is a directory of this machine, and {location} is a URL: give a local "
                "--out and copy it afterwards."
            )
        self.storage = Storage.at(location)
        self.root = Path(self.storage.root)

    @classmethod
    def load(cls, location: str | os.PathLike[str]) -> StudyDir:
        """Open a study that exists.

        Raises:
            ModelError: there is none.
        """
        found = cls(location)
        if not (found.root / STUDY).is_file():
            raise ModelError(
                f"There is no study in {location} (no {STUDY}): make one with `lorgnette tune "
                "DATASET`."
            )
        return found

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the study; empty if there is none.

        Raises:
            ModelError: it is damaged.
        """
        return read_json(self.storage, name, "study")

    def write(self, name: str, facts: Mapping[str, Any]) -> None:
        """Write a JSON file of the study."""
        write_json(self.storage, name, facts)

    @property
    def plan(self) -> Plan:
        """What is searched, and how."""
        return Plan.parse(self.read(STUDY))

    @property
    def location(self) -> str:
        """Where its trials are: `sqlite:///…`, or the database that it was begun with."""
        told: str = self.read(STUDY).get("storage") or f"sqlite:///{self.root / DATABASE}"
        return told

    @property
    def name(self) -> str:
        """What it is called in its storage."""
        return str(self.read(STUDY).get("name", NAME))

    def run(self, number: int, execution: int = 0) -> Run:
        """The run of a trial's execution."""
        return Run(self.root / run_name(number, execution))

    def begin(self, plan: Plan, recipe: str, storage: str | None) -> None:
        """Note what is about to be done; a study that was begun before must be the same.

        Raises:
            ModelError: the directory holds a study with other settings.
        """
        known = self.read(STUDY)
        if not known:
            name = NAME if storage is None else f"{NAME}-{self.root.name}-{os.urandom(4).hex()}"
            created = datetime.now(UTC).isoformat(timespec="seconds")
            more = {"recipe": recipe, "created": created, "storage": storage, "name": name}
            self.write(STUDY, {**plan.dump(), **more})
            return
        differ = self.differences(plan)
        if storage is not None and storage != known["storage"]:
            differ.append("--storage")
        if differ:
            raise ModelError(
                f"{self.root} holds a study with other settings; what differs: "
                f"{', '.join(differ[:5])}. Choose another --out, or start again with --overwrite."
            )
        self.write(STUDY, {**known, **plan.dump()})

    def differences(self, plan: Plan) -> list[str]:
        """In what the study that was begun here differs from another; empty if there is none."""
        known = self.read(STUDY)
        return _differences(Plan.parse(known), plan) if known else []

    def set_aside(self, name: str) -> Path:
        """Move a directory of the study to where nothing asks for it; returns that place."""
        number = 1
        while (to := self.root / EARLIER / f"{name.replace('/', '-')}-{number}").exists():
            number += 1
        to.parent.mkdir(exist_ok=True)
        return (self.root / name).rename(to)

    def clear(self) -> None:
        """Remove what a study leaves, and nothing else that may lie beside it."""
        import shutil

        for name in (STUDY, DATABASE, f"{DATABASE}-journal", KEPT, PAGE, "trials.csv"):
            self.storage.remove(name)
        stages = (f"stage-{number}" for number in range(2, 10))
        for folder in (TRIALS, "final", "ensembles", EARLIER, *stages):
            shutil.rmtree(self.root / folder, ignore_errors=True)


def run_name(number: int, execution: int = 0) -> str:
    """Where the run of a trial's execution is, inside the study."""
    return f"{TRIALS}/{number:04}/{execution}"


def create(storage: BaseStorage, name: str, plan: Plan) -> optuna.Study:
    """The study in its storage, made if there is none yet, with what workers need to know."""
    study = optuna.create_study(
        storage=storage, study_name=name, direction=plan.direction, load_if_exists=True
    )
    study.set_user_attr(PLAN, plan.dump())
    return study


def join(storage: BaseStorage, name: str | None = None) -> tuple[optuna.Study, Plan]:
    """A study that a chief has made, as a worker sees it: with its sampler.

    Args:
        storage: where it is.
        name: of the study; the only one there if not given.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if name is None:
        names = [each.study_name for each in storage.get_all_studies()]
        if len(names) != 1:
            raise ConfigError(
                "A worker joins one study, and there "
                + (f"are {len(names)} ({', '.join(names[:5])}): give --study NAME." if names else
                   "is none: start `lorgnette tune chief` first.")
            )  # fmt: skip
        name = names[0]
    found = optuna.load_study(
        storage=storage, study_name=name, sampler=optuna.samplers.RandomSampler()
    )
    plan = Plan.parse(found.user_attrs[PLAN])
    found.sampler = sampler(plan.settings, plan.seed)
    return found, plan


def trials_of(study: StudyDir) -> list[FrozenTrial]:
    """The study's trials as its storage has them."""
    with storage_at(study.location) as storage:
        random = optuna.samplers.RandomSampler()
        found = optuna.load_study(storage=storage, study_name=study.name, sampler=random)
        trials: list[FrozenTrial] = found.get_trials()
        return trials


def _differences(before: Plan, now: Plan) -> list[str]:
    found = []
    if before.digest != now.digest:
        found.append(f"dataset ({before.dataset} before, {now.dataset} now)")
    old, new = before.settings.model_dump(), now.settings.model_dump()
    found += [
        f"tune.{key} ({old[key]} before, {new[key]} now)"
        for key in old
        if key not in BUDGETS and old[key] != new[key]
    ]
    flat_old, flat_new = _flat(before.data), _flat(now.data)
    found += [
        f"{key} ({flat_old.get(key)} before, {flat_new.get(key)} now)"
        for key in sorted({*flat_old, *flat_new})
        if flat_old.get(key) != flat_new.get(key) and not key.startswith(("engine.", "recipe"))
    ]
    return found


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.loads(json.dumps(value))
    return flat
