"""What stands before and behind every network: items as it takes them, answers as probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def as_input(items: Tensor) -> Tensor:
    """Items as they are stored, to what networks take.

    Uint8 (N, H, W, C) becomes float (N, C, H, W), channels last in memory; vectors stay (N, F).
    """
    return items.permute(0, 3, 1, 2).float() if items.ndim == 4 else items.float()


def standardise(inputs: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Inputs with zero mean and unit deviation: (N, C, H, W) by channel, or (N, F) by feature.

    A number that a vector lacks (NaN) becomes 0, which is the mean.
    """
    if inputs.ndim == 2:
        return torch.nan_to_num((inputs - mean) / deviation, nan=0.0)
    return (inputs - mean[:, None, None]).div_(deviation[:, None, None])


def to_probabilities(logits: Tensor) -> Tensor:
    """Logits (N, 1) or (N, K) to float32 probabilities (N, 2) or (N, K)."""
    logits = logits.float()
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits.softmax(dim=1)
