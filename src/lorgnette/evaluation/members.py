"""Who may be a member of an ensemble: runs that were trained on the same items and labels."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.config import Config
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import INFO, Dataset
from lorgnette.devices import choose
from lorgnette.errors import ConfigError, DatasetError, ModelError
from lorgnette.evaluation.evaluate import PARTS, predict_items
from lorgnette.model import Model, ModelSpec
from lorgnette.predictions import Predictions
from lorgnette.rundir import DECISIONS, SPLIT, Run

KEPT, STUDY = "kept.json", "study.json"
"""In a study: its best models; what was searched, and on which dataset."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trained run that may become a member.

    Attributes:
        run: where its model is.
        name: short, and different from the others'.
        spec: its network.
        config: its settings.
    """

    run: Run
    name: str
    spec: ModelSpec
    config: Config


@dataclass(frozen=True, eq=False)
class Part:
    """Items that candidates are compared on.

    Attributes:
        name: `validation` or `test`.
        rows: places among the usable items, (n,).
        ids: (n,).
        labels: codes, -1 for those that decisions took out, (n,).
        groups: (n,); None where there are none.
    """

    name: str
    rows: NDArray[np.int64]
    ids: NDArray[np.object_]
    labels: NDArray[np.int32]
    groups: NDArray[np.int64] | None

    @classmethod
    def of(cls, name: str, dataset: Dataset, split: Split, labels: NDArray[np.int32]) -> Part:
        """The items that `evaluate` judges under this name."""
        rows = split.members("test") if name == "test" else split.indices(PARTS[name])
        groups = dataset.groups()
        return cls(
            name,
            rows,
            dataset.rows(["id"])["id"].take(rows).to_numpy(),
            labels[rows],
            None if groups is None else groups[rows],
        )


def runs_of(locations: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """The runs that some places stand for: a study for its best ones, a run for itself.

    Raises:
        ModelError: there is neither a study nor a run, or the study has kept no model.
        ConfigError: no place is given.
    """
    found: list[Run] = []
    for location in locations:
        root = Path(location)
        if not (root / KEPT).is_file():
            if (root / STUDY).is_file():
                raise ModelError(
                    f"The study in {location} has kept no model yet (no {KEPT}): start the same "
                    "`lorgnette tune` again and it continues."
                )
            found.append(Run.load(location))
            continue
        kept = json.loads((root / KEPT).read_text(encoding="utf-8"))["trials"]
        if not kept:
            raise ModelError(
                f"The study in {location} has kept no model: none of its trials was finished."
            )
        found += [Run.load(root / trial["run"]) for trial in kept]
    if not found:
        raise ConfigError("An ensemble is made of trained runs or of a study: name one or more.")
    return found


def check_place(runs: Sequence[Run], run: Run) -> None:
    """Refuse to write over a member or into a study.

    Raises:
        ConfigError: the directory is one of the runs or holds a study, or a run is given twice.
    """
    roots = [each.root.resolve() for each in runs]
    twice = next((root for place, root in enumerate(roots) if root in roots[:place]), None)
    if twice is not None:
        raise ConfigError(
            f"A run becomes a member once, and {twice} is named twice: name each run once (--select"
            " greedy lets good members count more)."
        )
    if run.root.resolve() in roots:
        raise ConfigError(
            f"An ensemble has a directory of its own, and {run.root} holds one of its members: "
            "choose another --out."
        )
    if any((run.root / name).is_file() for name in (KEPT, STUDY)):
        raise ConfigError(
            f"An ensemble has a directory of its own, and {run.root} holds a study: choose another "
            "--out."
        )


def gather(runs: Sequence[Run]) -> list[Candidate]:
    """The runs as candidates, if they can be members of one ensemble.

    Raises:
        ModelError: one has no model or is an ensemble itself, or they differ in what they were
            trained on: dataset, split, or labels.
    """
    names = _names([run.root for run in runs])
    candidates = [
        Candidate(run, name, ModelSpec.load(run.storage), run.config)
        for run, name in zip(runs, names, strict=True)
    ]
    first = candidates[0]
    own = _Origin.of(first.run)
    for each in candidates:
        if each.spec.is_ensemble:
            raise ModelError(
                f"Members are single networks, and {each.run.root} holds an ensemble: name its "
                f"members (they are in its ensemble.json)."
            )
        what = own.apart(_Origin.of(each.run)) if each is not first else ""
        if each.spec.classes != first.spec.classes and not what:
            what = f"classes ({', '.join(first.spec.classes)} and {', '.join(each.spec.classes)})"
        if what:
            raise ModelError(
                "Members must have learnt and chosen by the same items, or the ensemble would be "
                f"tested on what one of them knows, and {first.name} and {each.name} differ in "
                f"{what}: train them on one dataset with the same --seed and split."
            )
    return candidates


@dataclass(frozen=True, eq=False)
class _Origin:
    """What a run was trained on."""

    location: str
    info: bytes | None
    parts: Any
    decisions: str

    @classmethod
    def of(cls, run: Run) -> _Origin:
        facts = run.read("run.json")
        try:
            with run.storage.open(SPLIT) as file:
                parts = pq.read_table(file)
        except FileNotFoundError as error:
            raise ModelError(
                f"A member says which items it has learnt, and {run.root} has no {SPLIT}: train it "
                "again."
            ) from error
        try:
            dataset = own_dataset(run)
            location, info = dataset.location, dataset.storage.read(INFO)
        except DatasetError:  # it was trained on another machine
            location, info = run.locate(facts["dataset"]), None
        return cls(location, info, parts, facts.get(DECISIONS, ""))

    def apart(self, other: _Origin) -> str:
        """In what two runs differ; empty where they were trained on the same."""
        same = self.location == other.location or self.info == other.info
        if not same and self.info is not None and other.info is not None:
            return f"their dataset ({self.location} and {other.location})"
        if not self.parts.equals(other.parts):
            return "how it was split"
        if self.decisions != other.decisions:
            return "the labels that they learnt, which decisions had changed in between"
        return ""


def own_dataset(run: Run) -> Dataset:
    """The dataset of a run; of a trial, also where a worker knew it by another path.

    Raises:
        DatasetError: it is not there.
    """
    try:
        return run.dataset()
    except DatasetError:
        study = run.root.parent.parent.parent / STUDY
        if not study.is_file():
            raise
        return Dataset.load(json.loads(study.read_text(encoding="utf-8"))["dataset"])


def common_dataset(candidates: Sequence[Candidate]) -> Dataset:
    """The dataset of all candidates, from the first that knows where it is on this machine.

    Raises:
        DatasetError: none does.
    """
    for each in candidates[:-1]:
        with contextlib.suppress(DatasetError):
            return own_dataset(each.run)
    return own_dataset(candidates[-1].run)


def thoughts(candidate: Candidate, dataset: Dataset, part: Part) -> Predictions:
    """What a candidate thinks of a part of the dataset, with the part's labels.

    Predictions that its run holds are taken as they are, others are made.
    """
    found = None
    with contextlib.suppress(ModelError):
        name = f"predictions/{part.name}.parquet"
        found = Predictions.load(candidate.run.storage, name)
    same = found is not None and found.classes == candidate.spec.classes
    if found is None or not same or not np.array_equal(found.ids, part.ids):
        device = choose("auto", candidate.config.train.precision)
        model = Model.load(candidate.run.storage, device)
        found = predict_items(model, dataset, part.rows)
    return Predictions(part.ids, found.probabilities, found.classes, part.labels, part.groups)


def _names(roots: Sequence[Path]) -> list[str]:
    """Short names, different from each other: of trials their numbers, else the ends of paths."""
    trials = [re.fullmatch(r".*/trials/(\d+)/(\d+)", root.as_posix()) for root in roots]
    found = [
        f"trial {int(m[1])}" + (f".{m[2]}" if int(m[2]) else "") if m else root.name
        for root, m in zip(roots, trials, strict=True)
    ]
    if len(set(found)) == len(found):
        return found
    above = os.path.commonpath([root.parent for root in roots])
    return [os.path.relpath(root, above) for root in roots]
