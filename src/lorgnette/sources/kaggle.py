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
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from lorgnette.errors import SourceError
from lorgnette.progress import say
from lorgnette.sources.base import RECORD
from lorgnette.sources.columns import Vectors
from lorgnette.sources.comics import ComicsSource
from lorgnette.sources.labels import BLANK, Codes, Ids, Labels, known_ids, places_of, verdicts
from lorgnette.sources.published import CLASSES, PAIRS, PORTRAITS, SIDES, TABLES, Place
from lorgnette.sources.table import file_facts
from lorgnette.sources.vectors import columns_of
from lorgnette.storage import Storage, refusals

UNDECIDABLE = "undecidable"
"""Why rows are left out: keys of `excluded`."""

DOUBTFUL = 0.3
"""A larger share of changed labels makes one ask whether the corrections are of this set."""


def find(location: str, *, images: bool = True) -> Place | None:
    """The published set in a directory, known by the names of its parts; None if there is none.

    The directory is the download, or one of those that the download doubles.

    Args:
        location: a directory or a URL.
        images: whether those of the glasses set must be there; its tables may come alone.

    Raises:
        SourceError: both sets are there.
    """
    storage = Storage.at(location)
    if not images and any(map(storage.exists, TABLES)):
        return Place("glasses", storage.root, "")
    found = [place for place in (_glasses(location), _comics(location)) if place]
    if len(found) > 1:
        raise SourceError(
            f"A source is one set, and {location} holds both published ones: give "
            f"{location.rstrip('/')}/{PORTRAITS} or {location.rstrip('/')}/{PAIRS}."
        )
    return found[0] if found else None


