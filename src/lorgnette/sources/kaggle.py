"""The two published Kaggle sets as sources, downloaded or generated.

Glasses or No Glasses: labels in tables, images by id.

    DIR/train.csv                                              id, v1, …, v512, glasses (0 or 1)
    DIR/test.csv                                               id, v1, …, v512: unlabelled
    DIR/faces-spring-2020/faces-spring-2020/face-{id}.png

Comic faces: the directory is the label, and the two pictures of a number are a pair.

    DIR/face2comics_v2.0.0_by_Sxela/face2comics_v2.0.0_by_Sxela/{faces,comics}/{n}.jpg

The doubled directory may also be a single one. Nothing else in DIR is opened; a table of
corrected labels only where the configuration names it.
"""

from __future__ import annotations

import os
import posixpath
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from lorgnette.errors import SourceError
from lorgnette.progress import say
from lorgnette.sources.base import BATCH_ROWS, RECORD
from lorgnette.sources.folder import Entry, side
from lorgnette.sources.labels import BLANK, Codes, Ids, Labels, known_ids, places_of, verdicts
from lorgnette.sources.table import file_facts
from lorgnette.storage import Storage, refusals

PORTRAITS = "faces-spring-2020"
PAIRS = "face2comics_v2.0.0_by_Sxela"
TABLES = ("train.csv", "test.csv")
SIDES = ("comics", "faces")
CLASSES = ("no_glasses", "glasses")
"""What the values 0 and 1 of the column `glasses` mean."""

UNDECIDABLE = "undecidable"
UNNAMED = "not named NUMBER.jpg"
"""Why rows are left out: keys of `excluded`."""

_FILE = re.compile(r"(0|[1-9][0-9]{0,17})\.jpg")


class Place(NamedTuple):
    """Where a published set was found."""

    layout: Literal["glasses", "comics"]
    tables: str
    """The location of the tables; empty for comics."""
    images: str


def find(location: str) -> Place | None:
    """The published set in a directory, known by the names of its parts; None if there is none.

    The directory is the download, or one of those that the download doubles.

    Args:
        location: a directory or a URL.

    Raises:
        SourceError: both sets are there.
    """
    found = [place for place in (_glasses(location), _comics(location)) if place]
    if len(found) > 1:
        raise SourceError(
            f"A source is one set, and {location} holds both published ones: give "
            f"{location.rstrip('/')}/{PORTRAITS} or {location.rstrip('/')}/{PAIRS}."
        )
    return found[0] if found else None


def open_kaggle(
    location: str, corrections: str | None = None, *, require_label: bool = True
) -> GlassesSource | ComicsSource:
    """The published set in a directory.

    Args:
        location: a directory or a URL.
        corrections: a table of labels that go over the given ones; glasses only.
        require_label: whether a glasses set without any labels is refused.

    Raises:
        SourceError: none of the two is there, or it cannot be read.
    """
    storage = Storage.at(location)
    place = find(location)
    if place is None and all(storage.is_directory(name) for name in SIDES):
        place = Place("comics", "", storage.root)
    if place is None:
        raise SourceError(
            f"The published sets are {' or '.join(TABLES)} beside {PORTRAITS}/ (glasses), and "
            f"{PAIRS}/ with {SIDES[1]}/ and {SIDES[0]}/ (comic faces), and {storage.root} is "
            f"neither ({_content(storage)}): give the folder that the download was unpacked "
            "into, or leave the kind out."
        )
    if place.layout == "glasses":
        return GlassesSource(place, corrections, require_label=require_label)
    if corrections:
        raise SourceError(
            f"Corrections are for the glasses set, and {storage.root} is the comic one, whose "
            "directories are the labels: leave --corrections out."
        )
    return ComicsSource(place)


