"""The space of a search: a recipe in which some values are left open.

A space is written beside the value it replaces, in a recipe or with `--set`:

    {choice = [...]}                    one of these values or lists
    {range = [lo, hi]}                  uniform, ends included; whole numbers where the setting
                                        takes whole numbers; `step = s`
    {log = [lo, hi]}                    uniform in the logarithm
    {equal = "model.filters.same"}      what another key has
    {length = ..., each = <space>}      a list: `length` is a whole number, a choice or a range
    {length = ..., same = <space>}      a list of one value, repeated
    {like = "model.units", each = ...}  a list as long as another one
    [<space>, 0.999]                    a list of fixed length

Beside the kind: `default`, the value in trial 0; otherwise it is what `was` there before the space
was put over it (`resolve.assign` notes it) or what the setting has without a recipe, where the
space holds that, else the first choice or the middle. And `when`, other searched keys with the
values under which this one exists: `when = {"model.family" = ["cnn"]}`. A setting that does not
exist in a trial has its usual value. A key that a recipe fixes decides about `when` once and for
all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lorgnette.config import Config
from lorgnette.errors import ConfigError, nearest
from lorgnette.resolve import assign, families
from lorgnette.resolve import parse as parse_config
from lorgnette.tuning.parsing import FAMILY, Parser
from lorgnette.tuning.spaces import Ask, Dimension, Searched, encode

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Space:
    """What a search goes over. Made by `parse`."""

    base: dict[str, Any]
    """The data of the default configuration, trial 0's."""
    dimensions: tuple[Dimension, ...]
    """Every parameter, in the order in which they are drawn."""
    fixed: dict[str, Any]
    """The data that are not searched."""
    searched: tuple[Searched, ...]
    """The settings that are, those that others depend on first."""
    origin: str
    """Where it comes from, for messages."""

    @classmethod
    def parse(cls, data: Mapping[str, Any], origin: str) -> Space:
        """The space of plain data as `resolve.data` gives them, without the section `tune`.

        Raises:
            ConfigError: a space is not allowed, or the default configuration is not.
        """
        fixed, searched = Parser(data, origin).parse()
        dimensions = tuple(d for setting in searched for d in setting.value.dimensions)
        space = cls({}, dimensions, fixed, searched, origin)
        space = replace(space, base=space.data({}))
        parse_config(space.base, origin)
        return space

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """The values of a trial by setting; those that do not exist in it are absent."""
        return self._draw(lambda dimension: dimension.suggest(trial))

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The values by setting that Optuna's parameters stand for; defaults where one is missing.

        Raises:
            ConfigError: a parameter has a value that the space does not know.
        """
        return self._draw(
            lambda dimension: (
                dimension.decode(parameters[dimension.key])
                if dimension.key in parameters
                else dimension.default
            )
        )

    def decode(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's parameters as plain values: lists in place of their texts."""
        known = {dimension.key: dimension for dimension in self.dimensions}
        return {key: known[key].decode(value) for key, value in parameters.items() if key in known}

    def dimension(self, key: str) -> Dimension:
        """The parameter of this name.

        Raises:
            ConfigError: there is none.
        """
        known = {dimension.key: dimension for dimension in self.dimensions}
        if key not in known:
            raise ConfigError(
                f"The search has no parameter '{key}' ({self.origin}): {nearest(key, known)}"
            )
        return known[key]

    def defaults(self) -> dict[str, Any]:
        """Trial 0's parameters as Optuna stores them, for `study.enqueue_trial`."""
        parameters: dict[str, Any] = {}

        def ask(dimension: Dimension) -> Any:
            parameters[dimension.key] = encode(dimension.default)
            return dimension.default

        self._draw(ask)
        return parameters

    def grid(self) -> Iterator[dict[str, Any]]:
        """The parameters of every point as Optuna stores them, each point once.

        Raises:
            ConfigError: a dimension has no countable values.
        """
        for dimension in self.dimensions:
            dimension.points(self.origin)
        path: list[int] = []
        while True:
            walk = _Walk(path, self.origin)
            self._draw(walk)
            yield walk.parameters
            if not walk.advance():
                return
            path = walk.indices

    def data(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The plain data of a configuration with these values by setting, defaults for the others.

        Raises:
            ConfigError: a value is for a setting that is not searched.
        """
        known = {setting.key for setting in self.searched}
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"Setting {key} is not searched ({self.origin}): {nearest(key, known)}"
                )
        data = copy.deepcopy(self.fixed)
        for key, value in self._draw(lambda dimension: dimension.default, values).items():
            _put(data, key, copy.deepcopy(value))
        family = data.get("model", {}).get("family")
        if FAMILY in known and family in families():
            fields = families()[family].model_fields
            data["model"] = {key: one for key, one in data["model"].items() if key in fields}
        return data

    def config(self, values: Mapping[str, Any]) -> Config:
        """The configuration with these values by setting, as `suggest` or `values` gives them.

        Raises:
            ConfigError: the settings do not go together; a trial with them is rejected.
        """
        return parse_config(self.data(values), self.origin)

    def further(
        self, values: Mapping[str, Any], spaces: Mapping[str, Any], origin: str | None = None
    ) -> Space:
        """The next search: these values fixed, and other settings (or the same) left open.

        Raises:
            ConfigError: a space is not allowed.
        """
        data = self.data(values)
        for key, space in spaces.items():
            assign(data, key, copy.deepcopy(space))
        return Space.parse(data, origin or self.origin)

    def describe(self) -> list[dict[str, Any]]:
        """The parameters for reports: key, kind, integer, choices, low, high."""
        return [dimension.describe() for dimension in self.dimensions]

    def _draw(self, ask: Ask, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Values by setting; each parameter that exists and is not given is asked for, in order."""
        drawn: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for setting in self.searched:
            if given is not None and setting.key in given:
                values[setting.key] = given[setting.key]
                setting.value.note(given[setting.key], drawn)
            elif setting.exists(drawn):
                values[setting.key] = setting.value.draw(ask, drawn)
            else:
                continue
            drawn[setting.key] = values[setting.key]
        return values


class _Walk:
    """Draws one point of a grid: the parameters that exist, by the indices of their values.

    The space is drawn from again and again, each time with the next combination of indices, since
    what exists follows from what was drawn before.
    """

    def __init__(self, path: list[int], origin: str) -> None:
        """`path`: the first indices; all that follow are 0."""
        self.path = path
        self.origin = origin
        self.indices: list[int] = []
        self.counts: list[int] = []
        self.parameters: dict[str, Any] = {}

    def __call__(self, dimension: Dimension) -> Any:
        """The value of a parameter."""
        points = dimension.points(self.origin)
        index = self.path[len(self.indices)] if len(self.indices) < len(self.path) else 0
        self.indices.append(index)
        self.counts.append(len(points))
        self.parameters[dimension.key] = encode(points[index])
        return points[index]

    def advance(self) -> bool:
        """Make the indices the next path, the last parameter fastest; whether there is one."""
        while self.indices and self.indices[-1] + 1 == self.counts[len(self.indices) - 1]:
            self.indices.pop()
        if self.indices:
            self.indices[-1] += 1
        return bool(self.indices)


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where a dotted key says, in place."""
    *sections, name = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
    data[name] = value