def open_kaggle(
    location: str,
    corrections: str | None = None,
    features: str | None = None,
    *,
    require_label: bool = True,
) -> GlassesSource | ComicsSource:
    """The published set in a directory.

    Args:
        location: a directory or a URL.
        corrections: a table of labels that go over the given ones; glasses only.
        features: the columns of vectors (see `columns_of`) where these are wanted instead of the
            images; glasses only.
        require_label: whether a glasses set without any labels is refused.

    Raises:
        SourceError: none of the two is there, or it cannot be read.
    """
    storage = Storage.at(location)
    place = find(location, images=not features)
    if place is None and all(storage.is_directory(name) for name in SIDES):
        place = Place("comics", "", storage.root)
    if place is None:
        raise SourceError(
            f"The published sets are {' or '.join(TABLES)} beside {PORTRAITS}/ (glasses), and "
            f"{PAIRS}/ with {SIDES[1]}/ and {SIDES[0]}/ (comic faces), and {storage.root} is "
            f"neither ({_content(storage)}): give the folder that the download was unpacked "
            "into, or leave the kind out."
        )
    if place.layout == "glasses" and features:
        return GlassesVectors(place, features, corrections, require_label=require_label)
    if place.layout == "glasses":
        return GlassesSource(place, corrections, require_label=require_label)
    if corrections:
        raise SourceError(
            f"Corrections are for the glasses set, and {storage.root} is the comic one, whose "
            "directories are the labels: leave --corrections out."
        )
    if features:
        raise SourceError(
            f"--features are columns of a table, and {storage.root} is the comic set, which has "
            "only images: leave them out."
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
        self._open_tables(place, corrections, require_label)
        self.storage = Storage.at(place.images)
        self.images = self.storage.root
        if self.storage.is_local and not _has_portraits(self.storage):
            raise SourceError(
                f"The images of {self.tables[0].location} are face-ID.png in {self.images}, "
                f"and none is there ({_content(self.storage)}): complete the download."
            )

    def _open_tables(self, place: Place, corrections: str | None, require_label: bool) -> None:
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
        self._require_label = require_label
        self._told = False

    def records(self) -> Iterator[pa.RecordBatch]:
        """See `Source.records`: in the order of the rows; holds at most 9 bytes of each."""
        for table, ids, codes, _ in self._joined():
            yield self._batch(table, ids, codes)

    def _joined(self, features: Sequence[str] = ()) -> Iterator[tuple[Labels, Ids, Codes, Vectors]]:
        """Rows with the labels in force, and their numbers; what is left out is counted."""
        self.excluded.clear()
        known = known_ids(self.tables)
        corrected, strange = verdicts(known, self.corrections) if self.corrections else (None, 0)
        given = changed = labelled = 0
        for table in self.tables:
            for _, ids, codes, numbers in table.vectors(features):
                if corrected is not None:
                    places, here = places_of(ids, known)
                    if not here.all():
                        raise SourceError(f"{table.location} changed while it was being read.")
                    right = np.where(corrected[places] >= 0, corrected[places], codes)
                    given += int((codes >= 0).sum())
                    changed += int(((codes >= 0) & (right != codes)).sum())
                    kept = corrected[places] != BLANK
                    ids, codes = ids[kept], right[kept]
                    numbers = numbers[kept] if features else numbers
                    if not kept.all():
                        self.excluded[UNDECIDABLE] += int((~kept).sum())
                labelled += int((codes >= 0).sum())
                if len(ids):
                    yield table, ids, codes, numbers
        if self._require_label and not labelled:
            raise SourceError(
                f"None of the rows of {self.tables[0].location} has a label in its column glasses: "
                "complete the download, or give labels with --corrections."
            )
        if corrected is not None and not self._told:
            self._tell(given, changed, strange)

    def _tell(self, given: int, changed: int, strange: int) -> None:
        """Say once what the corrections did; those of another set would change half the labels."""
        self._told = True
        if strange:
            say(f"{strange:,} corrections are for ids that are not here, and were passed over.")
        if given:
            doubt = changed / given > DOUBTFUL
            say(
                f"The corrections change {changed:,} of {given:,} given labels "
                f"({changed / given:.1%}){': are they of this set?' if doubt else '.'}"
            )

    def _batch(self, table: Labels, ids: Ids, codes: Codes) -> pa.RecordBatch:
        names = pa.array(ids).cast(pa.string())
        paths = pc.binary_join_element_wise("face-", names, ".png", "")
        facts = file_facts(self.storage, paths.to_pylist())
        return self._records(names, paths, codes, facts)

    def _records(
        self, names: pa.StringArray, paths: pa.StringArray, codes: Codes, facts: tuple[Any, Any]
    ) -> pa.RecordBatch:
        labels = pa.array(CLASSES).take(pa.array(codes, mask=codes < 0))
        nothing = pa.nulls(len(names), pa.string())
        return pa.record_batch([names, paths, labels, nothing, nothing, *facts], schema=RECORD)


class GlassesVectors(GlassesSource):
    """The same rows with their latent vectors instead of images."""

    def __init__(
        self,
        place: Place,
        features: str,
        corrections: str | None = None,
        *,
        require_label: bool = True,
    ) -> None:
        """Find the columns; read the headers only. See `GlassesSource` and `columns_of`."""
        self._open_tables(place, corrections, require_label)
        self.storage = Storage.at(place.tables)
        self.images = self.storage.root
        for table in self.tables:
            columns = table.table.columns
            self.features = columns_of(features, columns, table.location)
            for name in table.columns.values():
                if name in self.features:
                    raise SourceError(
                        f"Column '{name}' of {table.location} is no number to learn from: narrow "
                        "--features, for example to v1..v512."
                    )

    def vectors(self) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        """See `VectorSource.vectors`."""
        for table, ids, codes, numbers in self._joined(self.features):
            yield self._batch(table, ids, codes), numbers

    def _batch(self, table: Labels, ids: Ids, codes: Codes) -> pa.RecordBatch:
        names = pa.array(ids).cast(pa.string())
        file = posixpath.basename(table.location)
        places = pc.binary_join_element_wise(f"{file} id", names, " ")
        sizes, times = file_facts(self.storage, [file])
        facts = tuple(pa.array(fact.to_pylist() * len(ids), pa.int64()) for fact in (sizes, times))
        return self._records(names, places, codes, (facts[0], facts[1]))


def _glasses(location: str) -> Place | None:
    """The glasses set whose download this is, or whose directory of images."""
    storage = Storage.at(location)
    root = storage.root
    while posixpath.basename(root) == PORTRAITS:
        root = posixpath.dirname(root)
    tables = Storage.at(root)
    if not tables.is_directory(PORTRAITS):
        return None
    doubled = tables.is_directory(f"{PORTRAITS}/{PORTRAITS}")
    images = tables.locate(f"{PORTRAITS}/{PORTRAITS}" if doubled else PORTRAITS)
    if not any(map(tables.exists, TABLES)):
        if root == storage.root and storage.is_local and _has_portraits(Storage.at(images)):
            raise SourceError(
                f"The published glasses set has its labels in {TABLES[0]}, and {root} has the "
                "images without it: complete the download, or say --source folder."
            )
        return None
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
