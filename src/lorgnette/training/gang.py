"""One network trained by several processes, on any engine.

Each member runs the loop of `lorgnette.training.loop` over its own rows; see
`lorgnette.training.updates` for how they keep one network. When one dies, the engine starts all
again, and they continue from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from lorgnette.config import Config, UpdateConfig
from lorgnette.dataset.ledger import difference
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import ModelError, TrainingError
from lorgnette.memory import kept_memory
from lorgnette.model import Model, ModelSpec
from lorgnette.progress import Meter, console, progress
from lorgnette.rundir import SPLIT, Run, changed
from lorgnette.training.batches import MemoryFeed, open_feed
from lorgnette.training.budget import default_epochs, memory_budget, out_of_memory
from lorgnette.training.feed import Cuttable, Feed
from lorgnette.training.loop import Trainer
from lorgnette.training.shares import PartFeed, ShareFeed, deal, ranges
from lorgnette.training.spec import model_spec, training_device
from lorgnette.training.updates.asynchronous import Server, Worker
from lorgnette.training.updates.base import Way
from lorgnette.training.updates.hogwild import Hogwild, apart
from lorgnette.training.updates.periodic import Periodic
from lorgnette.training.updates.sync import Sync

WATCH_SECONDS = 2.0
PATIENCE_MINUTES = 10.0
"""How long a member waits for another at any place, before it counts as lost."""


def train_gang(dataset: Dataset, split: Split, config: Config, run: Run, engine: Engine) -> Model:
    """Train the network of a configuration in `train.members` processes; see `training.loop.train`.

    Under `async` there is one process more, the server.

    Args:
        dataset: pixels and labels, in a place that all processes reach.
        split: its `train` part is learnt, its `val` part decides which epoch is best.
        config: the network, how it is trained, the seed.
        run: where checkpoints, `metrics.jsonl` and the model go; likewise reached by all.
        engine: where the processes run.

    Raises:
        TrainingError: the loss is not a number, memory ran out, there are fewer items than members,
            or the members cannot update in this way; checkpoints stay.
        ModelError: decisions have changed labels since a training that is to continue began.
        EngineError: members died again and again; checkpoints stay.
    """
    settings = config.train
    task = gang_task(dataset, split, config, run)
    here = engine.name == "local"  # where member 0 shows by itself how far it is
    epochs = settings.epochs or default_epochs(len(split.indices("train")))
    with contextlib.nullcontext() if here else _watched(run, epochs, engine.name):
        engine.gang(task, settings.members + (settings.update.mode == "async"))
    return Model.load(run.storage, training_device(dataset, config))


@contextlib.contextmanager
def _watched(run: Run, epochs: int, place: str) -> Iterator[None]:
    """Show how far a training is that runs elsewhere, by what it leaves in the run."""
    ended = threading.Event()

    def watch(meter: Meter, seen: int) -> None:
        while not ended.wait(WATCH_SECONDS):
            lines = run.metrics()
            if len(lines) > seen:
                note = f"validation accuracy {lines[-1]['val_accuracy']:.4f}"
                meter.advance(len(lines) - seen, note=note)
                seen = len(lines)

    done = len(run.metrics())
    with progress(f"Training on {place}", epochs, "epochs", done=done) as meter:
        watcher = threading.Thread(target=watch, args=(meter, done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def gang_task(dataset: Dataset, split: Split, config: Config, run: Run) -> Task[int, None]:
    """What each member is to do; what to learn is noted in the run. See `train_gang`."""
    rows, members = split.indices("train"), config.train.members
    if len(rows) < members:
        raise TrainingError(
            f"Every member needs an item to learn, and there are {len(rows):,} for {members:,} "
            f"members: use fewer of them (--set train.members={len(rows)})."
        )
    labels = run.settle(dataset)
    split.save(run.storage, SPLIT, dataset)
    return Task.of(
        train_member,
        dataset=dataset.location,
        run=str(run.root),
        config=config.model_dump(mode="json"),
        spec=model_spec(dataset, rows, config).model_dump(mode="json"),
        labels=difference(dataset.labels("given"), labels),
        quiet=console.quiet,
    )


def train_member(
    rank: int,
    *,
    dataset: str,
    run: str,
    config: dict[str, Any],
    spec: dict[str, Any],
    labels: str,
    quiet: bool,
) -> None:
    """What one process does; member 0 leaves the model in the run.

    Args:
        rank: of the process.
        dataset: its location.
        run: likewise.
        config: a `Config` as plain data.
        spec: the `ModelSpec` likewise, so that nobody computes statistics again.
        labels: a digest of what decisions made of the labels to learn.
        quiet: whether to show no progress; member 0 alone shows any.
    """
    console.quiet = quiet or rank > 0
    settings = Config.model_validate(config)
    made = ModelSpec.model_validate(spec)
    data, place = Dataset.load(dataset), Run(run)
    learnt = data.labels(settings.train.labels)
    if difference(data.labels("given"), learnt) != labels:
        raise ModelError(changed(run, data))
    split = Split.load(place.storage, SPLIT, data)
    device = member_device(data, settings)
    limit = settings.engine.limit_minutes
    with process_group(device, limit) as patient, out_of_memory(settings.train):
        way = way_of(settings.train.update, rank, settings.train.members, patient)
        try:
            _train(data, split, learnt, settings, made, place, device, way)
            way.meet("all members to end")
        except BaseException:
            way.abandon()
            raise


def _train(
    dataset: Dataset,
    split: Split,
    labels: NDArray[np.int32],
    config: Config,
    spec: ModelSpec,
    run: Run,
    device: Device,
    way: Way,
) -> None:
    """Train, and leave the model in the run if this is member 0."""
    settings = config.train
    rows = split.indices("train")
    trainer = Trainer.of(spec, config, labels[rows], device, run, way)
    starts = _starts(trainer, settings.update)
    shares = [_share(dataset, split.indices(part), labels, config, spec, device, way.rank, part)
              for part in ("train", "val")]  # fmt: skip
    size = spec.size or None
    own = [open_feed(dataset, share.rows, labels[share.rows], device, share.budget, size)
           for share in shares]  # fmt: skip
    way.meet("all members to read their rows")  # for which some need much longer than others
    feeds = [_feed(*each, settings.update, way.rank) for each in zip(own, shares, strict=True)]
    with kept_memory():
        stopped = trainer.fit(*(trainer.prepared(feed) for feed in feeds))
    if way.rank == 0:
        update = settings.update.model_dump()
        trainer.finish(stopped, len(rows), members=settings.members, update=update, starts=starts)


def _starts(trainer: Trainer, update: UpdateConfig) -> list[dict[str, Any]]:
    """All starts of this training up to now, as member 0 notes them.

    Raises:
        TrainingError: members that need one machine are on several.
        RuntimeError: members would continue from different checkpoints.
    """
    now = trainer.progress
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, (machine(), now.epoch, now.step))
    machines = sorted({host for host, *_ in found})
    if len({tuple(where) for _, *where in found}) > 1:
        raise RuntimeError(
            f"members would continue from different checkpoints of {trainer.run.root} "
            "(epoch and step): is it on storage that all machines share?"
        )
    if update.mode == "hogwild" and len(machines) > 1:
        raise TrainingError(apart())
    if trainer.way.rank:
        return []
    noted = trainer.run.read("run.json").get("training", {}).get("starts", [])
    at = datetime.now(UTC).isoformat(timespec="seconds")
    starts = [*noted, {"epoch": now.epoch, "step": now.step, "at": at, "machines": machines}]
    trainer.run.note(training={"starts": starts})
    return starts


def machine() -> str:
    """The name of the machine that this runs on."""
    return socket.gethostname()


@dataclass(frozen=True)
class _Share:
    """A member's part of the training or validation rows; see `_share`.

    Attributes:
        rows: the member's own, of the dataset.
        spans: for each member, from where to where its rows lie in those of the part, where they
            are a range.
        counts: rows of each member.
        budget: bytes of pixels that this member may hold.
        fits: whether those of every member fit into its memory.
    """

    rows: NDArray[np.int64]
    spans: list[tuple[int, int]]
    counts: tuple[int, ...]
    budget: int
    fits: bool


def _share(
    dataset: Dataset,
    rows: NDArray[np.int64],
    labels: NDArray[np.int32],
    config: Config,
    spec: ModelSpec,
    device: Device,
    rank: int,
    part: str,
) -> _Share:
    """Who learns which rows of a part of the dataset, and whether all can hold theirs."""
    settings = config.train
    member, members = rank - (settings.update.mode == "async"), settings.members
    spans = ranges(rows, dataset.offsets, members)
    places = [np.arange(*span) for span in spans]
    if settings.update.mode != "sync" and part == "train":
        classes = len(spec.classes)
        places = deal(rows, labels[rows], dataset.offsets, members, classes)
    own = rows[places[member]] if member >= 0 else rows[:0]
    budget = memory_budget(settings, device) // (1 if settings.memory_gib else _members_here())
    fits = torch.tensor(float(len(own) * dataset.item_bytes(spec.size or None) <= budget))
    dist.all_reduce(fits, dist.ReduceOp.MIN)
    return _Share(own, spans, tuple(len(each) for each in places), budget, bool(fits))


def _members_here() -> int:
    """How many members share this machine's memory; not all launchers tell."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, machine())
    return found.count(machine())


