"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from lorgnette.errors import ConfigError
from lorgnette.progress import console


def _quiet(value: bool) -> bool:
    console.quiet = console.quiet or value
    return value


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document as the last line of the output.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress, no remarks.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Seed = Annotated[
    int | None, typer.Option(help="Fixes splits, initial weights, order and augmentation.")
]
Recipe = Annotated[
    str, typer.Option(help="A recipe's name (see `lorgnette recipes`) or a TOML file.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: --set train.epochs=5."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin again, whatever is in the output directory.")
]
Workers = Annotated[int | None, typer.Option(help="Processes; default: one per processor.")]
Engine = Annotated[str | None, typer.Option(help="Where work runs: local, spark or ray.")]
Master = Annotated[
    str | None, typer.Option(help="Spark's master, such as spark://HOST:7077 or yarn.")
]
Address = Annotated[str | None, typer.Option(help="Ray's address, such as HOST:6379 or auto.")]
Members = Annotated[
    int | None,
    typer.Option(help="Short for --set train.members=N: processes that train one network."),
]
Size = Annotated[
    str | None, typer.Option(help="Edge length in pixels; several as 64,128 (the first is used).")
]
Color = Annotated[str | None, typer.Option(help="rgb or gray.")]
Fit = Annotated[str | None, typer.Option(help="Images that are not square: crop, pad or stretch.")]
Kind = Annotated[
    str | None,
    typer.Option("--source", "--kind", help="folder, table or kaggle; default: by what is there."),
]
Features = Annotated[
    str | None,
    typer.Option(help="Tables: columns of numbers (v1..v512, v*, a,b); rows are then vectors."),
]
Corrections = Annotated[
    str | None,
    typer.Option(help="kaggle: a table of labels that go over the given ones; blank: left out."),
]
Images = Annotated[str | None, typer.Option(help="Tables: what paths are relative to.")]
PathColumn = Annotated[str | None, typer.Option("--path", help="Tables: the column of paths.")]
Content = Annotated[
    str | None, typer.Option(help="Parquet tables that hold the images: the column of bytes.")
]
Label = Annotated[str | None, typer.Option(help="Tables: the column of labels.")]
Id = Annotated[str | None, typer.Option("--id", help="Tables: the column of ids.")]
Group = Annotated[
    str | None,
    typer.Option(
        help="What never straddles a split. Tables: a column. Folders: stem, parent, or a regular "
        "expression with one group."
    ),
]
GivenSplit = Annotated[str | None, typer.Option("--split", help="Tables: the column of splits.")]
Who = Annotated[
    str | None, typer.Option(help="The name that decisions are noted under; default: yours.")
]
Epochs = Annotated[int | None, typer.Option(help="Short for --set train.epochs=N.")]


def source_settings(
    location: str | None,
    kind: str | None,
    images: str | None,
    path: str | None,
    content: str | None,
    label: str | None,
    id_: str | None,
    group: str | None,
    split: str | None,
    corrections: str | None,
    features: str | None,
) -> dict[str, str | None]:
    """The options that describe a source, as settings."""
    return {
        "source.location": location,
        "source.kind": kind,
        "source.images": images,
        "source.path": path,
        "source.content": content,
        "source.label": label,
        "source.id": id_,
        "source.group": group,
        "source.split": split,
        "source.corrections": corrections,
        "source.features": features,
    }


def engine_settings(
    engine: str | None, workers: int | None, master: str | None, address: str | None
) -> dict[str, str | int | None]:
    """The options that say where work runs, as settings; an address names its engine."""
    named = "spark" if master else "ray" if address else None
    return {
        "engine.name": engine or named,
        "engine.workers": workers,
        "engine.master": master,
        "engine.address": address,
    }


def sizes(text: str | None) -> tuple[int, ...] | None:
    """The edge lengths in a text such as 64,128."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--size is an edge length in pixels, or several as 64,128, not '{text}'."
        ) from None


def name_of_user() -> str:
    """The name that the system knows the person by; empty where it knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
