"""What a model will be that is trained on some rows of a dataset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lorgnette.config import Config
from lorgnette.dataset.store import Dataset
from lorgnette.devices import Device, choose
from lorgnette.errors import ConfigError
from lorgnette.model import ModelSpec
from lorgnette.training.statistics import statistics


def model_spec(dataset: Dataset, rows: NDArray[np.int64], config: Config) -> ModelSpec:
    """The specification of a model, standardised by its training rows, rising, (n,).

    Raises:
        ConfigError: the images were not prepared at the size that is asked for.
    """
    prepared = dataset.info.prepare
    size = config.train.size or prepared.size[0]
    if not dataset.is_vectors and size not in prepared.size:
        raise ConfigError(
            f"Training takes images of a size that is prepared, and train.size is {size} where "
            f"{dataset.location} has {', '.join(map(str, prepared.size))}: prepare it with --size "
            f"{','.join(map(str, (*prepared.size, size)))}."
        )
    mean, deviation = statistics(dataset, rows, config.seed, config.train.normalize, size)
    return ModelSpec(
        model=config.model,
        classes=dataset.info.classes,
        features=dataset.info.features,
        impute=dataset.is_vectors and prepared.missing == "mean",
        size=0 if dataset.is_vectors else size,
        color=prepared.color,
        fit=prepared.fit,
        mean=mean,
        deviation=deviation,
    )


def training_device(dataset: Dataset, config: Config) -> Device:
    """Where a model is trained; vectors in float32."""
    device = choose(config.train.device, config.train.precision)
    return device.exact() if dataset.is_vectors else device