def _feed(own: Cuttable, share: _Share, update: UpdateConfig, rank: int) -> Feed:
    """A member's own rows as those of all; members agree on how they hold them."""
    member, shared = rank - (update.mode == "async"), update.mode == "sync"
    held = _held(own)
    if shared and share.fits and isinstance(own, MemoryFeed):
        return PartFeed(own, share.spans[member][0], sum(share.counts))
    return ShareFeed(own if member >= 0 else None, share.counts, member, shared, held)


def _held(feed: Feed) -> str:
    """How all members hold their rows: where one streams, its order depends on its memory."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, feed.order)
    return "; ".join(dict.fromkeys(found))


def way_of(
    update: UpdateConfig, rank: int, members: int, patient: dist.ProcessGroup | None = None
) -> Way:
    """The way of updating of one process; a process group is open.

    Args:
        update: which way.
        rank: of the process.
        members: all that train.
        patient: see `Member`.
    """
    way = _way_of(update, rank, members)
    way.patient = patient
    return way


def _way_of(
    update: UpdateConfig, rank: int, members: int
) -> Sync | Periodic | Hogwild | Worker | Server:
    every = {"batch": 1, "epoch": None}.get(str(update.every), update.every)
    assert every is None or isinstance(every, int)
    if update.mode == "sync":
        return Sync(rank, members)
    if update.mode == "periodic":
        return Periodic(rank, members, every)
    if update.mode == "hogwild":
        return Hogwild(rank, members)
    gradients = every == 1
    return Worker(rank, members, every, gradients) if rank else Server(members, gradients)


def member_device(dataset: Dataset, config: Config) -> Device:
    """Where a member computes: a GPU of its own where there are several; see `training_device`."""
    if config.train.update.mode == "hogwild":
        settings = config.train.model_copy(update={"device": "cpu"})
        return training_device(dataset, config.model_copy(update={"train": settings}))
    device = training_device(dataset, config)
    if device.torch.type == "cuda":
        place = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(place % torch.cuda.device_count())
    return device


@contextlib.contextmanager
def process_group(
    device: Device, limit_minutes: float = PATIENCE_MINUTES
) -> Iterator[dist.ProcessGroup]:
    """Connect to the other members: NCCL for what is on GPUs of their own, else gloo.

    No collective waits longer than `PATIENCE_MINUTES`, but for those of the group that is yielded:
    in it, who has read its rows or done its epoch waits for whoever has not. A member that dies
    closes its connections, and ends all waiting at once.

    Args:
        device: where this member computes.
        limit_minutes: how long the yielded group waits.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own_gpu = device.torch.type == "cuda" and torch.cuda.device_count() >= here
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if own_gpu else "gloo",
        timeout=timedelta(minutes=PATIENCE_MINUTES),
    )
    yield dist.new_group(backend="gloo", timeout=timedelta(minutes=limit_minutes))
    dist.destroy_process_group()
