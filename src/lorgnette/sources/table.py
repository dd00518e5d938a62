"""A table of images: CSV, TSV (also `.gz`) or Parquet, one row per image, read out of core.

Columns are the ones that the configuration names, or those with the usual names (`USUAL`). An id,
a group and a split are taken without being named only from columns called just that; an empty
name (`group = ""`) says that the table's column of that name means something else.

- Labels are text: trimmed; an empty one is unlabelled; numbers read as one would write them
  (1.0 in a Parquet column of floats is the class "1").
- Without an id column the path is the id. A path that occurs again becomes `path#2`, `path#3` in
  the order of the rows, so that two copies with different labels are both seen. The ids of an id
  column must be unique as they are.
- Paths are relative to `images` or to the table's own folder; absolute paths stay as they are.
  Paths that are URLs must all lie below `images`, by default the bucket of the first.

The table is read twice: the first pass checks every row and keeps 8 bytes of each, a hash of its
id; the second yields records. So an error in the last row is reported before any work begins.
"""

from __future__ import annotations

import glob
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError, nearest
from lorgnette.sources.base import RECORD, SPLITS
from lorgnette.sources.reader import open_table
from lorgnette.storage import Storage, is_url

USUAL = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "filepath"),
    "label": ("label", "class", "target", "category"),
    "id": ("id",),
    "group": ("group",),
    "split": ("split",),
}
"""Role -> names of columns that are taken for it unless told otherwise; compared in lower case."""

Hashes = npt.NDArray[np.int64]