class GlassesSource:
    """Glasses or No Glasses: rows of train.csv and test.csv, joined by id with their images.

    The id of an image is its number as text, its label `glasses`, `no_glasses` or none.
    """

    kind = "kaggle"

    def __init__(
        self, place: Place, corrections: str | None = None, *, require_label: bool = True
    ) -> None:
        """Find the columns and see that there are images; read the headers only.

        Args:
            place: where the set is.
            corrections: a table with the columns id and glasses, or glasses alone (row k is then
                id k). Its labels go over the given ones, and a blank one leaves the row out.
            require_label: whether tables without a label column are refused.

        Raises:
            SourceError: a column is missing, there is no image, or there are no corrections.
        """
        self.storage = Storage.at(place.images)
        self.images = self.storage.root
        self.excluded: Counter[str] = Counter()
        """Rows that the last `records()` left out on purpose: reason -> number."""
        folder = Storage.at(place.tables)
        self.tables: list[Labels] = []
        for name in filter(folder.exists, TABLES):
            self.tables.append(Labels(folder.locate(name)))
            self.tables[-1].need("id")
            if require_label and name == TABLES[0]:
                self.tables[-1].need("glasses")
        labelled = any("glasses" in table.columns for table in self.tables)
        if require_label and not labelled and not corrections:
            raise SourceError(
                f"{folder.root} has no {TABLES[0]}, and {TABLES[1]} comes without labels: "
                "complete the download, or give labels with --corrections."
            )
        self.corrections = _corrections(corrections, folder) if corrections else None
        if self.storage.is_local and not _has_portraits(self.storage):
            raise SourceError(
                f"The images of {self.tables[0].location} are face-ID.png in {self.images}, "
                f"and none is there ({_content(self.storage)}): complete the download."
            )
        self._told = False

    def records(self) -> Iterator[pa.RecordBatch]:
        """See `Source.records`: in the order of the rows; holds at most 9 bytes of each."""
        self.excluded.clear()
        known = known_ids(self.tables)
        corrected = self._corrected(known, self.corrections) if self.corrections else None
        for table in self.tables:
            for _, ids, codes in table.rows():
                if corrected is not None:
                    places, here = places_of(ids, known)
                    if not here.all():
                        raise SourceError(f"{table.location} changed while it was being read.")
                    codes = np.where(corrected[places] >= 0, corrected[places], codes)
                    kept = corrected[places] != BLANK
                    ids, codes = ids[kept], codes[kept]
                    if not kept.all():
                        self.excluded[UNDECIDABLE] += int((~kept).sum())
                if len(ids):
                    yield self._batch(ids, codes)

    def _corrected(self, known: Ids, corrections: Labels) -> Codes:
        """The correction of each known id, (n,); says once what was passed over."""
        corrected, strange = verdicts(known, corrections)
        if strange and not self._told:
            say(f"{strange:,} corrections are for ids that are not here, and were passed over.")
        self._told = True
        return corrected

    def _batch(self, ids: Ids, codes: Codes) -> pa.RecordBatch:
        names = pa.array(ids).cast(pa.string())
        paths = pc.binary_join_element_wise("face-", names, ".png", "")
        labels = pa.array(CLASSES).take(pa.array(codes, mask=codes < 0))
        nothing = pa.nulls(len(ids), pa.string())
        facts = file_facts(self.storage, paths.to_pylist())
        return pa.record_batch([names, paths, labels, nothing, nothing, *facts], schema=RECORD)


