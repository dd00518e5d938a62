"""Losses and the predictions that go with them, for one logit or K."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lorgnette.errors import TrainingError
from lorgnette.training.checkpoint import BEST


def item_losses(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """The cross-entropy of each item, (B,), natural logarithm.

    Args:
        logits: float (B, 1) or (B, K).
        labels: class codes (B,).
        smoothing: the probability mass that a target spreads evenly over all classes.
    """
    if logits.shape[1] == 1:
        targets = labels.float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), targets, reduction="none")
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def predicted(logits: Tensor) -> Tensor:
    """The code of the most probable class, (B,)."""
    return (logits.squeeze(1) > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


class Answers(NamedTuple):
    """What a network answered to a batch: losses (B,), logits (B, 1) or (B, K), labels (B,)."""

    losses: Tensor
    logits: Tensor
    labels: Tensor


def tally(answers: Sequence[Answers]) -> Tensor:
    """Loss sum, correct and count over batches, (3,).

    Some steps at a time: done in each, it took a fifth of the step of a small network.
    """
    losses, logits, labels = (torch.cat(parts) for parts in zip(*answers, strict=True))
    correct = (predicted(logits) == labels).sum().double()
    count = torch.tensor(float(len(labels)), dtype=torch.float64, device=losses.device)
    return torch.stack([losses.sum(dtype=torch.float64), correct, count])


def balanced_weights(labels: NDArray[np.int32], classes: int) -> Tensor:
    """A weight for each class, (K,): N / (K * count), of labels (N,)."""
    counts = np.bincount(labels, minlength=classes)
    balanced = len(labels) / (len(counts) * np.maximum(counts, 1))
    return torch.tensor(balanced, dtype=torch.float32)


def not_a_number(epoch: int, kept: int, rate: float) -> TrainingError:
    """That a training has run away, and what to do.

    Args:
        epoch: the one under way, from 1.
        kept: the best one so far; 0 if there is none.
        rate: the learning rate at its highest point.
    """
    rescue = f"the best epoch so far ({kept}) is in {BEST}" if kept else "nothing was kept"
    return TrainingError(
        f"The training loss is not a number any more in epoch {epoch} ({rescue}): lower the "
        f"learning rate (--set train.optimizer.lr={rate / 10:g}) or use --set "
        "train.precision=float32."
    )