class TableSource:
    """Images that a table lists; see the module's documentation."""

    kind = "table"

    def __init__(self, config: SourceConfig, *, require_label: bool = True) -> None:
        """Find the columns and the images; read the first rows only.

        Args:
            config: the location, and which column is which.
            require_label: whether a table without a label column is refused; a table to predict
                on needs none.

        Raises:
            SourceError: the table cannot be read, a column is missing or could be either of two,
                there are no rows, or none of the first images is there.
        """
        self.table = open_table(config.location)
        self.columns = {
            role: column for role in USUAL if (column := self._column(role, getattr(config, role)))
        }
        if self.columns.get("id") == self.columns.get("path"):
            self.columns.pop("id", None)
        for role in ("path", *(["label"] if require_label else [])):
            if role not in self.columns:
                raise self._lacks(role)
        first = next(self.table.batches([self.columns["path"]]), None)
        if not first:
            raise SourceError(f"{self.table.location} has a header and no rows.")
        self.storage = Storage.at(self._location(config.images, first[0][0].as_py() or ""))
        self.images = self.storage.root
        self._look_for(first)

    def records(self) -> Iterator[pa.RecordBatch]:
        """See `Source.records`: in the order of the rows; holds at most 8 bytes of each."""
        numbering = self._survey()
        for _, columns in self._rows():
            paths = columns["path"].to_pylist()
            ids = columns["id"] if "id" in columns else numbering.ids(paths)
            nothing = pa.nulls(len(paths), pa.string())
            sizes, times = file_facts(self.storage, paths)
            arrays = [
                pa.array(ids, pa.string()),
                columns["path"],
                columns.get("label", nothing),
                columns.get("group", nothing),
                columns.get("split", nothing),
                sizes,
                times,
            ]
            yield pa.record_batch(arrays, schema=RECORD)

    def _column(self, role: str, named: str | None) -> str | None:
        """The table's column for a role; None if there is none."""
        if named == "":
            return None
        if named is not None:
            found = [column for column in self.table.columns if column.strip() == named]
            if not found:
                raise SourceError(
                    f"{self.table.location} has no column '{named}' for the {role}: "
                    f"{nearest(named, self.table.columns)} {self._known()}"
                )
        else:
            found = [
                column for column in self.table.columns if column.strip().lower() in USUAL[role]
            ]
        if len(found) > 1:
            raise SourceError(
                f"In {self.table.location} more than one column could be the {role} "
                f"({', '.join(found)}): say which one with --{role}, by a name that occurs once."
            )
        return found[0] if found else None

    def _otherwise(self) -> str:
        """What to do where ids repeat."""
        return f"the one with the path (--id {self.columns['path']}), whose repeats are numbered"

    def _lacks(self, role: str) -> SourceError:
        return SourceError(
            f"{self.table.location} has no column named {_either(USUAL[role])}: say which one is "
            f"the {role} with --{role}"
            f"{', or which are numbers with --features' if role == 'path' else ''}. {self._known()}"
        )

    def _known(self) -> str:
        names = list(self.table.columns)
        shown = names if len(names) <= 30 else [*names[:12], "…", *names[-3:]]
        return f"Its columns: {', '.join(shown)}."

    def _location(self, images: str | None, path: str) -> str:
        """What paths are relative to: as told, the bucket of the first, or the table's folder."""
        if images:
            return images
        if is_url(path):
            return "/".join(path.split("/")[:3])
        return self.table.storage.root

    def _look_for(self, first: pa.RecordBatch) -> None:
        """Stop early where no image is: a wrong `images` would reject every row as missing."""
        if not self.storage.is_local:
            return
        paths = [path for path in self._paths(first[0], self.table.first_row).to_pylist() if path]
        if any(os.path.lexists(self.storage.local(path)) for path in paths):
            return
        base = Path(self.images)
        folders = sorted(base.glob(f"*/{glob.escape(paths[0])}")) if paths else []
        hint = f" (perhaps {base / folders[0].relative_to(base).parts[0]})" if folders else ""
        raise SourceError(
            f"None of the first {len(paths)} images of {self.table.location} is below "
            f"{self.images}, where '{paths[0] if paths else ''}' was looked for: say where they "
            f"are with --images{hint}."
        )

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Batches as role -> strings, checked, with the number of their first row."""
        row = self.table.first_row
        for batch in self.table.batches(list(dict.fromkeys(self.columns.values()))):
            columns = self._checked(row, batch)
            columns["path"] = self._paths(columns["path"], row)
            yield row, columns
            row += len(batch)

    def _checked(self, row: int, batch: pa.RecordBatch) -> dict[str, Any]:
        """A batch of strings as role -> column, with splits by our names."""
        columns = {role: batch.column(name) for role, name in self.columns.items()}
        for role in ("path", "id"):
            if role in columns and columns[role].null_count:
                empty = pc.index(columns[role].is_null(), True).as_py()
                raise SourceError(
                    f"Every row of {self.table.location} needs a value in column "
                    f"'{self.columns[role]}', the {role}, and row {row + empty} has none."
                )
        if "split" in columns:
            columns["split"] = self._splits(columns["split"], row)
        return columns

    def _paths(self, paths: Any, row: int) -> Any:
        """Paths relative to `images`, or absolute and local."""
        paths = pc.replace_substring_regex(paths, r"^(file://|(\./)+)", "")
        if not self.storage.is_local:
            below = pc.starts_with(paths, f"{self.images}/")
            cut = pc.utf8_slice_codeunits(paths, len(self.images) + 1)
            paths = pc.if_else(below, cut, paths)
        outside = pc.index(pc.match_substring_regex(paths, "^[a-z][a-z0-9+.-]+://"), True).as_py()
        if outside >= 0:
            raise SourceError(
                f"Images at a URL must all lie below one place, here {self.images}, and row "
                f"{row + outside} of {self.table.location} names {paths[outside]}: name a place "
                "that they share with --images."
            )
        return paths

    def _splits(self, given: Any, row: int) -> Any:
        names = pa.array(list(SPLITS), pa.string())
        index = pc.index_in(pc.utf8_lower(given), names)
        unknown = pc.index(pc.and_(index.is_null(), given.is_valid()), True).as_py()
        if unknown >= 0:
            value = given[unknown].as_py()
            raise SourceError(
                f"A split is train, val or test, and row {row + unknown} of "
                f"{self.table.location} has '{value}' in column '{self.columns['split']}': "
                f"{nearest(value.lower(), SPLITS)}"
            )
        return pa.array(list(SPLITS.values()), pa.string()).take(index)

    def _survey(self) -> Numbering:
        """Check every row, and find out which ids occur more than once."""
        role = "id" if "id" in self.columns else "path"
        hashes = array("q")
        for _, columns in self._rows():
            hashes.frombytes(_hashes(columns[role].to_pylist()).tobytes())
        numbering = Numbering(np.frombuffer(hashes, np.int64))
        if role == "id" and numbering.repeated.size:
            self._find_repeated(numbering)
        return numbering

    def _find_repeated(self, numbering: Numbering) -> None:
        """Tell a repeated id from two ids that merely share a hash."""
        seen: dict[str, int] = {}
        for row, columns in self._rows():
            ids = columns["id"].to_pylist()
            for place in np.flatnonzero(np.isin(_hashes(ids), numbering.repeated)).tolist():
                before = seen.setdefault(ids[place], row + place)
                if before != row + place:
                    raise SourceError(
                        f"Ids must be unique, and '{ids[place]}' in column "
                        f"'{self.columns['id']}' of {self.table.location} stands in rows {before} "
                        f"and {row + place}: name another column with --id, or {self._otherwise()}."
                    )


class Numbering:
    """Makes unique ids of paths by numbering repeats: `a.png`, `a.png#2` and so on.

    A number that would make the id of another row is left out. Two paths that share a hash (one
    chance in 2⁶⁴ for each pair) share a count, which costs them nothing but consecutive numbers.
    """

    def __init__(self, hashes: Hashes) -> None:
        """Take the hashes of all paths, shape (rows,); they are sorted in place."""
        hashes.sort()
        self.repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        self._counts = np.zeros(self.repeated.size, np.int32)
        self._taken = hashes if self.repeated.size else hashes[:0]

    def ids(self, paths: Sequence[str]) -> list[str]:
        """The ids of the next rows, one per path."""
        ids = list(paths)
        if not self.repeated.size:
            return ids
        hashes = _hashes(paths)
        places = np.searchsorted(self.repeated, hashes).clip(max=self.repeated.size - 1)
        for row in np.flatnonzero(self.repeated[places] == hashes).tolist():
            ids[row] = self._next(paths[row], places[row])
        return ids

    def _next(self, path: str, place: int) -> str:
        while True:
            self._counts[place] += 1
            if self._counts[place] == 1:
                return path
            name = f"{path}#{self._counts[place]}"
            at = np.searchsorted(self._taken, hash(name))
            if at == self._taken.size or self._taken[at] != hash(name):
                return name


def file_facts(storage: Storage, paths: Sequence[str]) -> tuple[Any, Any]:
    """Sizes in bytes and times of modification of local files; null where there are none.

    Null for all in an object store, where each would cost a request.
    """
    if not storage.is_local:
        nothing = pa.nulls(len(paths), pa.int64())
        return nothing, nothing
    sizes: list[int | None] = []
    times: list[int | None] = []
    for path in paths:
        try:
            # os.stat: to build a Path for each of ten million rows costs more than to look.
            status = os.stat(storage.local(path))  # noqa: PTH116
        except (OSError, ValueError):  # missing, or a name that no file can have
            sizes.append(None)
            times.append(None)
            continue
        regular = stat.S_ISREG(status.st_mode)
        sizes.append(status.st_size if regular else None)
        times.append(status.st_mtime_ns)
    return pa.array(sizes, pa.int64()), pa.array(times, pa.int64())


def _hashes(texts: Sequence[str]) -> Hashes:
    """64-bit hashes (SipHash) of strings, good within one process; shape (n,)."""
    return np.fromiter(map(hash, texts), np.int64, len(texts))


def _either(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"
