"""Spaces as they are written, read and checked: `{choice = [...]}`, `{log = [lo, hi]}`, lists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from lorgnette.errors import ConfigError, nearest
from lorgnette.resolve import is_space
from lorgnette.tuning.fields import Field, Numbers, plain_data
from lorgnette.tuning.spaces import (
    Constant,
    Dimension,
    Entries,
    Entry,
    Equal,
    Kind,
    Layers,
    Value,
    encode,
    same,
)

KINDS = ("choice", "range", "log", "equal")
LISTS = ("length", "like", "each", "same")
When = Mapping[str, tuple[Any, ...]]
COMMON = frozenset({"when", "default", "was"})
MOST = 1000
"""Entries of a list: beyond every network."""


class Reader:
    """Reads what is written for one setting."""

    def __init__(self, setting: Field, others: Mapping[str, list[int] | int], origin: str) -> None:
        """`others`: the lists that a list can be as long as; possible lengths, or the fixed one."""
        self.setting = setting
        self.others = others
        self.origin = origin

    def refuse(self, rule: str) -> ConfigError:
        """One sentence about the setting."""
        return ConfigError(f"Setting {self.setting.key}: {rule} ({self.origin}).")

    def read(self, written: Any, when: When) -> Value:
        """What is written for the setting.

        Raises:
            ConfigError: it is not a space, or the setting never takes what is in it.
        """
        if isinstance(written, list):
            return self._entries(written, when)
        if not is_space(written):
            raise self.refuse(self._unknown(written, {*KINDS, *LISTS}))
        if not set(LISTS).isdisjoint(written):
            return self._layers(written, when)
        value = self._entry(self.setting.key, written, self.setting.numbers, self.setting.check)
        if isinstance(value, Dimension):
            value = replace(
                value, when=when, default=self._default(value, written, self.setting.default)
            )
        return value

    def _entries(self, written: list[Any], when: When) -> Entries:
        entries = []
        for i, one in enumerate(written):
            entries.append(self._listed(str(i), one, when, _at(self.setting.default, i)))
        return Entries(tuple(entries))

    def _listed(self, name: str, one: Any, when: When, near: Any) -> Entry:
        """An entry of a list; `near` is its default where it is in the space."""
        setting = self.setting
        if not isinstance(one, dict):
            setting.check_entry(one, self.origin)
            return Constant(one)
        key = f"{setting.key}.{name}"
        entry = self._entry(key, one, setting.entries, setting.check_entry)
        if isinstance(entry, Dimension):
            entry = replace(entry, when=when, default=self._default(entry, one, near))
        return entry

    def _layers(self, written: Mapping[str, Any], when: When) -> Layers:
        self._no_other_keys(written, {"length", "like", "each", "same"} | COMMON)
        for pair in (("length", "like"), ("each", "same")):
            if len(written.keys() & set(pair)) != 1:
                raise self.refuse(
                    f"a list takes either {pair[0]} or {pair[1]}, got "
                    f"{' and '.join(sorted(written.keys() & set(LISTS)))}"
                )
        near = self._near(written)
        length, lengths = self._length(written, when, near)
        shared = "same" in written
        one = written["same"] if shared else written["each"]
        names = ["same"] if shared else [str(i) for i in range(max(lengths))]
        entries = []
        for i, name in enumerate(names):
            entry = self._listed(name, one, when, _at(near, i))
            if isinstance(entry, Dimension) and "default" in written and i < len(near):
                entry = self._stated(entry, near[i])
            entries.append(entry)
        layers = Layers(length, tuple(lengths), tuple(entries), shared)
        if "default" in written and any(isinstance(entry, Equal) for entry in entries):
            raise self.refuse("a list that is equal to another key has no default of its own")
        if "default" in written and not isinstance(length, str):
            made = layers.draw(lambda dimension: dimension.default, {})
            if not same(made, near):
                raise self.refuse(f"the default is not in the space, got {near} (nearest: {made})")
        return layers

    def _length(
        self, written: Mapping[str, Any], when: When, near: Any
    ) -> tuple[Dimension | int | str, list[int]]:
        """The length as `Layers` has it, and every length that there can be."""
        if "like" in written:
            other = written["like"]
            if other not in self.others:
                hint = nearest(str(other), self.others)
                raise ConfigError(
                    f"Setting {self.setting.key}: like names a list, got '{other}' "
                    f"({self.origin}): {hint}"
                )
            found = self.others[other]
            return (found, [found]) if isinstance(found, int) else (other, found)
        length = written["length"]
        if not isinstance(length, dict):
            self._whole(length, self.origin)
            return length, [length]
        dimension = self._entry(f"{self.setting.key}.length", length, "int", self._whole)
        if not isinstance(dimension, Dimension) or dimension.kind == "log":
            raise self.refuse("length is a whole number, a choice or a range")
        default = self._default(dimension, length, len(near) if isinstance(near, list) else None)
        dimension = replace(dimension, when=when, default=default)
        if "default" in written:
            dimension = self._stated(dimension, len(near))
        return dimension, dimension.points(self.origin)

    def _whole(self, length: Any, origin: str) -> None:
        """Refuse what is no length."""
        if isinstance(length, bool) or not isinstance(length, int) or not 0 <= length <= MOST:
            raise self.refuse(f"length is a whole number up to {MOST}, got {length!r}")

    def _near(self, written: Mapping[str, Any]) -> Any:
        """What a list is by default: stated, replaced by the space, or usual; one value for all."""
        if "default" in written:
            if not isinstance(written["default"], list | tuple):
                raise self.refuse(f"the default of a list is a list, got {written['default']!r}")
            return plain_data(written["default"])
        return plain_data(written.get("was", self.setting.default))

    def _stated(self, entry: Dimension, default: Any) -> Dimension:
        """The parameter with a part of the list that is stated as default."""
        if not entry.holds(default):
            raise self.refuse(f"the default is not in the space, got {default!r} for {entry.key}")
        return replace(entry, default=entry.normalized(default))

    def _entry(
        self, key: str, written: Mapping[str, Any], numbers: Numbers | None, check: Any
    ) -> Entry:
        """One parameter, or a reference; its default is still the middle."""
        kinds = [kind for kind in KINDS if kind in written]
        if len(kinds) != 1:
            raise self.refuse(
                self._unknown(written, set(KINDS))
                if not kinds
                else f"a space is of one kind, got {' and '.join(kinds)}"
            )
        kind = kinds[0]
        common = COMMON if key == self.setting.key else {"default", "was"}
        if kind == "equal":
            common = common - {"default"}
        self._no_other_keys(written, {kind, *common} | ({"step"} if kind == "range" else set()))
        if kind == "equal":
            if not isinstance(written["equal"], str):
                raise self.refuse(f"equal names another key, got {written['equal']!r}")
            return Equal(written["equal"])
        if kind == "choice":
            dimension = self._choice(key, written["choice"])
            values: list[Any] = list(dimension.choices)
        else:
            dimension = self._numbers(key, kind, written, numbers)
            values = [dimension.low, dimension.high]
            if dimension.integer:
                values = [int(value) for value in values]
        for value in values:
            check(value, self.origin)
        return replace(dimension, default=dimension.middle())

    def _choice(self, key: str, choices: Any) -> Dimension:
        if not isinstance(choices, list | tuple) or not choices:
            got = repr(choices) if choices != [] else "an empty list"
            raise self.refuse(f"a choice is a list of one or more values, got {got}")
        plain = [plain_data(choice) for choice in choices]
        for i, one in enumerate(plain):
            if isinstance(one, dict):
                raise self.refuse(f"a choice is between values, got {one}")
            if any(encode(one) == encode(other) for other in plain[:i]):
                raise self.refuse(f"the values of a choice differ, got {one!r} twice")
        return Dimension(key, "choice", choices=tuple(plain))

    def _numbers(
        self, key: str, kind: str, written: Mapping[str, Any], numbers: Numbers | None
    ) -> Dimension:
        if numbers is None:
            raise self.refuse(f"{kind} is for numbers, and the setting takes none: use choice")
        ends = written[kind]
        if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(map(_number, ends)):
            raise self.refuse(f"{kind} takes two numbers, the lower first, got {ends!r}")
        low, high = ends
        if low >= high:
            raise self.refuse(f"the lower end is below the upper one, got {kind} = {list(ends)}")
        integer = numbers == "int"
        if integer and not (low == int(low) and high == int(high)):
            raise self.refuse(f"its ends are whole numbers, got {kind} = {list(ends)}")
        of: Kind = "linear" if kind == "range" else "log"
        if of == "log" and low <= 0:
            raise self.refuse(f"log begins above 0, got {list(ends)}")
        step = written.get("step", 1 if integer and of == "linear" else None)
        if step is not None:
            width = Decimal(repr(high)) - Decimal(repr(low))
            fits = _number(step) and 0 < Decimal(repr(step)) <= width
            if not fits or (integer and step != int(step)):
                what = "a whole number" if integer else "a number"
                raise self.refuse(
                    f"step is {what} above 0 and at most the width of the range, got {step!r}"
                )
            high = Decimal(repr(low)) + width // Decimal(repr(step)) * Decimal(repr(step))
        cast = int if integer else float
        return Dimension(
            key,
            of,
            integer=integer,
            low=cast(low),
            high=cast(high),
            step=None if step is None else cast(step),
        )

    def _default(self, dimension: Dimension, written: Mapping[str, Any], near: Any) -> Any:
        """Trial 0's value: stated, replaced by the space, usual (`near`), or in the middle."""
        if "default" in written:
            value = plain_data(written["default"])
            if not dimension.holds(value):
                raise self.refuse(f"the default is not in the space, got {value!r}")
            return dimension.normalized(value)
        for value in (plain_data(written.get("was")), near):
            if dimension.holds(value):
                return dimension.normalized(value)
        return dimension.middle()

    def _no_other_keys(self, written: Mapping[str, Any], known: set[str] | frozenset[str]) -> None:
        for key in written:
            if key not in known:
                raise ConfigError(
                    f"Setting {self.setting.key}: a space has no '{key}' here ({self.origin}): "
                    + nearest(key, known - {"was"})
                )

    def _unknown(self, written: Mapping[str, Any], known: set[str]) -> str:
        first = next(iter(written), "")
        return f"a space is written with {', '.join(sorted(known))}, got '{first}'"


def _at(values: Any, index: int) -> Any:
    """An entry of a list where it has it, or the one value for all."""
    if isinstance(values, list):
        return values[index] if index < len(values) else None
    return values


def _number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
