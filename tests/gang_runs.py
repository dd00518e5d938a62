"""What tests of gangs share: trainings, their figures, and members that die on purpose."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from lorgnette.config import Config
from lorgnette.dataset.split import split
from lorgnette.dataset.store import Dataset
from lorgnette.devices import choose
from lorgnette.engines.base import Engine, Task
from lorgnette.engines.local import LocalEngine
from lorgnette.model import Model
from lorgnette.rundir import Run
from lorgnette.training import gang, loop


def fit(
    dataset: Dataset, config: Config, folder: Path, engine: Engine | None = None
) -> tuple[Model, Run]:
    """Train with as many members as the configuration has; by itself if it has one."""
    run = Run(folder)
    run.begin(config, dataset.location) if not (folder / "config.toml").exists() else None
    parts = split(dataset, config.split, config.seed)
    if config.train.members == 1:
        return loop.train(dataset, parts, config, run), run
    return gang.train_gang(dataset, parts, config, run, engine or LocalEngine(2, 200)), run


def curve(run: Run) -> np.ndarray[Any, Any]:
    """The losses and accuracies of each epoch, (epochs, 4)."""
    keys = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return np.array([[line[key] for key in keys] for line in run.metrics()])


def _first(folder: str, rank: int) -> bool:
    """Whether this member starts for the first time."""
    path = Path(folder) / f"started-{rank}"
    if path.exists():
        return False
    path.touch()
    return True


def die_in_the_middle(rank: int, /, *, folder: str, victim: int, after: int, **rest: Any) -> None:
    """A member that is killed after so many steps, the first time it starts."""
    if _first(folder, rank) and rank == victim:
        step, done = loop.Trainer._step, [0]

        def dying(*args: Any) -> Any:
            done[0] += 1
            if done[0] > after:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*args)

        loop.Trainer._step = dying  # type: ignore[method-assign, assignment]
    loop.LOSS_CHECK_STEPS = 2
    gang.train_member(rank, **rest)


def on_two_machines(rank: int, /, **rest: Any) -> None:
    """Members that think they are on machines of their own."""
    gang.machine = lambda: f"machine{rank}"
    gang.train_member(rank, **rest)


def several(rank: int, *, trainings: list[dict[str, Any]]) -> None:
    """Some trainings one after the other in one gang, as the start of one takes seconds.

    They share one process group: a second one in the same process may find the first one's
    addresses in the store where members meet.
    """
    with gang.process_group(choose("cpu")):
        gang.process_group = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
        for training in trainings:
            gang.train_member(rank, **training)


def fit_all(dataset: Dataset, configs: dict[Path, Config], processes: int) -> dict[Path, Run]:
    """Train all of some configurations in one gang; runs by folder."""
    runs, trainings = {}, []
    for folder, config in configs.items():
        runs[folder] = run = Run(folder)
        run.begin(config, dataset.location)
        parts = split(dataset, config.split, config.seed)
        trainings.append(dict(gang.gang_task(dataset, parts, config, run).arguments))
    LocalEngine(2, 200).gang(Task.of(several, trainings=trainings), processes)
    return runs
