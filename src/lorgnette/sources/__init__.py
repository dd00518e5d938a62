"""Where images and labels come from: folders, tables and published sets, local or at a URL."""

from __future__ import annotations

from pathlib import Path

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError, nearest
from lorgnette.sources.base import Source
from lorgnette.sources.folder import FolderSource
from lorgnette.sources.kaggle import find, open_kaggle
from lorgnette.sources.portraits.plan import unfinished
from lorgnette.sources.reader import SUFFIXES
from lorgnette.sources.table import TableSource
from lorgnette.sources.vectors import VectorSource, VectorTable
from lorgnette.storage import Storage

__all__ = [
    "FolderSource",
    "Source",
    "TableSource",
    "VectorSource",
    "VectorTable",
    "left_out",
    "open_source",
]


def open_source(config: SourceConfig, *, require_label: bool = True) -> Source:
    """The source that a configuration describes; `auto` goes by what is there.

    Args:
        config: the location and how to read it.
        require_label: whether a table without a label column is refused; what is only predicted
            on needs no labels.

    Raises:
        SourceError: there is nothing there, it is none of what a source can be, or it cannot be
            read as described.
        StorageError: a disk or an object store refused.
    """
    if unfinished(config.location):
        raise SourceError(
            f"The portraits in {config.location} are not complete: start the `lorgnette portraits` "
            "that draws them again, and it continues."
        )
    kind = config.kind if config.kind != "auto" else _kind(config.location, bool(config.features))
    if config.corrections and kind != "kaggle":
        raise SourceError(
            f"--corrections go over the labels of the published glasses set, and "
            f"{config.location} is read as a {kind}: leave them out, or put the labels right "
            "with a column of your own table."
        )
    if kind == "table" and config.features:
        return VectorTable(config, require_label=require_label)
    if kind == "table":
        return TableSource(config, require_label=require_label)
    if kind == "folder" and config.features:
        raise SourceError(
            f"--features are columns of a table, and {config.location} is read as a folder: give "
            "the table."
        )
    for name in ("images", "path", "label", "id", "split"):
        if getattr(config, name):
            read = "folder, where directories are the labels" if kind == "folder" else _PUBLISHED
            raise SourceError(
                f"--{name} describes a table, and {config.location} is read as a {read}: leave "
                "it out, or give the table."
            )
    if kind == "folder":
        return FolderSource(config.location, config.group)
    if config.group:
        raise SourceError(
            f"--group describes a folder or a table, and {config.location} is read as a "
            f"{_PUBLISHED}: leave it out, or say that the kind is folder."
        )
    return open_kaggle(
        config.location, config.corrections, config.features, require_label=require_label
    )


def left_out(source: Source) -> dict[str, int]:
    """What a source has but leaves out on purpose, such as images that nobody can decide.

    Returns:
        Reason -> number of rows or files, as the last `records()` found when it had run to its end.
    """
    return dict(getattr(source, "excluded", {}))


_PUBLISHED = "published set, whose layout says what is what"


def _kind(location: str, vectors: bool) -> str:
    """Folder, table or published set, by what is at a location."""
    storage = Storage.at(location)
    accepted = f"a source is a folder with one directory per class, or a {', '.join(SUFFIXES)} file"
    if not location:
        raise SourceError(f"No source was given: {accepted}.")
    if storage.is_directory():
        return "kaggle" if find(location, images=not vectors) else "folder"
    if not storage.exists():
        parent = Path(storage.root).parent
        near = parent.iterdir() if storage.is_local and parent.is_dir() else ()
        names = [path.name for path in near]
        hint = nearest(Path(storage.root).name, names) if names else f"{accepted}."
        raise SourceError(f"There is nothing at {storage.root}: {hint}")
    if storage.root.lower().endswith(SUFFIXES):
        return "table"
    raise SourceError(f"{storage.root} is neither a folder nor a table: {accepted}.")
