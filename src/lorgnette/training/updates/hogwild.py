"""All members write into the same memory, without locks.

Recht, Re, Wright & Niu, "Hogwild!: A Lock-Free Approach to Parallelizing Stochastic Gradient
Descent", 2011. A step that another member's step falls into may lose some of its values' updates,
which sparse updates forgive and dense ones mostly do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from lorgnette.errors import TrainingError
from lorgnette.training.updates.base import Parts, Told
from lorgnette.training.updates.flat import Flat
from lorgnette.training.updates.periodic import Single

MEMORY = "/dev/shm"
"""Linux's file system in memory; elsewhere the folder for temporary files serves."""


class Hogwild(Single):
    """See `Way`."""

    def join(self, parts: Parts) -> None:
        """See `Way.join`: the weights move into memory that all members have mapped.

        Raises:
            TrainingError: the members do not share a machine.
        """
        flat = Flat(parts.network)
        self.average = parts.average
        path = Path(_folder(4 * flat.size)) / f"lorgnette-{uuid.uuid4().hex}"
        shared = [str(path)]
        try:
            if self.rank == 0:
                path.write_bytes(flat.read().numpy().tobytes())
            with self.waiting("the memory that all share"):
                dist.broadcast_object_list(shared, 0)
            path = Path(shared[0])
            if not self._everywhere(path):
                raise TrainingError(apart())
            self.vector = torch.from_file(str(path), shared=True, size=flat.size)
            self.meet("all members to share their memory")
        finally:
            # All have it mapped: without its name it goes when the last of them ends.
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        for tensor, view in zip(flat.tensors, flat.views(self.vector), strict=True):
            tensor.data = view

    def _everywhere(self, path: Path) -> bool:
        """Whether all members see a file."""
        missing = self.total(torch.tensor([0.0 if path.is_file() else 1.0]))
        return float(missing) == 0

    def begin_epoch(self, epoch: int) -> None:
        """See `Way.begin_epoch`: nobody moves weights that another is still writing to disk."""
        super().begin_epoch(epoch)
        self.meet("all members to begin the epoch")

    def glance(self, sums: Tensor, wish: bool) -> tuple[Tensor, bool]:
        """See `Way.glance`: members are not in step, and each looks at its own."""
        return sums, False

    def end_epoch(self, told: Told) -> None:
        """See `Way.end_epoch`."""
        self.meet("all members to end the epoch")
        self.average_of_averages()


def _folder(needed: int) -> str:
    """Where a file of so many bytes is memory; some containers have too little of it."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > needed:
        return MEMORY
    return tempfile.gettempdir()


def apart() -> str:
    """That members do not share a machine, in a sentence."""
    return (
        "Members that update by hogwild write into the memory of one machine, and these run on "
        "several: use --set train.update.mode=async, or an engine with all its workers on one."
    )
