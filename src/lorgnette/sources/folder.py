"""A folder of images: the directory is the label.

    SRC/<class>/**                   labelled images, at any depth
    SRC/{train,val,test}/<class>/**  the same, with a given split
    SRC/*, SRC/{train,val,test}/*    unlabelled images

Whether `SRC/test` is a split or a class called "test" goes by its siblings. Where every directory
of SRC has the name of a split (`SPLITS`, in any case), they are splits. Where only some have, they
are classes like the others (a folder of vehicles has a class "train"), unless they hold
directories of their own: then nobody can tell, and an error says so.

Every file counts, whatever its extension, since the content decides what it is; but for hidden
files, what operating systems leave behind, and the texts, tables and archives that lie beside
images (`SIDE_SUFFIXES`, `SIDE_NAMES`). `FolderSource.skipped` tells how many were passed over.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from lorgnette.errors import SourceError, nearest
from lorgnette.sources.base import BATCH_ROWS, RECORD, SPLITS
from lorgnette.storage import Storage, readable, refusals

# fmt: off
SIDE_SUFFIXES = frozenset({
    ".txt", ".md", ".rst", ".html", ".htm", ".pdf", ".doc", ".docx",
    ".csv", ".tsv", ".xls", ".xlsx", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini",
    ".cfg", ".log", ".db", ".sqlite", ".parquet", ".npy", ".npz", ".pkl", ".h5", ".mat", ".pt",
    ".pth", ".safetensors", ".py", ".ipynb", ".sh", ".bat", ".zip", ".tar", ".gz", ".tgz", ".bz2",
    ".xz", ".7z", ".rar", ".md5", ".sha1", ".sha256",
})
"""Extensions of files that lie beside images and never hold one; compared in lower case."""

SIDE_NAMES = frozenset({
    "readme", "license", "licence", "copying", "notice", "changelog", "makefile", "md5sums",
    "sha256sums", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found",
})
"""Names of such files and directories without an extension; compared in lower case."""
# fmt: on


class Entry(NamedTuple):
    """A file or a directory in a listing."""

    name: str
    order: str  # sorts directories where the paths of their files belong
    directory: bool
    bytes: int | None = None
    modified: int | None = None
    identity: tuple[int, int] | None = None  # of a local directory: device and inode


class FolderSource:
    r"""Images in directories named after their classes; see the module's documentation.

    The id of an image is its path relative to the folder, with forward slashes. Bytes of a local
    name that are not UTF-8 are written `\xNN` (see `lorgnette.storage.readable`).
    """

    kind = "folder"

    def __init__(self, location: str, group: str | None = None) -> None:
        """Check that the folder is there and that the grouping makes sense; read nothing yet.

        Args:
            location: a directory or a URL.
            group: what `grouping` takes, or None for no groups.

        Raises:
            SourceError: there is no such folder, or `group` is none of what `grouping` takes.
        """
        self.storage = Storage.at(location)
        self.images = self.storage.root
        self.skipped: Counter[str] = Counter()
        """Files passed over by the last `records()`: extension, name or reason -> number."""
        self._group = grouping(group)
        if not self.storage.is_directory():
            what = "is a file" if self.storage.exists() else "does not exist"
            raise SourceError(
                f"A folder source is a directory with one folder per class, but "
                f"{self.images} {what}."
            )

    def records(self) -> Iterator[pa.RecordBatch]:
        """See `Source.records`: sorted by path; holds the listing of one directory per level."""
        self.skipped.clear()
        split_folders = self._has_split_folders()
        rows: list[tuple[str | int | None, ...]] = []
        empty = True
        for path, entry in self._walk():
            split, label, below = describe(path, split_folders)
            rows.append((path, path, label, self._group(below), split, entry.bytes, entry.modified))
            if len(rows) == BATCH_ROWS:
                yield _batch(rows)
                rows, empty = [], False
        if rows:
            yield _batch(rows)
        elif empty:
            found = ", ".join(f"{n} {what}" for what, n in self.skipped.most_common(5))
            raise SourceError(
                f"{self.images} holds no images: put them into one folder per class, "
                f"{self.images}/<class>/… (found: {found or 'no files at all'})."
            )

    def _has_split_folders(self) -> bool:
        """Whether the directories of SRC are splits rather than classes."""
        top = self._listing("")
        names = [entry.name for entry in top if entry.directory and not side(entry)]
        splits = [name for name in names if name.lower() in SPLITS]
        if len(splits) == len(names):
            return bool(splits)
        for name in splits:
            if any(entry.directory for entry in self._listing(name)):
                other = next(name for name in names if name not in splits)
                raise SourceError(
                    f"In {self.images}, '{name}' looks like a split and '{other}' like a class, "
                    f"and folders are either all splits or all classes: move '{other}' elsewhere, "
                    f"or rename '{name}'."
                )
        return False

    def _walk(self) -> Iterator[tuple[str, Entry]]:
        """Every file below the root with its relative path, sorted by path."""
        root = frozenset([_identity(Path(self.images).stat())] if self.storage.is_local else [])
        stack = [("", iter(self._listing("")), root)]
        while stack:
            prefix, entries, ancestors = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
            elif reason := side(entry):
                self.skipped[reason] += 1
            elif not entry.directory:
                yield prefix + entry.name, entry
            elif entry.identity in ancestors:
                self.skipped["link to a folder above it"] += 1
            else:
                path = prefix + entry.name
                above = ancestors | {entry.identity} if entry.identity else ancestors
                stack.append((f"{path}/", iter(self._listing(path)), above))

    def _listing(self, directory: str) -> list[Entry]:
        """The sorted entries of one directory."""
        listing = _local_listing if self.storage.is_local else _remote_listing
        try:
            with refusals(self.storage.locate(directory)):
                entries = list(listing(self.storage, directory))
        except FileNotFoundError as error:
            raise SourceError(
                f"{self.storage.locate(directory)} vanished while it was being read."
            ) from error
        entries.sort(key=attrgetter("order"))
        for first, second in pairwise(entries):
            if first.name == second.name and first.directory == second.directory:
                raise SourceError(
                    f"{self.storage.locate(directory)} has two files whose names both read "
                    f"'{first.name}' because one is not UTF-8: rename it."
                )
        return entries


def describe(path: str, split_folders: bool) -> tuple[str | None, str | None, str]:
    """What the place of a file says: its split, its label, and the path below its class folder.

    >>> describe("Training/cats/kim/1.jpg", split_folders=True)
    ('train', 'cats', 'kim/1.jpg')
    >>> describe("Training/1.jpg", split_folders=True)
    ('train', None, '1.jpg')
    """
    split = None
    if split_folders and "/" in path:
        folder, _, path = path.partition("/")
        split = SPLITS[folder.lower()]
    label, slash, below = path.partition("/")
    return (split, label, below) if slash else (split, None, path)


def grouping(group: str | None) -> Callable[[str], str | None]:
    """The function from the path below the class folder to the group.

    `stem`: that path without its extension, so that `faces/1.jpg` and `comics/1.jpg` are one
    group "1". `parent`: its directory; an image that lies in the class folder itself has no
    group. Otherwise a regular expression, whose one capture group is the group; where it does not
    match there is none.

    Raises:
        SourceError: `group` is no regular expression with one capture group.
    """
    if not group:
        return lambda below: None
    if group == "stem":
        return lambda below: posixpath.splitext(below)[0]
    if group == "parent":
        return lambda below: below.rpartition("/")[0] or None
    rule = (
        "The group of images in folders is 'stem', 'parent' or a regular expression with one "
        f"capture group, such as '^([^_]+)_', and '{group}' "
    )
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise SourceError(f"{rule}is not a regular expression ({error}).") from error
    if pattern.groups != 1:
        hint = f"; {nearest(group, ('stem', 'parent'))}" if group.isidentifier() else "."
        raise SourceError(f"{rule}has {pattern.groups} of them{hint}")

    def search(below: str) -> str | None:
        match = pattern.search(below)
        return match[1] if match else None

    return search


def side(entry: Entry) -> str | None:
    """Why an entry is no image without a look inside: a key of `FolderSource.skipped`."""
    name = entry.name.lower()
    if name.startswith("."):
        return "hidden"
    if name in SIDE_NAMES:
        return name
    suffix = posixpath.splitext(name)[1]
    return suffix if suffix in SIDE_SUFFIXES and not entry.directory else None


def _local_listing(storage: Storage, directory: str) -> Iterator[Entry]:
    with os.scandir(storage.local(directory)) as found:
        for item in found:
            name = readable(item.name)
            try:
                status = item.stat()  # follows links
            except OSError:  # a broken link, say: a row that becomes "missing"
                yield Entry(name, name, False)
                continue
            if stat.S_ISDIR(status.st_mode):
                yield Entry(name, f"{name}/", True, identity=_identity(status))
            elif stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
                yield Entry(name, name, False, status.st_size, status.st_mtime_ns)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What makes two paths the same directory: device and inode."""
    return status.st_dev, status.st_ino


def _remote_listing(storage: Storage, directory: str) -> Iterator[Entry]:
    selector = pafs.FileSelector(storage.resolve(directory))
    for info in storage.filesystem.get_file_info(selector):
        name = info.base_name
        if info.type == pafs.FileType.Directory:
            yield Entry(name, f"{name}/", True)
        elif info.type == pafs.FileType.File:
            yield Entry(name, name, False, info.size, info.mtime_ns)


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, RECORD, strict=True)]
    return pa.record_batch(arrays, schema=RECORD)
