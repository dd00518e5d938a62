"""Finished runs with a model in them, for tests that look inside networks."""

from pathlib import Path
from typing import Any

import torch
from report_runs import finished_run

from lorgnette.config import CnnConfig, ResnetConfig
from lorgnette.devices import choose
from lorgnette.model import Model, ModelSpec
from lorgnette.models import build
from lorgnette.rundir import Run

SMALL = CnnConfig(filters=(4, 6), dense=())


def model_of(config: Any = SMALL, channels: int = 3, classes: int = 2, size: int = 16) -> Model:
    """A network with fresh weights."""
    torch.manual_seed(0)
    spec = ModelSpec(
        model=config,
        classes=("cats", "dogs", "eels")[:classes],
        size=size,
        color="rgb" if channels == 3 else "gray",
        fit="crop",
        mean=(127.0,) * channels,
        deviation=(70.0,) * channels,
    )
    network = build(config, spec.input_shape, classes)
    return Model.of(spec, network, choose("cpu", "float32"))


def trained_run(root: Path, config: Any = SMALL, channels: int = 3, **options: Any) -> Path:
    """A finished run as `finished_run` makes it, with a model that was never trained."""
    finished_run(root, channels=channels, **options)
    model_of(config, channels).save(Run.load(root).storage)
    return root


FAMILIES = [
    SMALL,
    CnnConfig(filters=(4, 6), order=("conv", "pool", "norm", "activation"), head="flatten"),
    CnnConfig(filters=(4,), norm="none", padding="valid", head="flatten", dense=(8,)),
    ResnetConfig(widths=(4, 6), blocks=(0, 1)),
    ResnetConfig(widths=(4, 6), blocks=0, head="both", output="softmax"),
]
