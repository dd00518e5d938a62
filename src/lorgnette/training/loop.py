"""The training loop: reads straight down, from the parts of the dataset to the best weights.

B images of C channels and H × W pixels make a batch. Every step draws its random numbers from a
seed of its own, made from the run's seed and the step's number, so that nothing but counters has
to be stored to go on in the middle of an epoch.

Where several processes train one network, each runs this loop, and what they do together is behind
`self.way`; see `lorgnette.training.updates.base.Way`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lorgnette.config import Config, TrainConfig
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device
from lorgnette.errors import TrainingError
from lorgnette.memory import kept_memory
from lorgnette.model import Model, ModelSpec, as_input, standardise, weights
from lorgnette.models import build, count_parameters, penalised_layers, penalty_of
from lorgnette.progress import Meter, progress, say
from lorgnette.rundir import Run
from lorgnette.training.augment import augment
from lorgnette.training.batches import open_feed
from lorgnette.training.budget import default_epochs as default_epochs
from lorgnette.training.budget import memory_budget as memory_budget
from lorgnette.training.budget import out_of_memory
from lorgnette.training.checkpoint import BEST, Checkpoints, Progress
from lorgnette.training.feed import Batch, Feed
from lorgnette.training.losses import (
    Answers,
    balanced_weights,
    item_losses,
    not_a_number,
    predicted,
    tally,
)
from lorgnette.training.optimizers import WeightAverage, build_optimizer, rate_factor
from lorgnette.training.spec import model_spec, training_device
from lorgnette.training.updates.alone import Alone
from lorgnette.training.updates.base import Parts, Way

EVALUATION_BATCH = 256
LOSS_CHECK_STEPS = 50

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
    """Train the network of a configuration in this process and leave the best weights in a run.

    In this process alone, however many members the configuration names; `training.gang.train_gang`
    trains with several. Started again after a kill it continues from its last checkpoint and ends
    with the same figures.

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
    rows = split.indices("train")
    labels = run.settle(dataset) if labels is None else labels
    spec = model_spec(dataset, rows, config)
    trainer = Trainer.of(spec, config, labels[rows], device, run, Alone())
    trainer.watch = watch
    budget = memory_budget(settings, device)
    with out_of_memory(settings):
        feed = partial(
            open_feed, dataset, device=device, budget=budget, size=spec.size or None, mapped=mapped
        )
        val_rows = split.indices("val")
        train_feed, val_feed = feed(rows, labels[rows]), feed(val_rows, labels[val_rows])
        with kept_memory():
            stopped = trainer.fit(trainer.prepared(train_feed), trainer.prepared(val_feed))
    return trainer.finish(stopped, len(rows))


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
    way: Way = field(default_factory=Alone)
    watch: Watcher | None = field(default=None, init=False)

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        config: Config,
        labels: NDArray[np.int32],
        device: Device,
        run: Run,
        way: Way,
    ) -> Self:
        """A fresh network in training, or the one of the run's checkpoint.

        Args:
            spec: what the model will be.
            config: how it is trained, and the seed.
            labels: of all items of the training part, (N,).
            device: where it computes.
            run: where checkpoints and the model go.
            way: of updating.
        """
        torch.backends.cudnn.deterministic = True
        torch.manual_seed(config.seed)
        network = device.place(build(config.model, spec.input_shape, len(spec.classes)))
        epochs = config.train.epochs or default_epochs(len(labels))
        trainer = cls(config.train, epochs, config.seed, spec, network, device, run, way)
        trainer.weigh_classes(labels)
        return trainer

    def __post_init__(self) -> None:
        """Make the optimizer and take up the last checkpoint if there is one."""
        self.optimizer = build_optimizer(self.network, self.settings.optimizer)
        decay = self.settings.average
        self.average = WeightAverage(self.network, decay) if decay else None
        self.class_weights: Tensor | None = None
        self.penalised = penalised_layers(self.network)
        self.mean = torch.tensor(self.spec.mean, device=self.device.torch)
        self.deviation = torch.tensor(self.spec.deviation, device=self.device.torch)
        self.checkpoints = Checkpoints(
            self.run, self.way, self.network, self.optimizer, self.average
        )
        found = self.checkpoints.load()
        self.progress = found or Progress()
        if found:
            within = f" and {found.step} steps" if found.step else ""
            say(f"Continuing the training after epoch {found.epoch}{within}.")

    def weigh_classes(self, labels: NDArray[np.int32]) -> None:
        """Set the weight of each class in the loss: N / (K * count), if that was asked for."""
        if self.settings.class_weights == "balanced":
            balanced = balanced_weights(labels, len(self.spec.classes))
            self.class_weights = balanced.to(self.device.torch)

    def prepared(self, feed: Feed) -> Feed:
        """Vectors in memory are standardised once and not in every step."""
        return feed.standardised(self.mean, self.deviation) if self.spec.features else feed

    def fit(self, train_feed: Feed, val_feed: Feed) -> str:
        """Train epoch by epoch; returns why it ended."""
        now = self.progress
        per_epoch = train_feed.steps(self.settings.batch_size)
        if now.step and now.order not in ("", train_feed.order):
            now.begin_epoch_again()  # what is left of it cannot be told in another order
        now.order = train_feed.order
        rate = partial(self._rate, per_epoch=per_epoch)
        step = now.epoch * per_epoch + now.step
        self.way.join(Parts(self.network, self.optimizer, self.average, rate, step))
        done = round((now.epoch + now.step / per_epoch) * train_feed.items)
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
        self.way.begin_epoch(now.epoch)
        past = [0.0, 0.0, 0.0] if self.way.rank else now.sums
        sums = torch.tensor(past, dtype=torch.float64, device=self.device.torch)
        waiting: list[Answers] = []
        note = now.said(self.epochs)
        started = saved = time.perf_counter() - now.seconds
        batches = feed.epoch(self.seed, now.epoch, settings.batch_size, skip=now.step)
        for batch in batches:
            waiting.append(self._step(batch, per_epoch, feed.ready))
            now.step += 1
            meter.advance(self.way.shown(batch), note=note)
            if now.step % LOSS_CHECK_STEPS == 0:
                sums += tally(waiting)
                waiting.clear()
                clock = time.perf_counter()
                due = clock - saved > 60 * settings.checkpoint_minutes and now.step < per_epoch
                whole = now.step % settings.update.accumulate == 0
                totals, save = self.way.glance(sums, due and whole)
                self._check(totals)
                if save:
                    now.sums, now.seconds = totals.tolist(), clock - started
                    self._save()
                    saved = clock
        if waiting:
            sums += tally(waiting)
        self.way.end_epoch(lambda images: meter.advance(images, note=note))
        sums = self.way.total(sums)
        self._check(sums)
        now.sums, now.seconds = sums.tolist(), time.perf_counter() - started

    def _step(self, batch: Batch, per_epoch: int, ready: bool) -> Answers:
        """Learn a batch; returns what the network answered before it."""
        settings, labels, now = self.settings, batch.labels, self.progress
        step = now.epoch * per_epoch + now.step
        entropy = np.random.SeedSequence([self.seed, step, *self.way.draws])
        seed = int(entropy.generate_state(1, np.uint64)[0] >> 1)
        self.device.seed(seed)  # dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(step, per_epoch)
        inputs = as_input(batch.items)
        if inputs.ndim == 4:  # (B, C, H, W), channels last in memory
            generator = torch.Generator().manual_seed(seed)
            inputs = augment(inputs, settings.augment, generator, batch.part)
        inputs = inputs if ready else standardise(inputs, self.mean, self.deviation)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        added = settings.update.accumulate  # batches whose gradients make a step
        first = now.step % added == 0
        last = (now.step + 1) % added == 0 or now.step + 1 == per_epoch
        with self.way.computing(batch.part, last):
            with self.device.autocast():
                logits = self.way.forward(self.network, inputs)
            losses = item_losses(logits.float(), labels, settings.label_smoothing)
            if self.class_weights is not None:
                losses = losses * self.class_weights[labels]
            loss = self.way.loss(losses, batch.part)
            extra = penalty_of(self.penalised)
            loss = loss if extra is None else loss + extra
            if first:
                self.optimizer.zero_grad(set_to_none=True)
                self.gathered = 0
            self.gathered += batch.whole
            (loss if added == 1 else loss * batch.whole).backward()  # type: ignore[no-untyped-call]
        if last:
            if added > 1:  # the mean over the images of all these batches
                grads = [p.grad for p in self.network.parameters() if p.grad is not None]
                torch._foreach_div_(grads, float(self.gathered))
            moved = self.way.apply(self.optimizer)
            if moved and self.average is not None:
                steps = -(-per_epoch // added)
                self.average.update(self.network, now.epoch * steps + now.step // added)
        return Answers(losses.detach(), logits.detach(), labels)

    def _rate(self, step: float, per_epoch: int) -> float:
        """The learning rate at a step, from 0."""
        settings, steps = self.settings, self.epochs * per_epoch
        return settings.optimizer.lr * rate_factor(settings.schedule, step, steps, per_epoch)

    @torch.inference_mode()
    def _evaluate(self, feed: Feed) -> tuple[float, float]:
        """Mean loss (without smoothing, weights and penalties) and accuracy of the kept weights."""
        network = self._averaged() if self.average else self.network
        network.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device.torch)
        count = 0
        for items, labels, _ in feed.once(EVALUATION_BATCH):
            inputs = as_input(items)
            inputs = inputs if feed.ready else standardise(inputs, self.mean, self.deviation)
            with self.device.autocast():
                logits = network(inputs)
            losses = item_losses(logits.float(), labels, 0.0)
            sums += torch.stack([losses.sum(), (predicted(logits) == labels).sum()])
            count += len(labels)
        loss, correct, seen = self.way.total(torch.cat([sums, sums.new_tensor([count])])).tolist()
        if seen != feed.items:
            raise TrainingError(
                f"Each of the {feed.items:,} validation items counts once, and the members of the "
                f"training counted {seen:,.0f}: the dataset has changed since it began; prepare it "
                "again and train in another --out."
            )
        return loss / seen, correct / seen

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
            if not self.way.rank:
                self.run.storage.write(BEST, weights(self._averaged()))
        self._save()

    def _save(self) -> None:
        self.checkpoints.save(self.progress)
        if self.way.rank:
            return
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

    def finish(self, stopped: str, images: int, **more: Any) -> Model:
        """Leave the best model in the run, and what is to be known of its training.

        Args:
            stopped: why it ended.
            images: items of the training part.
            more: facts to note beside the usual ones.
        """
        model = self.best_model()
        model.save(self.run.storage)
        facts = {
            "parameters": count_parameters(self.network),
            "epochs": self.progress.epoch,
            "best_epoch": self.kept_epoch,
            "stopped": stopped,
            "device": self.device.name,
            "precision": self.device.precision,
            "images": images,
            "normalization": {"mean": list(self.spec.mean), "deviation": list(self.spec.deviation)},
        }
        self.run.note(training={**facts, **more})
        return model

    def _patience_is_over(self) -> bool:
        patience = self.settings.stopping.patience
        return bool(patience and self.progress.epoch - self.progress.best_epoch >= patience)

    def _check(self, sums: Tensor) -> None:
        if not math.isfinite(float(sums[0])):
            lr = self.settings.optimizer.lr
            raise not_a_number(self.progress.epoch + 1, self.progress.best_epoch, lr)
