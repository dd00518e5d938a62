"""Checkpoints: everything that a training needs to go on as if it had not stopped.

One safetensors file, written whole or not at all: weights, optimizer state, averaged weights as
tensors, and counters and history as JSON in its header. Random numbers need no state, because every
step seeds its own.

Members of a gang whose optimizers, or weights, are their own write a file each under a name that
says where the training is, all of them before member 0 writes the one that counts: whenever it is
killed, the files of all members at that place are there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lorgnette.errors import TrainingError
from lorgnette.rundir import Run
from lorgnette.training.optimizers import WeightAverage
from lorgnette.training.updates.base import Way

LAST = "checkpoints/last.safetensors"
BEST = "checkpoints/best.safetensors"
FOLDER = "checkpoints"


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the epoch under way.
        sums: loss sum, correct and count over these steps.
        seconds: time spent on the epoch under way.
        best: the best value of the monitored metric; None before the first epoch.
        best_epoch: its epoch, from 1.
        history: one line of metrics per finished epoch.
        order: what the order of the epoch under way depends on, beside the seed; see `Feed.order`.
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    order: str = ""

    def said(self, epochs: int) -> str:
        """Where it is, of so many epochs, for people."""
        if not self.history:
            return f"epoch 1/{epochs}"
        accuracy = self.history[-1]["val_accuracy"]
        return f"epoch {min(self.epoch + 1, epochs)}/{epochs}, validation accuracy {accuracy:.4f}"

    def begin_epoch_again(self) -> None:
        """Forget the steps of the epoch under way."""
        self.step, self.sums, self.seconds = 0, [0.0, 0.0, 0.0], 0.0


class Checkpoints:
    """The checkpoints of one process of a training.

    Attributes:
        run: where they are.
        way: of updating; says what is this process's own.
        state: network, optimizer and average, which a checkpoint is of.
        kept: this process's own file at the place where all may continue.
    """

    def __init__(
        self,
        run: Run,
        way: Way,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage | None,
    ) -> None:
        self.run, self.way = run, way
        self.state = (network, optimizer, average)
        self.kept = ""

    def load(self) -> Progress | None:
        """Restore the last checkpoint, in place; None if there is none.

        A member's own state at another place of the training is not used: it goes on with that of
        member 0.
        """
        found = load_checkpoint(self.run, *self.state)
        if found and self.way.own_state and self.way.rank:
            self.kept = _member_file(self.way.rank, found)
            load_checkpoint(self.run, *self.state, self.kept)
        return found

    def save(self, progress: Progress) -> None:
        """Write a checkpoint: what is a member's own before the one by which all continue."""
        run, rank = self.run, self.way.rank
        if self.way.own_state:
            before, self.kept = self.kept, _member_file(rank, progress)
            if rank:
                save_checkpoint(run, progress, *self.state, self.kept)
            self.way.meet("the checkpoints of all members")
            # Member 0 has written the last checkpoint, and may be killed before it writes this one.
            for name in run.storage.names(FOLDER) if rank else ():
                path = f"{FOLDER}/{name}"
                if name.startswith(f"member-{rank}-") and path not in (before, self.kept):
                    run.storage.remove(path)
        if not rank:
            save_checkpoint(run, progress, *self.state)


def _member_file(rank: int, progress: Progress) -> str:
    """Where a member keeps what is its own at a place of the training."""
    return f"{FOLDER}/member-{rank}-{progress.epoch}-{progress.step}.safetensors"


def save_checkpoint(
    run: Run,
    progress: Progress,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    name: str = LAST,
) -> None:
    """Write `checkpoints/last.safetensors`, or another file."""
    tensors: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        tensors[f"network.{key}"] = value
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    if average is not None:
        for key, value in average.state.items():
            tensors[f"average.{key}"] = value
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    run.storage.write(name, save(plain, {"progress": json.dumps(asdict(progress))}))


def load_checkpoint(
    run: Run,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    name: str = LAST,
) -> Progress | None:
    """Restore what `save_checkpoint` wrote, in place; None if nothing was.

    Raises:
        TrainingError: the checkpoint is damaged or of another network.
    """
    path = run.root / name
    if not path.is_file():
        return None
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}, "average": {}}
    try:
        with safe_open(path, "pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                part, _, key = name.partition(".")
                parts[part][key] = file.get_tensor(name)
        network.load_state_dict(parts["network"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        if state:
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        if average is not None:
            for key, value in average.state.items():
                value.copy_(parts["average"][key])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"The checkpoint {path} is damaged or of another network ({type(error).__name__}): "
            "remove it and the training begins again."
        ) from error
    return progress
