"""Out-of-sample probabilities: every label is judged by networks that have not seen it.

The items whose labels may be learnt, the pool, are divided into folds; each fold is judged by a
network trained on the others, and everything outside the pool (the test part, items without a
label) by all networks of the round, which have seen none of it. Several rounds, each with labels
that the last one has mended, and several divisions per round: what the audit makes of them is in
`rounds`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.config import Config
from lorgnette.dataset.split import UNUSED, Split, divide
from lorgnette.dataset.store import Dataset, read_array, write_array
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import EngineError
from lorgnette.evaluation.crossval import fold_seed, quiet
from lorgnette.evaluation.folds import units
from lorgnette.progress import Meter
from lorgnette.resolve import parse
from lorgnette.rundir import Run
from lorgnette.storage import Storage

WATCHED = 0.02
"""Share of a fold's training side that is its validation part. Nothing is chosen by it: it is there
to be looked at, and the loop wants one."""
BATCH = 1024

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fold:
    """One network of a round.

    Attributes:
        division: from 0; each divides the pool anew.
        number: from 0, of the folds of this division.
    """

    division: int
    number: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.division}-{self.number}"


@dataclass(frozen=True)
class Round:
    """What the networks of one round are trained on.

    Attributes:
        number: from 0.
        folds: of each division.
        divisions: how often the pool is divided.
        pool: bool (N,), the items whose labels may be learnt or judged by folds.
        labels: int32 (N,), what is learnt; -1 for pool items that are left out this time.
    """

    number: int
    folds: int
    divisions: int
    pool: NDArray[np.bool_]
    labels: NDArray[np.int32]

    @property
    def folder(self) -> str:
        """Where it is in the audit."""
        return f"rounds/{self.number}"


def judge(
    dataset: Dataset, config: Config, out: Storage, plan: Round, engine: Engine, meter: Meter
) -> Floats:
    """Train the networks of a round and say what they think of every usable item.

    What an earlier call has finished is not done again, and a network that was interrupted goes on
    from its last checkpoint.

    Args:
        dataset: the items.
        config: the network, its training, the seed.
        out: the audit's directory, local.
        plan: the round.
        engine: where the networks are trained.
        meter: advanced by one for each network.

    Returns:
        Probabilities float64 (N, K), the mean over divisions (and over all networks for items
        outside the pool).

    Raises:
        EngineError: a network failed on every attempt.
    """
    label_file, pool_file = f"{plan.folder}/labels.npy", f"{plan.folder}/pool.npy"
    write_array(out, label_file, plan.labels)
    write_array(out, pool_file, plan.pool)
    jobs = [Fold(d, f) for d in range(plan.divisions) for f in range(plan.folds)]
    left = [job for job in jobs if not out.exists(f"{plan.folder}/{job.name}.npy")]
    meter.advance(len(jobs) - len(left))
    task: Task[Fold, float] = Task.of(
        train_fold,
        dataset=dataset.location,
        out=out.root,
        folder=plan.folder,
        folds=plan.folds,
        config=config.model_dump(mode="json", exclude_none=True),
    )
    failed = []
    for outcome in engine.map(task, left) if left else ():
        if outcome.error is not None:
            failed.append(outcome)
        meter.advance(1)
    if failed:
        raise EngineError(
            f"{len(failed)} of {len(jobs)} networks of the audit failed, {plan.folder}/"
            f"{failed[0].item.name} after {failed[0].attempts} attempts: {failed[0].error} What "
            "was finished is kept: mend the cause and start the same command again."
        )
    return gather(dataset, config, out, plan, jobs)


def train_fold(
    job: Fold, *, dataset: str, out: str, folder: str, folds: int, config: dict[str, Any]
) -> float:
    """Train one network and keep what it thinks of the items that it has not seen; seconds."""
    from lorgnette.devices import choose
    from lorgnette.model import Model
    from lorgnette.training.loop import train

    opened, given, storage = Dataset.load(dataset), parse(config, "the audit"), Storage.at(out)
    labels = np.array(read_array(storage, f"{folder}/labels.npy"))
    pool = np.array(read_array(storage, f"{folder}/pool.npy"))
    number = int(Path(folder).name)
    seed = fold_seed(given.seed, number * 1000 + job.division, job.number)
    epochs = given.audit.epochs or given.train.epochs
    own = given.model_copy(
        update={"seed": seed, "train": given.train.model_copy(update={"epochs": epochs})}
    )
    run = Run(f"{out}/{folder}/{job.name}")
    run.begin(own, dataset)
    fold = division(opened, pool, folds, given.seed, number, job.division)
    side = np.flatnonzero(pool & (fold != job.number) & (labels >= 0))
    parts = np.full(len(labels), UNUSED, np.int8)
    parts[side] = 0
    watched = np.random.default_rng(seed).permutation(side)[: max(int(WATCHED * len(side)), 1)]
    parts[watched] = 1
    with quiet():
        if run.is_trained:
            model = Model.load(run.storage, choose(own.train.device, own.train.precision))
        else:
            model = train(opened, Split(parts), own, run, labels=labels)
    unseen = np.flatnonzero(~pool | (fold == job.number))
    probabilities = np.concatenate(list(_predict(model, opened, unseen)))
    write_array(storage, f"{folder}/{job.name}.npy", probabilities.astype(np.float32))
    if job != Fold(0, 0):  # one network a round is kept, to find neighbours with
        shutil.rmtree(run.root)
    return sum(float(line["seconds"]) for line in run.metrics())


def _predict(model: Any, dataset: Dataset, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    size = None if dataset.is_vectors else model.spec.size
    yield np.empty((0, len(model.spec.classes)), np.float32)
    for start in range(0, len(rows), BATCH):
        yield model.probabilities(dataset.read(rows[start : start + BATCH], size))


def division(
    dataset: Dataset,
    pool: NDArray[np.bool_],
    folds: int,
    seed: int,
    number: int,
    repeat: int,
) -> NDArray[np.int64]:
    """The fold of each item, (N,), -1 outside the pool; groups and copies stay whole.

    Folds are stratified by the given labels, which no round changes.
    """
    rows = np.flatnonzero(pool)
    labels, together = dataset.labels("given"), units(dataset)
    # Items of the pool without a given label have one that a decision gave them: a class apart.
    strata = np.where(labels[rows] < 0, len(dataset.info.classes), labels[rows])
    rng = np.random.default_rng([seed, 7, number, repeat])
    shares = np.append(np.full(folds, 1 / folds), 0.0)
    found = np.full(len(labels), -1, np.int64)
    found[rows] = divide(strata, None if together is None else together[rows], shares, rng)
    return found


def gather(dataset: Dataset, config: Config, out: Storage, plan: Round, jobs: list[Fold]) -> Floats:
    """The mean of what the networks think of what they have not seen."""
    sums = np.zeros((len(plan.labels), len(dataset.info.classes)))
    times = np.zeros(len(plan.labels))
    folds = np.empty(0, np.int64)
    for job in jobs:
        if job.number == 0:
            folds = division(dataset, plan.pool, plan.folds, config.seed, plan.number, job.division)
        unseen = np.flatnonzero(~plan.pool | (folds == job.number))
        sums[unseen] += read_array(out, f"{plan.folder}/{job.name}.npy")
        times[unseen] += 1
    assert (times > 0).all()  # every item is outside the pool or in one fold of each division
    return np.asarray(sums / times[:, None])
