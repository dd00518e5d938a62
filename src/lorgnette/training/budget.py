"""What a training may take: passes over the items, and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from lorgnette.config import TrainConfig
from lorgnette.devices import Device, choose
from lorgnette.errors import TrainingError

SEEN_BY_DEFAULT = 22_000


def default_epochs(items: int) -> int:
    """Enough passes to see 22,000 images, but not less than 12 passes nor more than 100."""
    return min(max(-(-SEEN_BY_DEFAULT // items), 12), 100)


def memory_budget(settings: TrainConfig, device: Device) -> int:
    """Bytes of pixels that may be held in memory."""
    if settings.memory_gib is not None:
        return int(settings.memory_gib * 2**30)
    return choose("cpu").free_bytes() // 2


@contextlib.contextmanager
def out_of_memory(settings: TrainConfig) -> Iterator[None]:
    """Turn a lack of memory, however it is told, into one sentence.

    Raises:
        TrainingError: memory ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(_no_memory(settings)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise TrainingError(_no_memory(settings)) from error
        raise


def _no_memory(settings: TrainConfig) -> str:
    return (
        f"Memory ran out in training (batches of {settings.batch_size}); checkpoints stay: use "
        f"smaller batches (--set train.batch_size={max(settings.batch_size // 2, 1)}) or hold "
        "fewer pixels in memory (--set train.memory_gib=1)."
    )