class ComicsSource:
    """Comic faces: the directory is the label, the number the group; the id is `faces/12`."""

    kind = "kaggle"

    def __init__(self, place: Place) -> None:
        """Take the place; read nothing yet."""
        self.storage = Storage.at(place.images)
        self.images = self.storage.root
        self.excluded: Counter[str] = Counter()
        """Files that the last `records()` left out on purpose: reason -> number."""

    def records(self) -> Iterator[pa.RecordBatch]:
        """See `Source.records`: by number, a pair together; holds 8 bytes of each on a disk.

        A listing of an object store comes with sizes and times, which are kept: 24 bytes.
        """
        self.excluded.clear()
        columns = [array("q"), array("q"), array("q")]
        for code, name in enumerate(SIDES):
            self._list(code, name, columns)
        keys, sizes, times = (np.frombuffer(column, np.int64) for column in columns)
        if not len(keys):
            raise SourceError(
                f"The comic set is NUMBER.jpg in {self.images}/{{{','.join(SIDES)}}}, and none is "
                "there: complete the download."
            )
        if len(sizes):
            order = keys.argsort(kind="stable")
            keys, sizes, times = keys[order], sizes[order], times[order]
        else:
            keys.sort()
        for start in range(0, len(keys), BATCH_ROWS):
            part = slice(start, start + BATCH_ROWS)
            numbers = pa.array(keys[part] >> 1).cast(pa.string())
            labels = pa.array(SIDES).take(pa.array(keys[part] & 1))
            ids = pc.binary_join_element_wise(labels, numbers, "/")
            paths = pc.binary_join_element_wise(ids, ".jpg", "")
            facts = (
                (pa.array(sizes[part]), pa.array(times[part]))
                if len(sizes)
                else file_facts(self.storage, paths.to_pylist())
            )
            nothing = pa.nulls(len(ids), pa.string())
            yield pa.record_batch([ids, paths, labels, numbers, nothing, *facts], schema=RECORD)

    def _list(self, code: int, name: str, columns: Sequence[array[int]]) -> None:
        """Append the files of one directory: twice the number plus `code`, size and time."""
        for entry in self._entries(name):
            match = _FILE.fullmatch(entry.name)
            if match and not entry.directory:
                columns[0].append(2 * int(match[1]) + code)
                if entry.bytes is not None and entry.modified is not None:
                    columns[1].append(entry.bytes)
                    columns[2].append(entry.modified)
            elif not side(entry):
                self.excluded[UNNAMED] += 1

    def _entries(self, name: str) -> Iterator[Entry]:
        """What is in a directory, in any order; with sizes and times only where they are free."""
        where = self.storage.locate(name)
        try:
            with refusals(where):
                if self.storage.is_local:
                    with os.scandir(where) as found:
                        for item in found:
                            yield Entry(item.name, "", item.is_dir())
                    return
                selector = pafs.FileSelector(self.storage.resolve(name))
                for info in self.storage.filesystem.get_file_info(selector):
                    is_file = info.type == pafs.FileType.File
                    yield Entry(info.base_name, "", not is_file, info.size, info.mtime_ns)
        except FileNotFoundError as error:
            raise SourceError(f"{where} vanished while it was being read.") from error


def _glasses(location: str) -> Place | None:
    """The glasses set whose download this is, or whose directory of images."""
    storage = Storage.at(location)
    root = storage.root
    while posixpath.basename(root) == PORTRAITS:
        root = posixpath.dirname(root)
    tables = Storage.at(root)
    if not tables.is_directory(PORTRAITS) or not any(map(tables.exists, TABLES)):
        return None
    doubled = tables.is_directory(f"{PORTRAITS}/{PORTRAITS}")
    images = tables.locate(f"{PORTRAITS}/{PORTRAITS}" if doubled else PORTRAITS)
    # Somebody may have sorted the images into classes: then they are a folder source like others.
    if root != storage.root and not _has_portraits(Storage.at(images)):
        return None
    return Place("glasses", root, images)


def _comics(location: str) -> Place | None:
    """The comic set whose download this is, or whose directory of images."""
    storage = Storage.at(location)
    inside = [f"{PAIRS}/{PAIRS}", PAIRS] if storage.is_directory(PAIRS) else []
    if posixpath.basename(storage.root) == PAIRS:
        inside.append("")
    for name in inside:
        base = Storage.at(storage.locate(name))
        if all(base.is_directory(each) for each in SIDES):
            return Place("comics", "", base.root)
    return None


def _has_portraits(storage: Storage) -> bool:
    """Whether a local directory has an image of the glasses set; others are not listed for it."""
    if not storage.is_local:
        return True
    try:
        with refusals(storage.root), os.scandir(storage.root) as found:
            return any(re.fullmatch(r"face-[0-9]+\.png", item.name) for item in found)
    except FileNotFoundError:
        return False


def _corrections(location: str, folder: Storage) -> Labels:
    """The table of corrections; a name alone may have been meant relative to the set's folder."""
    if not Storage.at(location).exists() and folder.exists(location):
        raise SourceError(
            f"There is no table at {Storage.at(location).root}: did you mean "
            f"{folder.locate(location)}?"
        )
    corrections = Labels(location, blank_rows=True)
    corrections.need("glasses")
    return corrections


def _content(storage: Storage) -> str:
    """What is in a directory, for a message."""
    if not storage.is_directory():
        return "a file" if storage.exists() else "there is nothing"
    selector = pafs.FileSelector(storage.resolve(""))
    with refusals(storage.root):
        names = sorted(info.base_name for info in storage.filesystem.get_file_info(selector))
    more = [f"and {len(names) - 5:,} more"] if len(names) > 5 else []
    return f"found: {', '.join(chain(names[:5], more)) or 'nothing'}"
