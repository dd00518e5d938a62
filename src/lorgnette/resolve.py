"""A configuration out of its layers, later ones winning: defaults, a recipe, the command line.

What a run used is written to its `config.toml` with every setting, so that running that file again
gives the run again.

A recipe may leave values open: a space such as `{log = [1e-4, 1e-2]}` stands where the value would.
Such a recipe is a search, and `lorgnette.tuning` makes configurations of it.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from lorgnette.config import Config, ModelConfig, ResnetConfig
from lorgnette.errors import ConfigError, nearest

RECIPES = Path(__file__).parent / "recipes"
STUDIES = RECIPES / "studies"
SPACE_KEYS = frozenset({"choice", "range", "log", "equal", "length", "like", "each", "same"})
"""What tells a space from a section; no section has a setting of such a name."""


def recipe_names() -> list[str]:
    """The names of the recipes that come with the package: single models."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def study_names() -> list[str]:
    """The names of the searches that come with the package."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def recipe_path(name: str) -> Path:
    """The file of a recipe or a study, by the name of one of the package's or by its own path.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise ConfigError(
                f"A recipe is a TOML file or the name of one, and {name} is not there."
            )
        return Path(name)
    for folder in (RECIPES, STUDIES):
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    known = recipe_names() + study_names()
    raise ConfigError(f"There is no recipe '{name}': {nearest(name, known)}")


def header(name: str) -> str:
    """The comment at the head of a recipe: what it is and what it follows."""
    lines = recipe_path(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))


def title(name: str) -> str:
    """The first line of a recipe's header."""
    return header(name).partition("\n")[0].removeprefix("# ")


