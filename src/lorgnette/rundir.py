"""A run: one directory with everything that a training used, did and found."""

from __future__ import annotations

import json
import os
import platform
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette import __version__
from lorgnette.config import Config
from lorgnette.dataset.ledger import difference
from lorgnette.dataset.split import Split, split
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ModelError
from lorgnette.machine import processors
from lorgnette.resolve import dump, parse
from lorgnette.storage import Storage, is_url

FORMAT = 1
SPLIT = "split.parquet"
DECISIONS = "decisions"
"""In `run.json`: a digest of what decisions had made of the labels that were learnt."""
FILES = (
    "model.json",
    "model.safetensors",
    "evaluation.json",
    "metrics.jsonl",
    SPLIT,
    "report.html",
    "run.json",
    "environment.json",
    "config.toml",
)
FOLDERS = ("checkpoints", "predictions")
PACKAGES = ("torch", "numpy", "pillow", "kornia-rs", "pyarrow", "scikit-learn")


class Run:
    """A run directory, read and written by name; files come into being whole or not at all.

    Attributes:
        storage: the directory.
        root: its path.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.storage = Storage.at(location)
        if not self.storage.is_local:
            raise ModelError(
                f"A run is a directory of this machine, and {location} is a URL: give a local "
                "--out and copy it afterwards."
            )
        self.root = Path(self.storage.root)

    @classmethod
    def load(cls, location: str | os.PathLike[str]) -> Run:
        """Open a run that exists.

        Raises:
            ModelError: there is none.
        """
        run = cls(location)
        if not (run.root / "config.toml").is_file():
            raise ModelError(
                f"There is no run in {location} (no config.toml): make one with `lorgnette run SRC`"
                " or `lorgnette train DATASET`."
            )
        return run

    @property
    def is_trained(self) -> bool:
        """Whether training has ended and the model is there."""
        return all((self.root / name).is_file() for name in ("model.json", "model.safetensors"))

    @property
    def config(self) -> Config:
        """The configuration, as resolved when the run began."""
        path = self.root / "config.toml"
        return parse(tomllib.loads(path.read_text(encoding="utf-8")), str(path))

    def begin(self, config: Config, dataset: str) -> None:
        """Note what the run is about to do; a run that was begun before must be the same.

        Raises:
            ModelError: the directory holds a run with other settings or another dataset.
        """
        if changes := self.differences(config, dataset):
            raise ModelError(
                f"{self.root} holds a run with other settings; what differs: "
                f"{'; '.join(changes[:5])}. Choose another --out, or start again with "
                "--overwrite."
            )
        if not (self.root / "config.toml").is_file():
            self.storage.write("config.toml", dump(config).encode())
        self.write("environment.json", environment())
        if not self.read("run.json"):
            self.write("run.json", {"format": FORMAT, "dataset": self._shorten(dataset)})

    def differences(self, config: Config, dataset: str) -> list[str]:
        """What was begun here otherwise, as sentences; empty where nothing was begun."""
        if not (self.root / "config.toml").is_file():
            return []
        changes = _differences(_plain(self.config), _plain(config))
        facts = self.read("run.json")
        if facts and self.locate(facts["dataset"]) != self.locate(dataset):
            changes.append(f"dataset ({facts['dataset']} before, {dataset} now)")
        return changes

    def clear(self) -> None:
        """Remove what a run leaves, and nothing else that may lie beside it."""
        for name in FILES:
            self.storage.remove(name)
        for folder in FOLDERS:
            for name in self.storage.names(folder):
                self.storage.remove(f"{folder}/{name}")

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; empty if there is none.

        Raises:
            ModelError: it is damaged.
        """
        return read_json(self.storage, name, "run")

    def write(self, name: str, facts: dict[str, Any]) -> None:
        """Write a JSON file of the run."""
        write_json(self.storage, name, facts)

    def note(self, **facts: Any) -> None:
        """Add to `run.json`; a dictionary is merged into the one that is there."""
        noted = self.read("run.json")
        for key, value in facts.items():
            old = noted.get(key)
            noted[key] = {**old, **value} if isinstance(old, dict) else value
        self.write("run.json", noted)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, one dictionary per epoch."""
        try:
            text = self.storage.read("metrics.jsonl").decode()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def dataset(self) -> Dataset:
        """The dataset that the run was trained on.

        Raises:
            ModelError: the run does not say which.
            DatasetError: it is not there any more.
        """
        facts = self.read("run.json")
        if "dataset" not in facts:
            raise ModelError(f"{self.root / 'run.json'} names no dataset: run the training again.")
        return Dataset.load(self.locate(facts["dataset"]))

    def locate(self, dataset: str) -> str:
        """A dataset's location as noted in `run.json`, made absolute."""
        return dataset if is_url(dataset) else str((self.root / dataset).absolute())

    def divide(self, dataset: Dataset) -> Split:
        """The parts that this run learns and is judged on, noted in `split.parquet`.

        Those of a finished training stay what they were, whatever was decided since.

        Raises:
            ModelError: decisions have changed labels in the middle of the training.
            SplitError: the items cannot be divided as asked.
        """
        if self.is_trained and (self.root / SPLIT).is_file():
            return Split.load(self.storage, SPLIT, dataset)
        config = self.config
        self.settle(dataset)
        parts = split(dataset, config.split, config.seed, config.train.labels)
        parts.save(self.storage, SPLIT, dataset)
        return parts

    def settle(self, dataset: Dataset) -> NDArray[np.int32]:
        """The labels to learn, (N,), -1 for none; what decisions made of them is noted.

        Raises:
            ModelError: a training that was begun here has learnt other labels.
        """
        which = self.config.train.labels
        labels = dataset.labels(which)
        now = difference(dataset.labels("given"), labels)
        before = self.read("run.json").get(DECISIONS, "")
        if before != now:
            if self.storage.names("checkpoints"):
                raise ModelError(changed(str(self.root), dataset))
            self.note(**{DECISIONS: now})
        return labels

    def _shorten(self, dataset: str) -> str:
        """A dataset inside the run directory by its relative path, so that the run can be moved."""
        if is_url(dataset):
            return dataset
        path = Path(dataset).absolute()
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)


