"""The training loop: reads straight down, from the parts of the dataset to the best weights.

B images of C channels and H × W pixels make a batch. Every step draws its random numbers from a
seed of its own, made from the run's seed and the step's number, so that nothing but counters has
to be stored to go on in the middle of an epoch.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lorgnette.config import Config, TrainConfig
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device, choose
from lorgnette.errors import TrainingError
from lorgnette.memory import kept_memory
from lorgnette.model import Model, ModelSpec, as_input, standardise, weights
from lorgnette.models import build, count_parameters, penalised_layers, penalty_of
from lorgnette.progress import Meter, progress, say
from lorgnette.rundir import Run
from lorgnette.training.augment import augment
from lorgnette.training.batches import Feed, MemoryFeed, open_feed, steps_per_epoch
from lorgnette.training.checkpoint import BEST, Progress, load_checkpoint, save_checkpoint
from lorgnette.training.losses import item_losses, predicted
from lorgnette.training.optimizers import WeightAverage, build_optimizer, rate_factor
from lorgnette.training.spec import model_spec, training_device

EVALUATION_BATCH = 256
LOSS_CHECK_STEPS = 50
SEEN_BY_DEFAULT = 22_000

Watcher = Callable[[dict[str, Any]], None]
"""Is given the metrics of an epoch, after its checkpoint; may raise to end the training."""


def train(
    dataset: Dataset,
    split: Split,
    config: Config,
    run: Run,
    *,
    labels: NDArray[np.int32] | None = None,
    watch: Watcher | None = None,
    mapped: bool = False,
) -> Model:
    """Train the network of a configuration and leave the best weights in a run.

    Started again after a kill it continues from its last checkpoint and ends with the same figures.

    Args:
        dataset: pixels and labels.
        split: its `train` part is learnt, its `val` part decides which epoch is best; `test` is
            not looked at.
        config: the network, how it is trained, the seed.
        run: where checkpoints, `metrics.jsonl`, and the model go.
        labels: what to learn of each usable item, codes, (N,); those that the configuration names
            if not given.
        watch: told the metrics of each epoch as it ends, and of those that a checkpoint holds.
        mapped: leave pixels that would be held in memory where all processes of this machine
            share them; see `lorgnette.training.batches.open_feed`.

    Raises:
        TrainingError: the loss is not a number, or memory ran out; checkpoints stay.
        ModelError: decisions have changed labels since a training that is to continue began.
    """
    settings = config.train
    device = training_device(dataset, config)
    torch.backends.cudnn.deterministic = True
    rows = split.indices("train")
    labels = run.settle(dataset) if labels is None else labels
    epochs = settings.epochs or default_epochs(len(rows))
    spec = model_spec(dataset, rows, config)
    torch.manual_seed(config.seed)
    network = device.place(build(config.model, spec.input_shape, len(spec.classes)))
    trainer = Trainer(settings, epochs, config.seed, spec, network, device, run)
    trainer.weigh_classes(labels[rows])
    trainer.watch = watch
    budget = memory_budget(settings, device)
    try:
        feed = partial(
            open_feed, dataset, device=device, budget=budget, size=spec.size or None, mapped=mapped
        )
        val_rows = split.indices("val")
        train_feed, val_feed = feed(rows, labels[rows]), feed(val_rows, labels[val_rows])
        with kept_memory():
            stopped = trainer.fit(trainer.prepared(train_feed), trainer.prepared(val_feed))
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(_no_memory(settings)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise TrainingError(_no_memory(settings)) from error
        raise
    model = trainer.best_model()
    model.save(run.storage)
    run.note(
        training={
            "parameters": count_parameters(network),
            "epochs": trainer.progress.epoch,
            "best_epoch": trainer.kept_epoch,
            "stopped": stopped,
            "device": device.name,
            "precision": device.precision,
            "images": len(rows),
            "normalization": {"mean": list(spec.mean), "deviation": list(spec.deviation)},
        }
    )
    return model


@dataclass(eq=False)
class Trainer:
    """A network in training: its optimizer, its progress, its checkpoints."""

    settings: TrainConfig
    epochs: int
    seed: int
    spec: ModelSpec
    network: nn.Module
    device: Device
    run: Run
    watch: Watcher | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Make the optimizer and take up the last checkpoint if there is one."""
        self.optimizer = build_optimizer(self.network, self.settings.optimizer)
        decay = self.settings.average
        self.average = WeightAverage(self.network, decay) if decay else None
        self.class_weights: Tensor | None = None
        self.penalised = penalised_layers(self.network)
        self.mean = torch.tensor(self.spec.mean, device=self.device.torch)
        self.deviation = torch.tensor(self.spec.deviation, device=self.device.torch)
        found = load_checkpoint(self.run, self.network, self.optimizer, self.average)
        self.progress = found or Progress()
        if found:
            within = f" and {found.step} steps" if found.step else ""
            say(f"Continuing the training after epoch {found.epoch}{within}.")

    def weigh_classes(self, labels: NDArray[np.int32]) -> None:
        """Set the weight of each class in the loss: N / (K * count), if that was asked for."""
        if self.settings.class_weights == "balanced":
            counts = np.bincount(labels, minlength=len(self.spec.classes))
            balanced = len(labels) / (len(counts) * np.maximum(counts, 1))
            self.class_weights = torch.tensor(balanced, dtype=torch.float32).to(self.device.torch)

    def prepared(self, feed: Feed) -> Feed:
        """Vectors in memory are standardised once and not in every step."""
        if isinstance(feed, MemoryFeed) and self.spec.features:
            device = feed.pixels.device
            inputs = standardise(feed.pixels, self.mean.to(device), self.deviation.to(device))
            return replace(feed, pixels=inputs, ready=True)
        return feed

    def fit(self, train_feed: Feed, val_feed: Feed) -> str:
        """Train epoch by epoch; returns why it ended."""
        now = self.progress
        per_epoch = steps_per_epoch(train_feed.items, self.settings.batch_size)
        done = (now.epoch * per_epoch + now.step) * self.settings.batch_size
        total = self.epochs * train_feed.items
        if self.watch is not None:
            for line in now.history:
                self.watch(line)
        with progress("Training", total, self.spec.things, done=min(done, total)) as meter:
            while now.epoch < self.epochs:
                if self._patience_is_over():
                    return f"no better epoch in {self.settings.stopping.patience}"
                self._train_epoch(train_feed, per_epoch, meter)
                self._finish_epoch(train_feed.items, self._evaluate(val_feed))
                if self.watch is not None:
                    self.watch(now.history[-1])
        return f"all {self.epochs} epochs"

    def _train_epoch(self, feed: Feed, per_epoch: int, meter: Meter) -> None:
        """One pass over the training part, from where the checkpoint left it."""
        now, settings = self.progress, self.settings
        self.network.train()
        sums = torch.tensor(now.sums, dtype=torch.float64, device=self.device.torch)
        waiting: list[Answers] = []
        note = self._note()
        started = saved = time.perf_counter()
        before = now.seconds
        batches = feed.epoch(self.seed, now.epoch, settings.batch_size, skip=now.step)
        for items, labels in batches:  # uint8 (B, H, W, C) or float32 (B, F), int64 (B,)
            step = now.epoch * per_epoch + now.step
            waiting.append(self._step(items, labels, step, per_epoch, feed.ready))
            now.step += 1
            meter.advance(len(labels), note=note)
            if now.step % LOSS_CHECK_STEPS == 0:
                sums += _tally(waiting)
                waiting.clear()
                self._check(sums)
                clock = time.perf_counter()
                if clock - saved > 60 * settings.checkpoint_minutes and now.step < per_epoch:
                    now.sums, now.seconds = sums.tolist(), before + clock - started
                    self._save()
                    saved = clock
        if waiting:
            sums += _tally(waiting)
        self._check(sums)
        now.sums, now.seconds = sums.tolist(), before + time.perf_counter() - started

    def _step(
        self, items: Tensor, labels: Tensor, step: int, per_epoch: int, ready: bool
    ) -> Answers:
        """One update of the weights; returns what the network answered before it."""
        settings = self.settings
        seed = int(np.random.SeedSequence([self.seed, step]).generate_state(1, np.uint64)[0] >> 1)
        self.device.seed(seed)  # dropout
        factor = rate_factor(settings.schedule, step, self.epochs * per_epoch, per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.optimizer.lr * factor
        inputs = as_input(items)
        if inputs.ndim == 4:  # (B, C, H, W), channels last in memory
            inputs = augment(inputs, settings.augment, torch.Generator().manual_seed(seed))
        inputs = inputs if ready else standardise(inputs, self.mean, self.deviation)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with self.device.autocast():
            logits = self.network(inputs)
        losses = item_losses(logits.float(), labels, settings.label_smoothing)
        if self.class_weights is not None:
            losses = losses * self.class_weights[labels]
        loss = losses.mean()
        extra = penalty_of(self.penalised)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if extra is None else loss + extra).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network, step)
        return Answers(losses.detach(), logits.detach(), labels)

    @torch.inference_mode()
    def _evaluate(self, feed: Feed) -> tuple[float, float]:
        """Mean loss (without smoothing, weights and penalties) and accuracy of the kept weights."""
        network = self._averaged() if self.average else self.network
        network.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device.torch)
        for items, labels in feed.once(EVALUATION_BATCH):
            inputs = as_input(items)
            inputs = inputs if feed.ready else standardise(inputs, self.mean, self.deviation)
            with self.device.autocast():
                logits = network(inputs)
            losses = item_losses(logits.float(), labels, 0.0)
            sums += torch.stack([losses.sum(), (predicted(logits) == labels).sum()])
        loss, correct = (sums / feed.items).tolist()
        return loss, correct

    def _finish_epoch(self, items: int, validation: tuple[float, float]) -> None:
        """Note the epoch's figures, keep its weights if they are the best, write a checkpoint."""
        now, stopping = self.progress, self.settings.stopping
        loss_sum, correct, count = now.sums
        line: dict[str, Any] = {
            "epoch": now.epoch + 1,
            "train_loss": loss_sum / count,
            "train_accuracy": correct / count,
            "val_loss": validation[0],
            "val_accuracy": validation[1],
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": round(now.seconds, 3),
            "images_per_second": round(items / now.seconds, 1),
        }
        now.history.append(line)
        now.epoch, now.step, now.sums, now.seconds = now.epoch + 1, 0, [0.0, 0.0, 0.0], 0.0
        sign = -1 if stopping.monitor == "val_loss" else 1
        value = line[stopping.monitor]
        if math.isfinite(value) and (now.best is None or sign * value > sign * now.best):
            now.best, now.best_epoch = value, now.epoch
            # Before the checkpoint that says so: killed in between, this epoch is done again.
            self.run.storage.write(BEST, weights(self._averaged()))
        self._save()

    def _save(self) -> None:
        save_checkpoint(self.run, self.progress, self.network, self.optimizer, self.average)
        lines = "".join(json.dumps(line) + "\n" for line in self.progress.history)
        self.run.storage.write("metrics.jsonl", lines.encode())

    def _averaged(self) -> nn.Module:
        """The weights that count: the average where one is kept."""
        if self.average is None:
            return self.network
        network = build(self.spec.model, self.spec.input_shape, len(self.spec.classes))
        network.load_state_dict(self.average.state)
        return self.device.place(network)

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept, from 1."""
        restore = self.settings.stopping.restore_best and self.progress.best_epoch
        return self.progress.best_epoch if restore else self.progress.epoch

    def best_model(self) -> Model:
        """The model with the weights that are kept."""
        network = self._averaged()
        if self.kept_epoch != self.progress.epoch:
            from safetensors.torch import load

            network.load_state_dict(load(self.run.storage.read(BEST)))
        return Model.of(self.spec, network, self.device)

    def _patience_is_over(self) -> bool:
        patience = self.settings.stopping.patience
        return bool(patience and self.progress.epoch - self.progress.best_epoch >= patience)

    def _note(self) -> str:
        if not self.progress.history:
            return f"epoch 1/{self.epochs}"
        last = self.progress.history[-1]
        now = min(self.progress.epoch + 1, self.epochs)
        return f"epoch {now}/{self.epochs}, validation accuracy {last['val_accuracy']:.4f}"

    def _check(self, sums: Tensor) -> None:
        if not math.isfinite(float(sums[0])):
            kept = self.progress.best_epoch
            rescue = f"the best epoch so far ({kept}) is in {BEST}" if kept else "nothing was kept"
            raise TrainingError(
                f"The training loss is not a number any more in epoch {self.progress.epoch + 1} "
                f"({rescue}): lower the learning rate (--set train.optimizer.lr="
                f"{self.settings.optimizer.lr / 10:g}) or use --set train.precision=float32."
            )


class Answers(NamedTuple):
    """What a network answered to a batch: losses (B,), logits (B, 1) or (B, K), labels (B,)."""

    losses: Tensor
    logits: Tensor
    labels: Tensor


def _tally(answers: Sequence[Answers]) -> Tensor:
    """Loss sum, correct and count over batches, (3,).

    Some steps at a time: done in each, it took a fifth of the step of a small network.
    """
    losses, logits, labels = (torch.cat(parts) for parts in zip(*answers, strict=True))
    correct = (predicted(logits) == labels).sum().double()
    count = torch.tensor(float(len(labels)), dtype=torch.float64, device=losses.device)
    return torch.stack([losses.sum(dtype=torch.float64), correct, count])


def default_epochs(items: int) -> int:
    """Enough passes to see 22,000 images, but not less than 12 passes nor more than 100."""
    return min(max(-(-SEEN_BY_DEFAULT // items), 12), 100)


def memory_budget(settings: TrainConfig, device: Device) -> int:
    """Bytes of pixels that may be held in memory."""
    if settings.memory_gib is not None:
        return int(settings.memory_gib * 2**30)
    return choose("cpu").free_bytes() // 2


def _no_memory(settings: TrainConfig) -> str:
    return (
        f"Memory ran out in training (batches of {settings.batch_size}); checkpoints stay: use "
        f"smaller batches (--set train.batch_size={max(settings.batch_size // 2, 1)}) or hold "
        "fewer pixels in memory (--set train.memory_gib=1)."
    )
