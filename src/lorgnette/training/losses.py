"""Losses and the predictions that go with them, for one logit or K."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
