"""Checkpoints: everything that a training needs to go on as if it had not stopped.

One safetensors file, written whole or not at all: weights, optimizer state, averaged weights as
tensors, and counters and history as JSON in its header. Random numbers need no state, because every
step seeds its own.
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

LAST = "checkpoints/last.safetensors"
BEST = "checkpoints/best.safetensors"


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
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    run: Run,
    progress: Progress,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
) -> None:
    """Write `checkpoints/last.safetensors`."""
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
    run.storage.write(LAST, save(plain, {"progress": json.dumps(asdict(progress))}))


def load_checkpoint(
    run: Run,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
) -> Progress | None:
    """Restore what `save_checkpoint` wrote, in place; None if nothing was.

    Raises:
        TrainingError: the checkpoint is damaged or of another network.
    """
    path = run.root / LAST
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
