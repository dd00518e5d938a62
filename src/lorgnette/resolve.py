"""A configuration out of its layers, later ones winning: defaults, a recipe, the command line.

What a run used is written to its `config.toml` with every setting, so that running that file again
gives the run again.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from lorgnette.config import Config, ModelConfig, ResnetConfig
from lorgnette.errors import ConfigError, nearest

RECIPES = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def recipe_path(name: str) -> Path:
    """The file of a recipe, by the name of one that comes with the package or by its own path.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise ConfigError(
                f"A recipe is a TOML file or the name of one, and {name} is not there."
            )
        return Path(name)
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        raise ConfigError(f"There is no recipe '{name}': {nearest(name, recipe_names())}")
    return path


def header(name: str) -> str:
    """The comment at the head of a recipe: what it is and what it follows."""
    lines = recipe_path(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))


def load(
    recipe: str = "default",
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration that a recipe and the settings over it give.

    Args:
        recipe: the name of a recipe or the path of a TOML file (a run's `config.toml`, say).
        settings: `"section.key=value"`, the value in TOML (quotes around a word may be left out).
        overrides: `{"section.key": value}`, applied last; None values are passed over.

    Raises:
        ConfigError: a name or a value is not allowed.
    """
    path = recipe_path(recipe)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    data.setdefault("recipe", recipe)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set takes section.key=value, got '{setting}'.")
        _assign(data, key.strip(), _value(text.strip()))
    for key, value in (overrides or {}).items():
        if value is not None:
            _assign(data, key, value)
    return parse(data, f"recipe {recipe}")


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


def dump(config: Config) -> str:
    """The configuration as TOML, every setting written out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ConfigError(f"There is no setting '{key}': '{section}' is not a section.")
    if key == "model.family" and data.get("family", ResnetConfig().family) != value:
        data.clear()  # the recipe's settings are those of another family
    data[name] = value


def _sentence(error: ValidationError, origin: str) -> str:
    """The first finding of a validation as: the rule, what came, what to do."""
    finding = _deepest(error)
    families = {name for member in get_args(get_args(ModelConfig)[0]) for name in _family(member)}
    location = [str(part) for part in finding["loc"] if str(part) not in families]
    # Pydantic names the tried members of a union ("tuple[...]", "constrained-int"): not settings.
    location = [part for part in location if re.fullmatch(r"[a-z_0-9]+", part)]
    name = ".".join(location)
    received = finding["input"]
    if finding["type"] == "extra_forbidden":
        known = _fields(finding["loc"][:-1])
        return f"There is no setting '{name}' ({origin}): {nearest(location[-1], known)}"
    if finding["type"] == "union_tag_invalid":
        family = received.get("family") if isinstance(received, dict) else received
        return f"There is no model family '{family}' ({origin}): {nearest(str(family), families)}"
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


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """The names of the settings in the section at a location."""
    current: Any = Config
    members = {_family(member)[0]: member for member in get_args(get_args(ModelConfig)[0])}
    for part in location:
        if part in members:
            current = members[str(part)]
        elif part != "model":
            current = current.model_fields[str(part)].annotation
    return list(current.model_fields)
