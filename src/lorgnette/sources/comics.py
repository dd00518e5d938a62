"""Comic faces: the published set of pairs, a face and the comic drawn from it.

DIR/face2comics_v2.0.0_by_Sxela/face2comics_v2.0.0_by_Sxela/{faces,comics}/{n}.jpg
"""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from lorgnette.errors import SourceError
from lorgnette.sources.base import BATCH_ROWS, RECORD
from lorgnette.sources.folder import Entry, side
from lorgnette.sources.published import SIDES, Place
from lorgnette.sources.table import file_facts
from lorgnette.storage import Storage, refusals

UNNAMED = "not named NUMBER.jpg"
"""Why files are left out: a key of `excluded`."""

_FILE = re.compile(r"(0|[1-9][0-9]{0,17})\.jpg")


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
