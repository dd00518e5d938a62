"""Further pages of the report's house: one self-contained HTML file each, from a template.

`page` is the report of a run; `inspect`, `explain` and `compare` have a sheet of their own in the
same style. The same rules hold: a content security policy that forbids every request, everything
inside the file, and every name that a user can give escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any

from lorgnette import __version__
from lorgnette.report import templates, words
from lorgnette.report.svg import CLASS_COLORS

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """A page as text.

    Args:
        template: a file of this package that extends `sheet.html.j2`.
        values: what it names.
    """
    script = templates.part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        _environment()
        .get_template(template)
        .render(
            w=words,
            version=__version__,
            style=templates.style("page.css", "sheet.css"),
            script=script,
            script_hash=f"sha256-{digest}",
            **values,
        )
    )


def tint(place: int) -> str:
    """The CSS colour of the class or run at a place; grey for those beyond the palette."""
    return f"var(--k{place})" if 0 <= place < len(CLASS_COLORS) else "var(--k-other)"


@cache
def _environment() -> Environment:
    environment = templates.environment()
    environment.globals["tint"] = tint
    environment.tests["lacking"] = lambda values: None in values
    return environment
