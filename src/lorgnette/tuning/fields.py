"""What a setting is: whether it exists, which numbers it takes, what its default is."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lorgnette.config import Config
from lorgnette.errors import ConfigError
from lorgnette.resolve import check, families

Numbers = Literal["int", "float"]


class Field(NamedTuple):
    """A setting, for a family where it is one of the section `model`."""

    key: str
    """With dots, as `--set` takes it."""
    family: str | None
    """The family of model for which it is read; None outside the section `model`."""
    numbers: Numbers | None
    """Which numbers it takes as one value; None where it takes none."""
    entries: Numbers | None
    """Which numbers its list takes; None where it takes no list of numbers."""
    length: int | None
    """The number of entries where it is fixed by the setting itself."""
    default: Any
    """As plain data: lists in place of tuples."""

    def check(self, value: Any, origin: str) -> None:
        """Refuse a value that the setting never takes (ConfigError)."""
        check(self.key, value, origin, self.family)

    def check_entry(self, value: Any, origin: str) -> None:
        """Refuse an entry that the setting's list never has (ConfigError)."""
        self.check([value] * (self.length or 1), origin)


def field(key: str, family: str | None, origin: str) -> Field:
    """The setting with a dotted key; `family` counts in the section `model` alone.

    Raises:
        ConfigError: there is no such setting, or it is a section.
    """
    found = _find(key, family)
    if found is None:
        check(key, None, origin, family)  # names the nearest one
        raise ConfigError(f"There is no setting '{key}' ({origin}).")
    plain = list(_members(found.annotation))
    if any(map(_is_section, plain)):
        raise ConfigError(f"{key} is a section, and a space stands for a setting ({origin}).")
    lists = [get_args(member) for member in plain if get_origin(member) is tuple]
    fixed = [args for args in lists if args[-1] is not Ellipsis]
    return Field(
        key,
        family,
        _numbers(plain),
        _numbers(list(_members(lists[0][0]))) if lists else None,
        len(fixed[0]) if fixed else None,
        plain_data(found.get_default(call_default_factory=True)),
    )


def is_setting(key: str, family: str) -> bool:
    """Whether a dotted key is a setting, with this family of model."""
    found = _find(key, family)
    return found is not None and not any(map(_is_section, _members(found.annotation)))


def _find(key: str, family: str | None) -> FieldInfo | None:
    """The field that a dotted key leads to."""
    section: Any = Config
    found = None
    for part in key.split("."):
        if not _is_section(section):
            return None
        found = section.model_fields.get(part)
        if found is None:
            return None
        section = families()[family] if part == "model" and family else found.annotation
    return found


def plain_data(value: Any) -> Any:
    """Lists in place of tuples, in depth."""
    return [plain_data(entry) for entry in value] if isinstance(value, tuple | list) else value


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation, without what is annotated."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _numbers(members: list[Any]) -> Numbers | None:
    return "float" if float in members else "int" if int in members else None
