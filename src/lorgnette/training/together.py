"""Several trainings of one small network at once: the folds of a cross-validation.

Folds differ in their items, seed and number of steps, and in nothing else. Each keeps the initial
weights, the order of batches, the schedule, the early stopping and the best epoch that
`training.loop.train` would give it; only the arithmetic is batched. A batch that is shorter than
another fold's is filled up with items of weight zero, and a fold that has no batch left in an epoch
is not moved, so no item is dropped or counted twice.

With dropout the masks are drawn from one stream for all folds and differ from those of a training
by itself; without it the figures agree up to rounding (`tests/training/test_together.py`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lorgnette.config import Augment, Config, TrainConfig
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device
from lorgnette.errors import TrainingError
from lorgnette.model import Model, as_input, standardise
from lorgnette.models import build, count_parameters
from lorgnette.progress import progress, say
from lorgnette.rundir import Run
from lorgnette.training.augment import augment
from lorgnette.training.checkpoint import Progress
from lorgnette.training.fold import Fold, padded
from lorgnette.training.loop import EVALUATION_BATCH, default_epochs
from lorgnette.training.losses import item_losses, predicted
from lorgnette.training.spec import model_spec, training_device
from lorgnette.training.stack import Stack, StackedOptimizer

CHECKPOINT = "checkpoints/together.safetensors"
CHECKPOINT_SECONDS = 10.0
"""A checkpoint is written after an epoch when this time has passed since the last."""


def train_together(
    dataset: Dataset, splits: Sequence[Split], configs: Sequence[Config], runs: Sequence[Run]
) -> list[Model]:
    """Train one network per split as one batched computation; see `training.loop.train`.

    Started again after a kill it continues from its last checkpoint, which lies in the first run,
    and ends with the same figures. Each run then holds what it would hold by itself: model,
    metrics, facts (the seconds of an epoch are shared out evenly).

    Args:
        dataset: pixels and labels; they must fit into memory.
        splits: of each training, F.
        configs: likewise; they differ in the seed alone.
        runs: likewise.

    Raises:
        TrainingError: a loss is not a number, memory ran out, or the checkpoint is damaged.
    """
    settings = configs[0].train
    device = training_device(dataset, configs[0])
    torch.backends.cudnn.deterministic = True
    try:
        trainer = TogetherTrainer.of(dataset, splits, configs, runs, device)
        trainer.fit()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            text = "out of memory"
        if "out of memory" not in text and "can't allocate memory" not in text:
            raise
        raise TrainingError(
            f"Memory ran out in training {len(runs)} folds together; checkpoints stay: use smaller "
            f"batches (--set train.batch_size={max(settings.batch_size // 2, 1)}) or train them "
            "one by one (--together no), in another --out."
        ) from error
    return trainer.finish()


class TogetherTrainer:
    """The folds, their stack of networks and its optimizer, and the pixels that all share."""

    def __init__(
        self, folds: list[Fold], stack: Stack, pixels: Tensor, labels: Tensor, device: Device
    ) -> None:
        self.folds, self.stack, self.device = folds, stack, device
        self.pixels, self.labels = pixels, labels
        self.settings: TrainConfig = folds[0].config.train
        self.optimizer = StackedOptimizer(self.settings.optimizer, stack)
        self.best = stack.values.clone()
        place = self.device.torch
        self.mean = torch.tensor([fold.spec.mean for fold in folds], device=place)
        self.deviation = torch.tensor([fold.spec.deviation for fold in folds], device=place)
        self.class_weights = self._class_weights()
        self._restore()

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        splits: Sequence[Split],
        configs: Sequence[Config],
        runs: Sequence[Run],
        device: Device,
    ) -> TogetherTrainer:
        """Read the items and build the networks, each from its own seed."""
        used = [np.union1d(split.indices("train"), split.indices("val")) for split in splits]
        rows = np.unique(np.concatenate(used))
        folds, networks = [], []
        for split, config, run in zip(splits, configs, runs, strict=True):
            chosen = split.indices("train")
            spec = model_spec(dataset, chosen, config)
            torch.manual_seed(config.seed)
            networks.append(device.place(build(config.model, spec.input_shape, len(spec.classes))))
            train, val = (np.searchsorted(rows, split.indices(part)) for part in ("train", "val"))
            epochs = config.train.epochs or default_epochs(len(chosen))
            folds.append(Fold(config, run, spec, train, val, epochs, Progress()))
        for run in runs:
            learnt = run.settle(dataset)
        labels = torch.from_numpy(learnt[rows].astype(np.int64)).to(device.torch)
        size = folds[0].spec.size or None
        pixels = torch.from_numpy(dataset.read(rows, size)).to(device.torch)
        return cls(folds, Stack(networks), pixels, labels, device)

    def fit(self) -> None:
        """Train all folds, an epoch of each in turn, until every one has ended."""
        done = sum(fold.progress.epoch * len(fold.train) for fold in self.folds)
        total = sum(fold.epochs * len(fold.train) for fold in self.folds)
        saved = time.perf_counter()
        with progress(f"Training {len(self.folds)} folds", total, "images", done=done) as meter:
            while live := [i for i, fold in enumerate(self.folds) if not fold.finished]:
                started = time.perf_counter()
                sums, seconds = self._train_epoch(live), time.perf_counter() - started
                self._check(live, sums)
                self._finish_epoch(live, sums, self._evaluate(live), seconds / len(live))
                if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.perf_counter()
                meter.advance(sum(len(self.folds[i].train) for i in live))
        self._save()

    def _train_epoch(self, live: list[int]) -> list[list[float]]:
        """One pass of each live fold; its loss sum, correct and count, (L, 3)."""
        folds = [self.folds[i] for i in live]
        batches = [fold.batches() for fold in folds]
        steps = max(map(len, batches))
        widest = max(len(batch) for each in batches for batch in each)
        places, weight = padded(batches, steps, widest)
        rates = torch.tensor([[[fold.rate(step)] for fold in folds] for step in range(steps)])
        place = self.device.torch
        places, weight, rates = places.to(place), weight.to(place), rates.double().to(place)
        moved = [[i for i, each in enumerate(batches) if step < len(each)] for step in range(steps)]
        seeds = [fold.config.seed for fold in folds] + [folds[0].progress.epoch]
        state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> 1))  # dropout
        self._narrow(live)
        sums = torch.zeros(len(live), 3, dtype=torch.float64, device=place)
        for step in range(steps):
            rows = None if len(moved[step]) == len(live) else torch.tensor(moved[step]).to(place)
            sums += self._step(folds, step, places[step], weight[step], rates[step], rows)
        self._widen(live)
        found: list[list[float]] = sums.tolist()
        return found

    def _narrow(self, live: list[int]) -> None:
        """Take the rows of live folds out of everything that a step reads."""
        chosen = torch.tensor(live).to(self.device.torch)
        optimizer = self.optimizer
        self._whole = (self.stack.values, optimizer.first, optimizer.second, optimizer.steps)
        self._live = tuple(tensor[chosen] for tensor in self._whole)
        self._live[0].requires_grad_()
        self._moments = (self.mean[chosen], self.deviation[chosen])
        weights = self.class_weights
        self._weights = None if weights is None else weights[chosen]
        _, optimizer.first, optimizer.second, optimizer.steps = self._live

    def _widen(self, live: list[int]) -> None:
        """Put them back."""
        chosen = torch.tensor(live).to(self.device.torch)
        for whole, part in zip(self._whole, self._live, strict=True):
            whole[chosen] = part.detach()
        optimizer = self.optimizer
        _, optimizer.first, optimizer.second, optimizer.steps = self._whole

    def _step(
        self,
        folds: list[Fold],
        step: int,
        places: Tensor,
        weight: Tensor,
        rates: Tensor,
        rows: Tensor | None,
    ) -> Tensor:
        """One update of L folds with B places each; loss sum, correct and count, (L, 3)."""
        values = self._live[0]
        labels = self.labels[places]  # (L, B)
        images = torch.vmap(as_input)(self.pixels[places])  # (L, B, C, H, W), or (L, B, V)
        if self.settings.augment != Augment() and images.ndim == 5:
            images = self._augmented(folds, step, images, weight)
        images = torch.vmap(standardise)(images, *self._moments)
        with self.device.autocast():
            logits, extra = self.stack(values, images, training=True)
        smoothing = self.settings.label_smoothing
        losses = item_losses(logits.float().flatten(0, 1), labels.flatten(), smoothing)
        losses = losses.view(labels.shape) * weight
        if self._weights is not None:
            losses = losses * self._weights.gather(1, labels)
        count = weight.sum(dim=1)
        loss = (losses.sum(dim=1) / count.clamp(min=1) + extra.float()).sum()
        (gradient,) = torch.autograd.grad(loss, values)
        self.optimizer.update(values, gradient, rates, rows)
        with torch.no_grad():
            right = predicted(logits.flatten(0, 1)).view(labels.shape) == labels
            correct = (right * weight).sum(dim=1)
            return torch.stack([losses.sum(dim=1), correct, count], dim=1).double()

    def _augmented(self, folds: list[Fold], step: int, images: Tensor, weight: Tensor) -> Tensor:
        """Each fold's batch changed by its own random numbers; what fills it up stays."""
        settings, changed = self.settings.augment, []
        for fold, own, count in zip(folds, images, weight.sum(dim=1).int().tolist(), strict=True):
            real = own[:count]
            real = augment(real, settings, fold.generator(step)) if count else real
            changed.append(torch.cat([real, own[count:]]))
        return torch.stack(changed)

    @torch.no_grad()
    def _evaluate(self, live: list[int]) -> list[tuple[float, float]]:
        """Mean loss and accuracy of each live fold on its validation part."""
        parts = [self.folds[i].val for i in live]
        chosen = torch.tensor(live).to(self.device.torch)
        places, weight = padded([[part] for part in parts], 1, max(map(len, parts)))
        places, weight = places[0].to(self.device.torch), weight[0].to(self.device.torch)
        values = self.stack.values[chosen]
        moments = self.mean[chosen], self.deviation[chosen]
        sums = torch.zeros(len(live), 2, dtype=torch.float64, device=self.device.torch)
        for start in range(0, places.shape[1], EVALUATION_BATCH):
            some = slice(start, start + EVALUATION_BATCH)
            labels = self.labels[places[:, some]]
            images = torch.vmap(as_input)(self.pixels[places[:, some]])
            images = torch.vmap(standardise)(images, *moments)
            with self.device.autocast():
                logits, _ = self.stack(values, images, training=False)
            flat = logits.float().flatten(0, 1)
            losses = item_losses(flat, labels.flatten(), 0.0).view(labels.shape)
            right = predicted(flat).view(labels.shape) == labels
            both = torch.stack([losses, right.float()], dim=2) * weight[:, some, None]
            sums += both.sum(dim=1)
        found = sums.tolist()
        return [
            (row[0] / len(part), row[1] / len(part)) for row, part in zip(found, parts, strict=True)
        ]

    def _finish_epoch(
        self,
        live: list[int],
        sums: list[list[float]],
        validation: list[tuple[float, float]],
        seconds: float,
    ) -> None:
        """Note the epoch's figures, and keep the weights of folds for which it was the best."""
        for i, (loss_sum, correct, count), (val_loss, val_accuracy) in zip(
            live, sums, validation, strict=True
        ):
            fold = self.folds[i]
            now, stopping = fold.progress, fold.config.train.stopping
            line: dict[str, Any] = {
                "epoch": now.epoch + 1,
                "train_loss": loss_sum / count,
                "train_accuracy": correct / count,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "lr": fold.rate(fold.per_epoch - 1),
                "seconds": round(seconds, 3),
                "images_per_second": round(len(fold.train) / seconds, 1),
            }
            now.history.append(line)
            now.epoch += 1
            sign = -1 if stopping.monitor == "val_loss" else 1
            value = line[stopping.monitor]
            if math.isfinite(value) and (now.best is None or sign * value > sign * now.best):
                now.best, now.best_epoch = value, now.epoch
                self.best[i] = self.stack.values[i]

    def _check(self, live: list[int], sums: list[list[float]]) -> None:
        for i, row in zip(live, sums, strict=True):
            if not math.isfinite(row[0]):
                raise TrainingError(
                    f"The training loss is not a number any more in epoch "
                    f"{self.folds[i].progress.epoch + 1} of {self.folds[i].run.root.name}: lower "
                    f"the learning rate (--set train.optimizer.lr="
                    f"{self.settings.optimizer.lr / 10:g}) or use --set train.precision=float32."
                )

    def finish(self) -> list[Model]:
        """The model of each fold with the weights that are kept, saved in its run."""
        models = []
        for i, fold in enumerate(self.folds):
            network = build(fold.config.model, fold.spec.input_shape, len(fold.spec.classes))
            restored = fold.kept_epoch != fold.progress.epoch
            values = (self.best if restored else self.stack.values)[i].cpu()
            model = Model.of(fold.spec, self.stack.unstack(values, network), self.device)
            lines = "".join(json.dumps(line) + "\n" for line in fold.progress.history)
            fold.run.storage.write("metrics.jsonl", lines.encode())
            model.save(fold.run.storage)
            fold.run.note(
                training={
                    "parameters": count_parameters(network),
                    "epochs": fold.progress.epoch,
                    "best_epoch": fold.kept_epoch,
                    "stopped": fold.finished,
                    "device": self.device.name,
                    "precision": self.device.precision,
                    "images": len(fold.train),
                    "together": len(self.folds),
                    "normalization": {
                        "mean": list(fold.spec.mean),
                        "deviation": list(fold.spec.deviation),
                    },
                }
            )
            models.append(model)
        return models

    def _class_weights(self) -> Tensor | None:
        """The weight of each class in the loss of each fold, (F, K); None where all count alike."""
        if self.settings.class_weights != "balanced":
            return None
        labels, rows = self.labels.cpu().numpy(), []
        for fold in self.folds:
            counts = np.bincount(labels[fold.train], minlength=len(fold.spec.classes))
            rows.append(len(fold.train) / (len(counts) * np.maximum(counts, 1)))
        return torch.tensor(np.array(rows), dtype=torch.float32).to(self.device.torch)

    def _state(self) -> dict[str, Tensor]:
        optimizer = self.optimizer
        return {
            "values": self.stack.values,
            "first": optimizer.first,
            "second": optimizer.second,
            "steps": optimizer.steps,
            "best": self.best,
        }

    def _save(self) -> None:
        plain = {key: value.detach().cpu().contiguous() for key, value in self._state().items()}
        told = json.dumps([asdict(fold.progress) for fold in self.folds])
        self.folds[0].run.storage.write(CHECKPOINT, save(plain, {"progress": told}))

    def _restore(self) -> None:
        """Take up the last checkpoint if there is one."""
        path = self.folds[0].run.root / CHECKPOINT
        if not path.is_file():
            return
        try:
            with safe_open(path, "pt") as file:
                told = json.loads(file.metadata()["progress"])
                for fold, facts in zip(self.folds, told, strict=True):
                    fold.progress = Progress(**facts)
                for key, value in self._state().items():
                    value.copy_(file.get_tensor(key))
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"The checkpoint {path} is damaged or of other folds ({type(error).__name__}): "
                "remove it and their training begins again."
            ) from error
        epochs = [fold.progress.epoch for fold in self.folds]
        say(f"Continuing the training of {len(epochs)} folds after epoch {max(epochs)}.")