def load(
    recipe: str = "default",
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration that a recipe and the settings over it give; arguments as for `data`.

    Raises:
        ConfigError: a name or a value is not allowed, or a value is left open for a search.
    """
    merged = data(recipe, settings, overrides)
    space = next(open_keys(merged), None)
    if space is not None or "tune" in merged:
        what = f"it leaves {space} open" if space else "it has a section [tune]"
        raise ConfigError(f"Recipe {recipe} is a search ({what}): use it with lorgnette tune.")
    return parse(merged, f"recipe {recipe}")


def data(
    recipe: str = "default",
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A recipe and the settings over it as plain data, not yet checked; spaces are left in.

    Args:
        recipe: the name of a recipe or the path of a TOML file (a run's `config.toml`, say).
        settings: `"section.key=value"`, the value in TOML (quotes around a word may be left out).
        overrides: `{"section.key": value}`, applied last; None values are passed over.

    Returns:
        sections as nested dictionaries, among them `tune` where the recipe has one.

    Raises:
        ConfigError: there is no such recipe, or it or a setting cannot be read.
    """
    path = recipe_path(recipe)
    try:
        merged = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    merged.setdefault("recipe", recipe)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set takes section.key=value, got '{setting}'.")
        assign(merged, key.strip(), _value(text.strip()))
    for key, value in (overrides or {}).items():
        if value is not None:
            assign(merged, key, value)
    return merged


def is_space(value: object) -> bool:
    """Whether this stands for several values: a space, or a list with one in it."""
    if isinstance(value, dict):
        return not SPACE_KEYS.isdisjoint(value)
    return isinstance(value, list) and any(isinstance(entry, dict) for entry in value)


def open_keys(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The settings of plain data whose values are left open, in their order."""
    for name, value in data.items():
        if is_space(value):
            yield prefix + name
        elif isinstance(value, dict) and prefix + name != "tune":
            yield from open_keys(value, f"{prefix}{name}.")


def parse(data: Mapping[str, Any], origin: str) -> Config:
    """Check plain data against the settings.

    Args:
        data: sections as nested dictionaries.
        origin: where it comes from, for the message.

    Raises:
        ConfigError: the first thing that is not allowed, with the nearest name or the rule.
    """
    data = {**data, "model": {"family": ResnetConfig().family, **data.get("model", {})}}
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_sentence(error, origin)) from error


def check(key: str, value: Any, origin: str, family: str | None = None) -> None:
    """Refuse a value that a setting takes in no configuration; other settings do not count.

    Args:
        key: the setting, with dots.
        value: plain data.
        origin: where it comes from, for the message.
        family: for settings of `model`, the family they are read for; the default one if None.

    Raises:
        ConfigError: there is no such setting, or it never takes this value.
    """
    data: dict[str, Any] = {"model": {"family": family or ResnetConfig().family}}
    assign(data, key, value)
    try:
        Config.model_validate(data)
    except ValidationError as error:
        # What is wrong between settings is found above them, in the section.
        depth = len(key.split(".")) + key.startswith("model.")
        if len(error.errors()[0]["loc"]) >= depth or _deepest(error)["type"] != "value_error":
            raise ConfigError(_sentence(error, origin)) from error


def dump(config: Config) -> str:
    """The configuration as TOML, every setting written out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def assign(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value or a space where a dotted key says, in place.

    A space that goes over a value notes it (`was`): where the space holds it, it stays the default.

    Raises:
        ConfigError: the key leads through something that is no section.
    """
    *sections, name = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ConfigError(f"There is no setting '{key}': '{section}' is not a section.")
    old = data.get(name)
    if key == "model.family":
        _other_family(data, old or ResnetConfig().family, value)
    data[name] = _with_old(value, old)


def _with_old(space: Any, old: Any) -> Any:
    """A space, or a list with spaces in it, that notes what was there before."""
    if isinstance(space, list) and isinstance(old, list) and is_space(space):
        return [_with_old(*pair) for pair in zip(space, old, strict=False)] + space[len(old) :]
    if isinstance(space, dict) and not SPACE_KEYS.isdisjoint(space):
        old = old.get("default", old.get("was")) if isinstance(old, dict) else old
        if old is not None and not is_space(old):
            return {"was": old, **space}
    return space


def _other_family(model: dict[str, Any], old: Any, new: Any) -> None:
    """Drop the settings of the section `model` that are those of another family, in place."""
    before = old.get("choice", []) if isinstance(old, dict) else [old]
    after = new.get("choice", []) if isinstance(new, dict) else [new]
    if not set(map(str, before)) & set(map(str, after)):
        model.clear()
    elif isinstance(old, dict) and isinstance(new, str) and new in families():
        known = families()[new].model_fields
        for name in model.keys() - known.keys():
            del model[name]


def families() -> dict[str, type[BaseModel]]:
    """The settings of each model family, by its name."""
    return {_family(member)[0]: member for member in get_args(get_args(ModelConfig)[0])}


def _sentence(error: ValidationError, origin: str) -> str:
    """The first finding of a validation as: the rule, what came, what to do."""
    finding = _deepest(error)
    names = families()
    location = [str(part) for part in finding["loc"] if str(part) not in names]
    # Pydantic names the tried members of a union ("tuple[...]", "constrained-int"): not settings.
    location = [part for part in location if re.fullmatch(r"[a-z_0-9]+", part)]
    name = ".".join(location)
    received = finding["input"]
    if finding["type"] == "extra_forbidden":
        known = _fields(finding["loc"][:-1])
        deeper = [key for key in _keys(Config) if key.endswith(f".{location[-1]}")]
        close = f"did you mean '{deeper[0]}'?" if deeper else nearest(location[-1], known)
        return f"There is no setting '{name}' ({origin}): {close}"
    if finding["type"] == "union_tag_invalid":
        family = received.get("family") if isinstance(received, dict) else received
        return f"There is no model family '{family}' ({origin}): {nearest(str(family), names)}"
    rule = finding["msg"].removeprefix("Value error, ")
    rule = rule[0].lower() + rule[1:]
    if finding["type"] == "value_error":
        return f"Setting {name or 'model'}: {rule} ({origin})."
    hint = ""
    if finding["type"] == "literal_error" and isinstance(received, str):
        known = re.findall("'([^']+)'", finding["ctx"]["expected"])
        close = nearest(received, known)
        hint = f": {close}" if close.startswith("did you mean") else ""
    return f"Setting {name}: {rule}, got {received!r} ({origin}){hint or '.'}"


def _deepest(error: ValidationError) -> Any:
    """The first finding; of a list that was tried as one value first, what is wrong inside it."""
    first, *others = error.errors()
    if isinstance(first["input"], list | tuple):
        above = first["loc"][:-1]
        for other in others:
            if other["loc"][: len(above)] == above and len(other["loc"]) > len(first["loc"]):
                return other
    return first


def _family(member: type[BaseModel]) -> tuple[str, ...]:
    return get_args(member.model_fields["family"].annotation)


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings, but those of the model families."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """The names of the settings in the section at a location."""
    current: Any = Config
    members = families()
    for part in location:
        if part in members:
            current = members[str(part)]
        elif part != "model":
            current = current.model_fields[str(part)].annotation
    return list(current.model_fields)
