"""What a model will be that is trained on some rows of a dataset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lorgnette.config import Config
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device, choose
from lorgnette.model import ModelSpec
from lorgnette.training.statistics import statistics


def model_spec(dataset: Dataset, rows: NDArray[np.int64], config: Config) -> ModelSpec:
    """The specification of a model, standardised by its training rows, rising, (n,)."""
    mean, deviation = statistics(dataset, rows, config.seed, config.train.normalize)
    prepared = dataset.info.prepare
    return ModelSpec(
        model=config.model,
        classes=dataset.info.classes,
        features=dataset.info.features,
        impute=dataset.is_vectors and prepared.missing == "mean",
        size=0 if dataset.is_vectors else prepared.size[0],
        color=prepared.color,
        fit=prepared.fit,
        mean=mean,
        deviation=deviation,
    )


def training_device(dataset: Dataset, config: Config) -> Device:
    """Where a model is trained; vectors in float32."""
    device = choose(config.train.device, config.train.precision)
    return device.exact() if dataset.is_vectors else device
