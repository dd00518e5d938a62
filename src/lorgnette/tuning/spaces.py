"""What stands in place of a value: one searched number or choice, a list of them, a reference.

A `Dimension` is one parameter of Optuna. The other kinds are made of dimensions; drawing from any
of them asks for the dimensions' values one after the other, so that lists can be as long as a
value that was drawn before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from lorgnette.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Kind = Literal["choice", "linear", "log"]


@dataclass(frozen=True)
class Dimension:
    """A searched value: one of some choices, or a number between two ends, both included."""

    key: str
    """Its name in Optuna: the setting, and `.length`, `.same` or a position inside a list."""
    kind: Kind
    """One of `choices`, uniform, or uniform in the logarithm."""
    default: Any = None
    """Its value in trial 0, one that it holds."""
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """It exists only while each of these other keys has one of these values."""
    integer: bool = False
    """Whole numbers only."""
    choices: tuple[Any, ...] = ()
    """Of kind `choice`: plain values or lists."""
    low: float = 0.0
    """Of the other kinds: the lower end."""
    high: float = 0.0
    """And the upper one; with a step, the last point."""
    step: float | None = None
    """From one value to the next; None: no grid. Never with `log`."""

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Itself."""
        return (self,)

    def draw(self, ask: Ask, drawn: dict[str, Any]) -> Any:
        """A value, as `ask` gives it."""
        drawn[self.key] = ask(self)
        return drawn[self.key]

    def note(self, value: Any, drawn: dict[str, Any]) -> None:
        """Take a value as drawn."""
        drawn[self.key] = value

    def suggest(self, trial: BaseTrial) -> Any:
        """A value by the sampler of a trial."""
        if self.kind == "choice":
            stored = [encode(choice) for choice in self.choices]
            return self.decode(trial.suggest_categorical(self.key, stored))
        log = self.kind == "log"
        if self.integer:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=step, log=log)
        return self.decode(
            trial.suggest_float(self.key, self.low, self.high, step=self.step, log=log)
        )

    def decode(self, stored: Any) -> Any:
        """The value that Optuna stores as this: a list for its text, the point next to a float."""
        if self.kind == "choice":
            for choice in self.choices:
                if same(encode(choice), stored):
                    return choice
            raise ConfigError(
                f"Parameter {self.key} is one of {list(self.choices)}, got {stored!r}: the study "
                "was made with another space."
            )
        if self.step is None or self.integer:
            return stored
        return self._point(round((stored - self.low) / self.step))

    def holds(self, value: Any) -> bool:
        """Whether it can have this value."""
        if self.kind == "choice":
            return any(same(choice, value) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high or (self.integer and value != int(value)):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8

    def normalized(self, value: Any) -> Any:
        """A value that it holds, as it has it: a float for `1` where it has floats, for one."""
        if self.kind == "choice":
            return next(choice for choice in self.choices if same(choice, value))
        return self.decode(int(value) if self.integer else float(value))

    def points(self, origin: str) -> list[Any]:
        """Every value.

        Raises:
            ConfigError: they cannot be counted.
        """
        if self.kind == "choice":
            return list(self.choices)
        if self.step is None or self.kind == "log":
            raise ConfigError(
                f"Setting {self.key}: a grid needs choices or a step, got "
                f"{'log' if self.kind == 'log' else 'range'} = {[self.low, self.high]} ({origin})."
            )
        return [self._point(i) for i in range(round((self.high - self.low) / self.step) + 1)]

    def middle(self) -> Any:
        """The first choice, or the middle; the geometric one of a logarithmic range."""
        if self.kind == "choice":
            return self.choices[0]
        if self.kind == "log":
            value = float(f"{math.sqrt(self.low * self.high):.12g}")
            value = min(max(value, self.low), self.high)
            return round(value) if self.integer else value
        if self.step is not None:
            return self._point(int((self.high - self.low) / self.step / 2 + 1e-8))
        return (self.low + self.high) / 2

    def describe(self) -> dict[str, Any]:
        """For reports: key, kind, integer, choices, low, high."""
        ends = (None, None) if self.kind == "choice" else (self.low, self.high)
        return {
            "key": self.key,
            "kind": self.kind,
            "integer": self.integer,
            "choices": list(self.choices),
            "low": ends[0],
            "high": ends[1],
        }

    def _point(self, index: int) -> Any:
        """The point of the grid with an index, in decimal arithmetic: 0.3, not 0.1 + 2 * 0.1."""
        value = Decimal(repr(self.low)) + index * Decimal(repr(self.step))
        return int(value) if self.integer else float(value)


Ask = Callable[[Dimension], Any]


@dataclass(frozen=True)
class Constant:
    """An entry of a list that is not searched."""

    value: Any

    dimensions: tuple[Dimension, ...] = ()

    def draw(self, ask: Ask, drawn: dict[str, Any]) -> Any:
        """The value."""
        return self.value

    def note(self, value: Any, drawn: dict[str, Any]) -> None:
        """Nothing is drawn."""


@dataclass(frozen=True)
class Equal:
    """What has the value that something else has: `{equal = "model.filters.same"}`."""

    target: str
    """The other key."""
    dimensions: tuple[Dimension, ...] = ()

    def draw(self, ask: Ask, drawn: dict[str, Any]) -> Any:
        """The other's value."""
        return drawn[self.target]

    def note(self, value: Any, drawn: dict[str, Any]) -> None:
        """Nothing is drawn."""


Entry = Dimension | Constant | Equal


@dataclass(frozen=True)
class Entries:
    """A list of fixed length whose entries are searched: `[{range = [0.8, 0.95]}, 0.999]`."""

    entries: tuple[Entry, ...]

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Those of the entries."""
        return tuple(d for entry in self.entries for d in entry.dimensions)

    def draw(self, ask: Ask, drawn: dict[str, Any]) -> list[Any]:
        """The list."""
        return [entry.draw(ask, drawn) for entry in self.entries]

    def note(self, value: Any, drawn: dict[str, Any]) -> None:
        """Take a list as drawn."""
        for entry, one in zip(self.entries, value, strict=False):
            entry.note(one, drawn)


@dataclass(frozen=True)
class Layers:
    """A list whose length is searched, or is another list's."""

    length: Dimension | int | str
    """The searched length, a fixed one, or the key of the other list."""
    lengths: tuple[int, ...]
    """Every length that it can have."""
    entries: tuple[Entry, ...]
    """One for every possible position, or the only one for all."""
    shared: bool
    """Whether all entries are one and the same."""

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The length's, where it is searched, and those of the entries."""
        first = (self.length,) if isinstance(self.length, Dimension) else ()
        return (*first, *(d for entry in self.entries for d in entry.dimensions))

    def draw(self, ask: Ask, drawn: dict[str, Any]) -> list[Any]:
        """The list."""
        if isinstance(self.length, Dimension):
            length = self.length.draw(ask, drawn)
        else:
            length = self.length if isinstance(self.length, int) else len(drawn[self.length])
        if self.shared:
            return [self.entries[0].draw(ask, drawn)] * length
        return [entry.draw(ask, drawn) for entry in self.entries[:length]]

    def note(self, value: Any, drawn: dict[str, Any]) -> None:
        """Take a list as drawn."""
        if isinstance(self.length, Dimension):
            self.length.note(len(value), drawn)
        for entry, one in zip(self.entries, value, strict=False):
            entry.note(one, drawn)


Value = Dimension | Constant | Equal | Entries | Layers


@dataclass(frozen=True)
class Searched:
    """A setting whose value is left open."""

    key: str
    """With dots."""
    value: Value
    """What it can be."""
    when: Mapping[str, tuple[Any, ...]]
    """It exists only while each of these other keys has one of these values."""
    needs: frozenset[str]
    """Further keys without which it does not exist."""

    def exists(self, drawn: Mapping[str, Any]) -> bool:
        """Whether it does with what was drawn so far."""
        return self.needs <= drawn.keys() and all(
            key in drawn and any(same(drawn[key], value) for value in values)
            for key, values in self.when.items()
        )


def encode(value: Any) -> Any:
    """A value as Optuna stores it: a list as its JSON text."""
    return json.dumps(value) if isinstance(value, list) else value


def same(a: Any, b: Any) -> bool:
    """Equality that tells true from 1."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)
