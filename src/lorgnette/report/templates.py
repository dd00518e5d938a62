"""What all pages are filled in with: the templates, styles and script beside this module."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """A fresh Jinja environment: values are escaped, and a name that is not there is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("lorgnette", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def part(name: str) -> str:
    """A style sheet or a script as text."""
    return files("lorgnette.report").joinpath(name).read_text(encoding="utf-8").strip()


def style(*names: str) -> str:
    """The palette of all pages, and style sheets after it."""
    palette = files("lorgnette").joinpath("palette.css").read_text(encoding="utf-8").strip()
    return "\n".join([palette, *map(part, names)])
