"""Recipes in a line each: their networks are counted without being made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from lorgnette import resolve
from lorgnette.config import Config
from lorgnette.models import Shape, build, count_parameters
from lorgnette.sources.vectors import RANGE


class RecipeSummary(NamedTuple):
    """A line in the list of recipes."""

    name: str
    """What `--recipe` takes."""
    title: str
    """The first line of its header."""
    parameters: int | None
    """Trained values for two classes; None where only the data know the length of a vector."""


def recipe_summaries() -> Iterator[RecipeSummary]:
    """Every recipe that comes with the package, by name."""
    for name in resolve.recipe_names():
        yield RecipeSummary(name, resolve.title(name), parameters(resolve.load(name)))


def parameters(config: Config, num_classes: int = 2) -> int | None:
    """The number of trained values of a configuration's network; see `RecipeSummary`.

    Raises:
        ConfigError: the network is impossible for this input.
    """
    shape = input_shape(config)
    if shape is None:
        return None
    with torch.device("meta"):  # shapes alone: no memory, no random numbers
        return count_parameters(build(config.model, shape, num_classes))


def input_shape(config: Config) -> Shape | None:
    """What a network of a configuration reads: (C, H, W), or (F,) for vectors.

    None for vectors whose columns are matched by a pattern (`v*`): only the data know how many.
    """
    if config.source.features is None:
        edge = config.train.size or config.prepare.size[0]
        return (3 if config.prepare.color == "rgb" else 1, edge, edge)
    count = 0
    for part in config.source.features.split(","):
        span = RANGE.fullmatch(part.strip())
        if span:
            count += int(span[4]) - int(span[2]) + 1
        elif set("*?[") & set(part):
            return None
        else:
            count += 1
    return (count,)
