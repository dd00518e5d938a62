"""Where images and labels come from: folders and tables, on a disk or in an object store."""

from __future__ import annotations

from pathlib import Path

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError, nearest
from lorgnette.sources.base import Source
from lorgnette.sources.folder import FolderSource
from lorgnette.sources.reader import SUFFIXES
from lorgnette.sources.table import TableSource
from lorgnette.storage import Storage

__all__ = ["FolderSource", "Source", "TableSource", "open_source"]


def open_source(config: SourceConfig, *, require_label: bool = True) -> Source:
    """The source that a configuration describes; `auto` goes by what is there.

    Args:
        config: the location and how to read it.
        require_label: whether a table without a label column is refused; what is only predicted
            on needs no labels.

    Raises:
        SourceError: there is nothing there, it is neither a folder nor a table, or it cannot be
            read as described.
        StorageError: a disk or an object store refused.
    """
    kind = config.kind if config.kind != "auto" else _kind(config.location)
    if kind == "table":
        return TableSource(config, require_label=require_label)
    for name in ("images", "path", "label", "id", "split"):
        if getattr(config, name):
            raise SourceError(
                f"--{name} describes a table, and {config.location} is read as a folder, where "
                "directories are the labels: leave it out, or give the table."
            )
    return FolderSource(config.location, config.group)


def _kind(location: str) -> str:
    """Folder or table, by what is at a location."""
    storage = Storage.at(location)
    accepted = f"a source is a folder with one directory per class, or a {', '.join(SUFFIXES)} file"
    if not location:
        raise SourceError(f"No source was given: {accepted}.")
    if storage.is_directory():
        return "folder"
    if not storage.exists():
        parent = Path(storage.root).parent
        near = parent.iterdir() if storage.is_local and parent.is_dir() else ()
        names = [path.name for path in near]
        hint = nearest(Path(storage.root).name, names) if names else f"{accepted}."
        raise SourceError(f"There is nothing at {storage.root}: {hint}")
    if storage.root.lower().endswith(SUFFIXES):
        return "table"
    raise SourceError(f"{storage.root} is neither a folder nor a table: {accepted}.")
