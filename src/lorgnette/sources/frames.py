"""Which columns of a frame are images, labels and features; see `lorgnette.frames`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lorgnette.engines.frames import Field
from lorgnette.errors import ConfigError, SourceError, nearest
from lorgnette.sources.embedded import CONTENT
from lorgnette.sources.table import USUAL
from lorgnette.sources.vectors import columns_of


@dataclass(frozen=True, slots=True)
class Asked:
    """What is taken of a frame.

    Attributes:
        columns: name in the spool -> column of the frame.
        features: the names of the columns of numbers; empty for images.
    """

    columns: dict[str, str]
    features: list[str]


def asked_of(
    known: Mapping[str, Field],
    image: str | None,
    features: str | Sequence[str] | None,
    roles: Mapping[str, str | None],
) -> Asked:
    """Find the columns that are needed, and see that they hold what they should."""
    columns: dict[str, str] = {}
    for role, named in roles.items():
        name = named or (role if role in known else None)
        if name is None:
            continue
        field = _field(known, name, role)
        if field.kind not in ("text", "number", "other") or "<" in field.type:
            raise SourceError(
                f"The {role} is a column of text or numbers, and column '{name}' of the frame "
                f"holds {field.type}: name another one with {role}=…"
            )
        columns[role] = name
    if features is None:
        name = image or _usual(known)
        kind = _field(known, name, "image").kind
        if kind not in ("bytes", "text"):
            raise SourceError(
                f"Images are encoded bytes or paths, and column '{name}' of the frame holds "
                f"{known[name].type}: name another one with image=…, or give features=…"
            )
        columns["content" if kind == "bytes" else "path"] = name
        return Asked(columns, [])
    if image is not None:
        raise ConfigError(
            f"Rows are images or vectors, and both were asked for (image='{image}' and features): "
            "leave one out."
        )
    names = features_of(known, features)
    if clash := [name for name in names if name in columns or name in columns.values()]:
        raise ConfigError(
            f"Column '{clash[0]}' of the frame is asked for as a feature and as something else: "
            "narrow the features, or rename the column."
        )
    return Asked(columns | {name: name for name in names}, names)


def features_of(known: Mapping[str, Field], features: str | Sequence[str]) -> list[str]:
    """The columns of features, by name; all hold numbers."""
    wanted = features if isinstance(features, str) else ",".join(features)
    names = list(columns_of(wanted, list(known), "the frame"))
    for name in names:
        if known[name].kind not in ("number", "numbers", "vector"):
            raise SourceError(
                "A feature is a column of numbers, of lists of numbers or of vectors, and column "
                f"'{name}' of the frame holds {known[name].type}: choose other columns with "
                "features=…"
            )
    return names


def _field(known: Mapping[str, Field], name: str, role: str) -> Field:
    if name not in known:
        raise SourceError(
            f"The frame has no column '{name}' for the {role} ({listed(known)}): "
            f"{nearest(name, known)} Name it with {role}=…"
        )
    return known[name]


def _usual(known: Mapping[str, Field]) -> str:
    """The column of images by its usual names: bytes before paths."""
    for kind, usual in (("bytes", CONTENT), ("text", USUAL["path"])):
        for name in known:
            if name.lower() in usual and known[name].kind == kind:
                return name
    raise SourceError(
        f"The frame has no column of encoded images ({', '.join(CONTENT)}) or of paths "
        f"({', '.join(USUAL['path'])}) by their usual names: its columns are {listed(known)}. "
        "Name one with image=…, or give features=…"
    )


def listed(known: Mapping[str, Field]) -> str:
    """The columns of a frame with their types, for messages."""
    shown = [f"{name} {field.type}" for name, field in known.items()]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:8], "…", shown[-1]])