def read_json(storage: Storage, name: str, what: str) -> dict[str, Any]:
    """A JSON file of a directory; empty if there is none.

    Args:
        storage: the directory.
        name: of the file.
        what: the directory holds, for the message: a run, a study.

    Raises:
        ModelError: it is damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(storage.read(name))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelError(
            f"{storage.locate(name)} is damaged ({error}): start the {what} again with --overwrite."
        ) from error
    return facts


def write_json(storage: Storage, name: str, facts: Mapping[str, Any]) -> None:
    """Write a JSON file of a directory, whole or not at all."""
    storage.write(name, (json.dumps(facts, indent=1) + "\n").encode())


def changed(run: str, dataset: Dataset) -> str:
    """That what was begun cannot go on with other labels, in a sentence."""
    return (
        f"Decisions on {dataset.location} have changed labels since the training in {run} began, "
        "and a training learns one set of labels from start to end: choose another --out, start "
        "again with --overwrite, or undo these decisions."
    )


def environment() -> dict[str, Any]:
    """What the machine and the software are, for the record."""
    import psutil
    import torch

    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:  # installed under another name, or vendored
            packages[name] = "unknown"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "lorgnette": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": processors(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": gpu,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": packages,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _plain(config: Config) -> dict[str, Any]:
    """Settings as far as they matter to who continues: in step, any number of members is one."""
    data = config.model_dump()
    if config.train.update.mode == "sync":
        del data["train"]["members"]
    return data


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings that differ, as sentences; where work runs does not matter."""
    changes: list[str] = []
    for key in sorted({*before, *now} - ({"engine", "recipe"} if not prefix else set())):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changes.append(f"{prefix}{key} ({old} before, {new} now)")
    return changes
