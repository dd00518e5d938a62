"""One of several trainings that run together: its batches, its rates, when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorgnette.config import Config
from lorgnette.model import ModelSpec
from lorgnette.rundir import Run
from lorgnette.training.batches import batch_sizes, steps_per_epoch
from lorgnette.training.checkpoint import Progress
from lorgnette.training.optimizers import rate_factor


@dataclass(eq=False)
class Fold:
    """One of the trainings.

    Attributes:
        config: its settings; all but the seed are those of the others.
        run: where its metrics and its model go.
        spec: what its `model.json` will say.
        train: places of its training items in the common pixels, (n,).
        val: those of its validation items.
        epochs: passes over the training items.
        progress: how far it is.
    """

    config: Config
    run: Run
    spec: ModelSpec
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    epochs: int
    progress: Progress

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.train), self.config.train.batch_size)

    @property
    def finished(self) -> str | None:
        """Why it ended; None while it has not."""
        now, patience = self.progress, self.config.train.stopping.patience
        if now.epoch >= self.epochs:
            return f"all {self.epochs} epochs"
        if patience and now.epoch - now.best_epoch >= patience:
            return f"no better epoch in {patience}"
        return None

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept, from 1."""
        now = self.progress
        restore = self.config.train.stopping.restore_best and now.best_epoch
        return now.best_epoch if restore else now.epoch

    def batches(self) -> list[NDArray[np.int64]]:
        """Places of the batches of the epoch under way: those of `MemoryFeed.epoch`."""
        count = len(self.train)
        order = np.random.default_rng([self.config.seed, self.progress.epoch]).permutation(count)
        sizes = batch_sizes(count, self.config.train.batch_size)
        return np.split(self.train[order], np.cumsum(sizes)[:-1])

    def rate(self, step: int) -> float:
        """The learning rate of a step of the epoch under way."""
        settings, per_epoch = self.config.train, self.per_epoch
        at, steps = self.progress.epoch * per_epoch + step, self.epochs * per_epoch
        return settings.optimizer.lr * rate_factor(settings.schedule, at, steps, per_epoch)

    def generator(self, step: int) -> torch.Generator:
        """The random numbers of augmentation in a step, those of `Trainer`."""
        at = self.progress.epoch * self.per_epoch + step
        state = np.random.SeedSequence([self.config.seed, at]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0] >> 1))


def padded(
    batches: Sequence[Sequence[NDArray[np.int64]]], steps: int, widest: int
) -> tuple[Tensor, Tensor]:
    """Batches of L folds as (steps, L, widest): places, and weights, 0 where there is no item."""
    places = torch.zeros(steps, len(batches), widest, dtype=torch.int64)
    weight = torch.zeros(steps, len(batches), widest)
    for fold, each in enumerate(batches):
        for step, batch in enumerate(each):
            places[step, fold, : len(batch)] = torch.from_numpy(batch)
            weight[step, fold, : len(batch)] = 1
    return places, weight
