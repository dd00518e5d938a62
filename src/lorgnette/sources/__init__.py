"""Where images and labels come from: folders, tables and published sets, local or at a URL."""

from __future__ import annotations

import os
from pathlib import Path

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError, nearest
from lorgnette.sources.base import Source
from lorgnette.sources.embedded import EmbeddedTable, holds_images
from lorgnette.sources.folder import Entry, FolderSource, side
from lorgnette.sources.kaggle import find, open_kaggle
from lorgnette.sources.portraits.plan import unfinished
from lorgnette.sources.reader import PARQUET, SUFFIXES, open_table
from lorgnette.sources.table import TableSource
from lorgnette.sources.vectors import VectorSource, VectorTable
from lorgnette.storage import Storage, refusals

__all__ = [
    "EmbeddedTable",
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
        table = open_table(config.location)
        if holds_images(table, config):
            return EmbeddedTable(config, table, require_label=require_label)
        return TableSource(config, require_label=require_label)
    if kind == "folder" and config.features:
        raise SourceError(
            f"--features are columns of a table, and {config.location} is read as a folder: give "
            "the table."
        )
    for name in ("images", "path", "content", "label", "id", "split"):
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


SUCCESS = "_SUCCESS"
"""What Spark writes last beside the files of a table."""

_PUBLISHED = "published set, whose layout says what is what"


def _kind(location: str, vectors: bool) -> str:
    """Folder, table or published set, by what is at a location."""
    storage = Storage.at(location)
    accepted = (
        f"a source is a folder with one directory per class, a {', '.join(SUFFIXES)} file, or a "
        "directory of Parquet files"
    )
    if not location:
        raise SourceError(f"No source was given: {accepted}.")
    if storage.is_directory():
        if find(location, images=not vectors):
            return "kaggle"
        return "table" if _is_table(storage) else "folder"
    if not storage.exists():
        parent = Path(storage.root).parent
        near = parent.iterdir() if storage.is_local and parent.is_dir() else ()
        names = [path.name for path in near]
        hint = nearest(Path(storage.root).name, names) if names else f"{accepted}."
        raise SourceError(f"There is nothing at {storage.root}: {hint}")
    if storage.root.lower().endswith(SUFFIXES):
        return "table"
    raise SourceError(f"{storage.root} is neither a folder nor a table: {accepted}.")


def _is_table(folder: Storage) -> bool:
    """Whether a directory is a table in several files: Parquet, no images and no directories.

    What lies beside images too, such as a readme, does not count. A directory of classes is known
    by its first entry; in an object store, where that would take a whole listing, a table is known
    by the mark that Spark leaves, or has to be called one.
    """
    if not folder.is_local:
        return folder.exists(SUCCESS)
    tables = 0
    with refusals(folder.root), os.scandir(folder.root) as found:
        for item in found:
            if item.name.startswith((".", "_")):
                continue
            if item.name.lower().endswith(PARQUET):
                tables += 1
            elif side(Entry(item.name, "", item.is_dir())) is None:
                return False
    return tables > 0
