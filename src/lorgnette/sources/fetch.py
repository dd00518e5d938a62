"""Fetch a published data set from Kaggle into a directory: download, verify, unpack, count.

    OUT/.fetch/state.json     what is being fetched and how far it is
    OUT/.fetch/archive.zip    what arrived so far
    OUT/.fetch/unpacked/      what is unpacked so far
    OUT/fetch.json            written last: which version came, and what was in it

A killed fetch continues at any of these points. Pictures and tables appear in OUT when all of them
are unpacked, and then nothing of the archive stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lorgnette.errors import ConfigError, SourceError, nearest
from lorgnette.lock import locked
from lorgnette.progress import say
from lorgnette.sources.download import Archive, download
from lorgnette.sources.kaggle_client import Release, connected, release
from lorgnette.sources.places import local_directory
from lorgnette.sources.published import PAIRS_INSIDE, PORTRAITS_INSIDE, SIDES, TABLES
from lorgnette.sources.unpack import ensure_space, in_words, unpack
from lorgnette.storage import Storage, refusals

INFO = "fetch.json"
"""Its presence says that a fetch is complete."""

_WORK = ".fetch"
_STATE = f"{_WORK}/state.json"
_ARCHIVE = f"{_WORK}/archive.zip"
_UNPACKED = f"{_WORK}/unpacked"
_OURS = {INFO, _WORK, ".lock"}


@dataclass(frozen=True)
class KaggleSet:
    """A data set on Kaggle, and what was in it when its layout was published.

    Attributes:
        dataset: `owner/name`.
        rows: rows by table.
        pictures: numbers of files by pattern.
    """

    dataset: str
    rows: Mapping[str, int]
    pictures: Mapping[str, int]


SETS: Mapping[str, KaggleSet] = {
    "glasses": KaggleSet(
        "jeffheaton/glasses-or-no-glasses",
        rows=dict(zip(TABLES, (4500, 500), strict=True)),
        pictures={f"{PORTRAITS_INSIDE}/*.png": 5000},
    ),
    "comics": KaggleSet(
        "defileroff/comic-faces-paired-synthetic-v2",
        rows={},
        pictures={f"{PAIRS_INSIDE}/{side}/*.jpg": 10_000 for side in reversed(SIDES)},
    ),
}
"""The sets that can be fetched, by name."""


@dataclass(frozen=True)
class Fetched:
    """A set that is there: what `fetch.json` says.

    Attributes:
        name: of the set, a key of `SETS`.
        dataset: `owner/name` on Kaggle.
        version: its number on Kaggle; 0 if Kaggle did not say.
        license: as Kaggle names it; may be empty.
        files: how many files were in the archive.
        bytes: their sizes, added.
        counts: rows by table and files by pattern, as they came.
    """

    name: str
    dataset: str
    version: int
    license: str
    files: int
    bytes: int
    counts: Mapping[str, int]


Stage = Literal["download", "unpack", "move"]


@dataclass(frozen=True)
class _State:
    """How far a fetch is: `download`, `unpack`, or `move`, when all is unpacked."""

    name: str
    release: Release
    archive: Archive
    stage: Stage
    files: int = 0
    bytes: int = 0


def fetch(name: str, out: str | os.PathLike[str]) -> Fetched:
    """Fetch a published set with the user's own Kaggle credentials; started again, it continues.

    Args:
        name: a key of `SETS`.
        out: a directory of this machine, new or empty or one of an earlier fetch of the same set.

    Raises:
        ConfigError: there is no such set, or `out` cannot take it.
        MissingDependencyError: the extra `fetch` is not installed.
        SourceError: there are no credentials, Kaggle refused, or the archive is damaged or has
            what must not be unpacked.
        StorageError: the connection was lost for good, or the disk is full or refuses.
        LockedError: another process is fetching into the same directory.
    """
    if name not in SETS:
        raise ConfigError(f"There is no set '{name}' to fetch: {nearest(name, SETS)}")
    storage = local_directory(out, "A set is fetched into")
    if storage.exists(INFO):
        return _finished(name, storage)
    with contextlib.ExitStack() as stack:
        # Without the extra or credentials, nothing is made; without a need for them, none is asked.
        state = _begun(name, storage)
        waits = state is None or state.stage == "download"
        client = stack.enter_context(connected()) if waits else None
        stack.enter_context(locked(storage))
        if storage.exists(INFO):  # another process has ended just now
            return _finished(name, storage)
        state = _begun(name, storage)
        if state is None or state.stage == "download":
            state = _download(name, storage, client or stack.enter_context(connected()), state)
        with refusals(storage.root):
            if state.stage == "unpack":
                state = _unpack(storage, state)
            return _move(storage, state)


def remarks(found: Fetched) -> list[str]:
    """A sentence for everything that is not as published: sets are revised."""
    known = SETS[found.name]
    return [
        f"{name} has {found.counts[name]:,} {unit}, and {count:,} were published: see on "
        f"{_page(found.dataset)} whether the set was revised."
        for unit, published in (("rows", known.rows), ("files", known.pictures))
        for name, count in published.items()
        if found.counts[name] != count
    ]


def _download(name: str, storage: Storage, client: Any, state: _State | None) -> _State:
    """Bring the archive, whole and verified."""
    wanted = release(client, SETS[name].dataset)
    said = False

    def ready(archive: Archive, have: int) -> None:
        nonlocal said
        if archive.size is not None:
            # Pictures do not shrink: unpacked they need their size again, at least.
            needed = 2 * archive.size - have
            free = ensure_space(Path(storage.root), needed, f"Fetching {name}")
            there = f", of which {in_words(have)} are there" if have else ""
            if not said:
                say(
                    f"Fetching {name}, version {wanted.version} "
                    f"({wanted.license or 'no licence given'}): {in_words(archive.size)}{there}; "
                    f"with what is unpacked {in_words(needed)} are needed, and {in_words(free)} "
                    "are free."
                )
            said = True
        if not have:  # before it is noted that what is there belongs to this archive
            storage.remove(_ARCHIVE)
        _write_state(storage, _State(name, wanted, archive, "download"))

    begun = state.archive if state else None
    archive = download(client, wanted, _local(storage, _ARCHIVE), begun, ready)
    return _write_state(storage, _State(name, wanted, archive, "unpack"))


def _unpack(storage: Storage, state: _State) -> _State:
    """Unpack beside the archive; one that is damaged or not safe is removed with all of it."""
    try:
        done = unpack(_local(storage, _ARCHIVE), _local(storage, _UNPACKED))
        taken = {entry.name for entry in _local(storage, _UNPACKED).iterdir()}
        if any(each.casefold() in _OURS for each in taken):
            raise SourceError(f"The archive has one of the names {', '.join(sorted(_OURS))}.")
    except SourceError as error:
        shutil.rmtree(_local(storage, _WORK))
        raise SourceError(
            f"{str(error).rstrip('.')}; what was downloaded is removed, and the same command "
            "downloads it anew."
        ) from error
    if done.before:
        say(f"Continued the unpacking: {done.before:,} of {done.files:,} files were there.")
    return _write_state(storage, replace(state, stage="move", files=done.files, bytes=done.bytes))


def _move(storage: Storage, state: _State) -> Fetched:
    """Put what is unpacked where it belongs, remove the rest, and say what came."""
    root = Path(storage.root)
    unpacked = _local(storage, _UNPACKED)
    for entry in sorted(unpacked.iterdir()) if unpacked.exists() else ():
        target = root / entry.name
        if os.path.lexists(target):
            raise ConfigError(
                f"{target} was put there while {state.name} was fetched: move it away, and the "
                "same command continues."
            )
        entry.rename(target)
    _local(storage, _ARCHIVE).unlink(missing_ok=True)
    found = Fetched(
        name=state.name,
        dataset=state.release.dataset,
        version=state.release.version,
        license=state.release.license,
        files=state.files,
        bytes=state.bytes,
        counts=_count(state.name, root),
    )
    storage.write(INFO, json.dumps(asdict(found), indent=2).encode())
    shutil.rmtree(root / _WORK)
    for remark in remarks(found):
        say(remark)
    say(f"{state.name} is in {root}: {found.files:,} files, {in_words(found.bytes)}.")
    return found


def _finished(name: str, storage: Storage) -> Fetched:
    """What an earlier fetch has left; nothing is done but to look whether it is still there."""
    try:
        found = Fetched(**json.loads(storage.read(INFO)))
        if found.name not in SETS or set(found.counts) != _counted(SETS[found.name]):
            raise ValueError(found.name)
    except (ValueError, TypeError):
        raise SourceError(
            f"{storage.locate(INFO)} is not what a fetch writes: fetch into another directory."
        ) from None
    if found.name != name:
        raise ConfigError(
            f"{storage.root} has the set '{found.name}': choose another directory for '{name}'."
        )
    shutil.rmtree(_local(storage, _WORK), ignore_errors=True)  # it was killed at the very end
    say(f"{name} is already in {storage.root}: version {found.version}, {found.files:,} files.")
    for each, count in _count(name, Path(storage.root)).items():
        if count < found.counts[each]:
            say(
                f"Of {each}, {count:,} are there and {found.counts[each]:,} came: fetch into "
                "another directory to have all of them again."
            )
    return found


def _counted(known: KaggleSet) -> set[str]:
    return {*known.rows, *known.pictures}


def _count(name: str, root: Path) -> dict[str, int]:
    """Rows by table and files by pattern, of the published layout."""
    known = SETS[name]
    counts = {}
    for table in known.rows:
        counts[table] = 0
        if (root / table).is_file():
            with open(root / table, "rb") as file:
                counts[table] = max(sum(1 for line in file if line.strip()) - 1, 0)
    for pattern in known.pictures:
        counts[pattern] = sum(1 for _ in root.glob(pattern))
    return counts


def _begun(name: str, storage: Storage) -> _State | None:
    """How far an earlier fetch came; None if there was none.

    Raises:
        ConfigError: it was of another set, or the directory has something of somebody else.
    """
    state = _read_state(name, storage)
    if state is None and storage.exists():
        with refusals(storage.root):
            others = {entry.name for entry in Path(storage.root).iterdir()} - _OURS
        if others:
            raise ConfigError(
                f"{storage.root} has something in it already ({min(others)}): a set is fetched "
                "into a new or an empty directory."
            )
    return state


def _read_state(name: str, storage: Storage) -> _State | None:
    """How far an earlier fetch came; None if there is none, or nobody can tell.

    Raises:
        ConfigError: it was a fetch of another set.
    """
    try:
        found = json.loads(storage.read(_STATE))
        found["release"] = Release(**found["release"])
        found["archive"] = Archive(**found["archive"])
        state = _State(**found)
        if state.stage not in get_args(Stage):
            raise ValueError(state.stage)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    if state.name != name:
        raise ConfigError(
            f"{storage.root} has an unfinished fetch of '{state.name}': choose another directory "
            f"for '{name}'."
        )
    if state.stage == "unpack" and not storage.exists(_ARCHIVE):
        return None
    return state


def _write_state(storage: Storage, state: _State) -> _State:
    storage.write(_STATE, json.dumps(asdict(state)).encode())
    return state


def _local(storage: Storage, name: str) -> Path:
    return Path(storage.root) / name


def _page(dataset: str) -> str:
    return f"https://www.kaggle.com/datasets/{dataset}"
