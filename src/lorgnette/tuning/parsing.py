"""The settings that a recipe leaves open, each after those that it depends on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from lorgnette.config import ResnetConfig
from lorgnette.errors import ConfigError, nearest
from lorgnette.resolve import check, families, is_space
from lorgnette.tuning.fields import field, is_setting, plain_data
from lorgnette.tuning.spaces import Dimension, Entries, Layers, Searched, Value, same
from lorgnette.tuning.written import Reader

FAMILY = "model.family"
SECTIONS = ("model", "train")
"""A trial has other settings in these; the dataset, its split and its seed stay."""

When = dict[str, tuple[Any, ...]]


class Parser:
    """Reads plain data with spaces in them."""

    def __init__(self, data: Mapping[str, Any], origin: str) -> None:
        """`data` as `resolve.data` gives them; `origin`, where they come from, for messages."""
        self.origin = origin
        self.fixed: dict[str, Any] = copy.deepcopy(dict(data))
        self.written = {key: _take(self.fixed, key) for key in list(_open(self.fixed))}
        self.searched: dict[str, Searched] = {}
        self.meets: dict[str, list[str]] = {}
        """Of settings of `model`: the families that they can meet."""
        self.gone: set[str] = set()
        """Settings that exist in no trial, because a fixed one decides so."""

    def parse(self) -> tuple[dict[str, Any], tuple[Searched, ...]]:
        """The data that are fixed, and the settings that are searched, in order.

        Raises:
            ConfigError: a space is not allowed.
        """
        for key in self.written:
            self._visit(key, ())
        if FAMILY in self.searched:
            # A fixed setting of `model` counts in the families that have it; none may be unknown.
            possible = self._families()
            for name, value in self.fixed.get("model", {}).items():
                if not any(name in families()[one].model_fields for one in possible):
                    check(f"model.{name}", value, self.origin, possible[0])
        return self.fixed, tuple(self.searched.values())

    def _visit(self, key: str, path: tuple[str, ...]) -> None:
        """Read a setting, first those that it depends on."""
        if key in self.searched or key in self.gone:
            return
        if key in path:
            circle = ", ".join(path[path.index(key) :])
            raise ConfigError(f"Each of {circle} waits for another one of them ({self.origin}).")
        if key.partition(".")[0] not in SECTIONS:
            hint = " (several sizes: train.size)" if key == "prepare.size" else ""
            raise ConfigError(
                f"A search varies settings of model and train{hint}, got a space for {key} "
                f"({self.origin})."
            )
        written = self.written[key]
        when = self._when(key, written)
        targets = list(_targets(written))
        before = [FAMILY] if key.startswith("model.") and key != FAMILY else []
        for other in [*before, *when, *targets]:
            owner = self._owner(other)
            if owner is not None:
                self._visit(owner, (*path, key))
            elif other in _targets(written, "equal"):
                hint = nearest(other, self.written.keys() - {key})
                raise ConfigError(
                    f"Setting {key}: equal names a searched key, got '{other}' ({self.origin}): "
                    f"{hint}"
                )
        if self._never(when) or any(self._owner(other) in self.gone for other in targets):
            self.gone.add(key)
            return
        when = {other: values for other, values in when.items() if self._owner(other)}
        for other, values in when.items():
            self._possible(key, other, values)
        needs = frozenset(other for other in targets if self._owner(other))
        for other in needs:
            self._drawn(key, other)
        if key.startswith("model.") and key != FAMILY:
            self.meets[key] = self._meets(key, when, needs)
        value = self._read(key, written, when)
        if key == FAMILY and not isinstance(value, Dimension):
            raise ConfigError(
                f"Setting {key}: it is searched by a choice, got {written} ({self.origin})."
            )
        self.searched[key] = Searched(key, value, when, needs)

    def _read(self, key: str, written: Any, when: When) -> Value:
        """What is written for a setting, checked for every family that it can meet."""
        name = key.removeprefix("model.")
        possible = self.meets.get(key, [ResnetConfig().family])
        having = [one for one in possible if name in families()[one].model_fields]
        if key.startswith("model.") and 0 < len(having) < len(possible):
            listed = ", ".join(f'"{one}"' for one in having)
            raise ConfigError(
                f"Setting {key}: not every family of the search has it, only {', '.join(having)} "
                f'({self.origin}): add when = {{"{FAMILY}" = [{listed}]}}.'
            )
        read = [
            Reader(field(key, one, self.origin), self._lengths(), self.origin).read(written, when)
            for one in possible
        ]
        return read[0]

    def _families(self) -> list[str]:
        """The families of the search."""
        if FAMILY in self.searched:
            (dimension,) = self.searched[FAMILY].value.dimensions
            return list(dimension.choices)
        family = self.fixed.get("model", {}).get("family", ResnetConfig().family)
        if family not in families():
            check(FAMILY, family, self.origin)
        return [family]

    def _meets(self, key: str, when: When, needs: frozenset[str]) -> list[str]:
        """The families under which a setting can exist, by its condition and those of others."""
        possible = list(when.get(FAMILY, self._families()))
        for other in (*when, *needs):
            also = self.meets.get(self._owner(other) or "", possible)
            possible = [one for one in possible if one in also]
        if not possible:
            beside = ", ".join(sorted({*when, *needs} - {FAMILY}))
            raise ConfigError(
                f"Setting {key}: no family has it together with {beside} ({self.origin}): look at "
                "when."
            )
        return possible

    def _when(self, key: str, written: Any) -> When:
        """The condition beside a space; its keys may be quoted, or nested as TOML reads dots."""
        raw = written.get("when", {}) if isinstance(written, dict) else {}
        when: When = {}
        for other, values in _flat(raw) if isinstance(raw, dict) else [("", raw)]:
            if not isinstance(values, list | tuple) or not values:
                raise ConfigError(
                    f"Setting {key}: when gives each of other keys a list of values, got {raw!r} "
                    f"({self.origin})."
                )
            if self._owner(other) is None and not self._known(other):
                raise ConfigError(
                    f"Setting {key}: when names a searched key, got '{other}' ({self.origin}): "
                    f"{nearest(other, self.written.keys() - {key})}"
                )
            when[other] = tuple(plain_data(value) for value in values)
        return when

    def _never(self, when: When) -> bool:
        """Whether a fixed setting, or one that never exists, rules a condition out."""
        for other, values in when.items():
            owner = self._owner(other)
            if owner in self.gone:
                return True
            if owner is None and not any(same(self._value(other), value) for value in values):
                return True
        return False

    def _possible(self, key: str, other: str, values: tuple[Any, ...]) -> None:
        """Refuse a condition on what the other key never is."""
        dimension = self._drawn(key, other)
        for value in values:
            if dimension is not None and not dimension.holds(value):
                raise ConfigError(
                    f"Setting {key}: when lists values that {other} can have, got {value!r} "
                    f"({self.origin})."
                )

    def _drawn(self, key: str, other: str) -> Dimension | None:
        """The parameter of a name, None for a list; refuses a name that no draw has."""
        owner = self._owner(other)
        assert owner is not None
        known = {d.key: d for d in self.searched[owner].value.dimensions}
        if other in known or other == owner:
            return known.get(other)
        raise ConfigError(
            f"Setting {key}: there is no parameter '{other}' ({self.origin}): "
            f"{nearest(other, known)}"
        )

    def _owner(self, key: str) -> str | None:
        """The searched setting that a key is, or is a part of."""
        if key in self.written:
            return key
        above = key.rpartition(".")[0]
        return above if above in self.written else None

    def _known(self, key: str) -> bool:
        """Whether there is such a setting, in the families that this search can meet."""
        return any(is_setting(key, family) for family in families())

    def _value(self, key: str) -> Any:
        """What a setting has that is not searched."""
        data: Any = self.fixed
        for part in key.split("."):
            data = data.get(part) if isinstance(data, dict) else None
        if data is not None:
            return data
        having = [one for one in families() if is_setting(key, one)]
        family = next((one for one in self._families() if one in having), having[0])
        return field(key, family, self.origin).default

    def _lengths(self) -> dict[str, list[int] | int]:
        """The lists that a list can be as long as: their possible lengths, or the fixed one."""
        lengths: dict[str, list[int] | int] = {}
        for family in self._families():
            for name in families()[family].model_fields:
                value = self._value(f"model.{name}")
                if isinstance(value, list) and self._owner(f"model.{name}") is None:
                    lengths[f"model.{name}"] = len(value)
        for key, setting in self.searched.items():
            found = _lengths_of(setting.value)
            if found:
                lengths[key] = found
        return lengths


def _lengths_of(value: Value) -> list[int]:
    """The possible lengths of a searched list; none where it need not be one."""
    if isinstance(value, Layers):
        return list(value.lengths)
    if isinstance(value, Entries):
        return [len(value.entries)]
    if isinstance(value, Dimension) and all(isinstance(one, list) for one in value.choices):
        return [len(one) for one in value.choices]
    return []


def _open(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The settings that are left open; also those with something that is no value and no space."""
    for name, value in data.items():
        key = prefix + name
        if is_space(value):
            yield key
        elif isinstance(value, dict):
            if any(is_setting(key, family) for family in families()):
                yield key
            else:
                yield from _open(value, f"{key}.")


def _take(data: dict[str, Any], key: str) -> Any:
    """Remove what is under a dotted key, and give it."""
    *sections, name = key.split(".")
    for section in sections:
        data = data[section]
    return data.pop(name)


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _targets(written: Any, *names: str) -> Iterator[str]:
    """The keys that a space refers to by `equal` and `like`, or one of them, in depth."""
    if isinstance(written, list):
        for entry in written:
            yield from _targets(entry, *names)
    elif isinstance(written, dict):
        for name in names or ("equal", "like"):
            if isinstance(written.get(name), str):
                yield written[name]
        for name in ("each", "same"):
            yield from _targets(written.get(name), *names)
