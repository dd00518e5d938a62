"""Unpack a zip from elsewhere: nothing outside the directory, no links, no bombs, and resumable.

Everything that the archive declares is judged before the first file is written. What it then holds
cannot exceed that: `zipfile` never gives out more than the declared size of a member, and a member
whose size or CRC differs is refused.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lorgnette.errors import SourceError, StorageError
from lorgnette.progress import progress
from lorgnette.storage import refusals

EXPANSION = 20
"""How much larger than the archive its content may be: pictures hardly shrink, tables do by 3."""

FILES = 1_000_000
"""How many files an archive may have."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NAME_BYTES = 255
_PATH_BYTES = 2000
_CHUNK = 1 << 20
_DAMAGES = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    OverflowError, struct.error,
)  # fmt: skip
"""What `zipfile` raises on damaged archives, as a flipped byte anywhere in one shows."""


@dataclass(frozen=True)
class Unpacked:
    """What an archive held.

    Attributes:
        files: how many files.
        bytes: their sizes, added.
        before: how many of them were there already.
    """

    files: int
    bytes: int
    before: int


def unpack(archive: Path, into: Path) -> Unpacked:
    """Unpack a zip into a directory of its own; started again, it goes on.

    A file takes its name when it is whole and its CRC right, so one that is there with the declared
    size is passed over. Modes and times of the archive are not taken over.

    Args:
        archive: the zip.
        into: the directory; made if need be. What is in it came from an earlier call.

    Raises:
        SourceError: the archive is damaged, or has what an archive of pictures has no business to
            have; then nothing was written, or nothing but whole files.
        StorageError: the disk is too small or refused.
    """
    with refusals(str(archive)):
        try:
            with zipfile.ZipFile(archive) as opened:
                members = list(_judged(opened, archive.stat().st_size))
                return _write(opened, members, into)
        except (*_DAMAGES, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a seek before byte 0
                raise
            reason = str(error) or type(error).__name__
            raise SourceError(f"The archive is damaged ({reason}).") from error


def ensure_space(place: Path, needed: int, what: str) -> int:
    """The free bytes of the disk that `place` is on.

    Raises:
        StorageError: they are fewer than `needed`.
    """
    with refusals(str(place)):
        free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"{what} needs {in_words(needed)} of space, and the disk of {place} has "
            f"{in_words(free)} free: free some, or choose another directory; the same command "
            "continues from there."
        )
    return free


def in_words(count: int) -> str:
    """A number of bytes as a person says it: `6.1 GB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _write(opened: zipfile.ZipFile, members: list[zipfile.ZipInfo], into: Path) -> Unpacked:
    """Write what is not there yet, each file under a temporary name first."""
    missing = [member for member in members if _size(into / member.filename) != member.file_size]
    with refusals(str(into)):
        into.mkdir(parents=True, exist_ok=True)
    ensure_space(into, sum(member.file_size for member in missing), "Unpacking")
    temporary = into.with_name(f"{into.name}.tmp")
    before = len(members) - len(missing)
    try:
        with progress("Unpacking", len(members), "files", done=before) as meter:
            for member in missing:
                target = into / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                _extract(opened, member, temporary)
                os.replace(temporary, target)
                meter.advance(1)
    finally:
        temporary.unlink(missing_ok=True)
    return Unpacked(len(members), sum(member.file_size for member in members), before)


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write one member; `zipfile` compares its CRC on the last read.

    Raises:
        SourceError: it is shorter than declared.
    """
    with opened.open(member) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
        written = file.tell()
    if written != member.file_size:
        raise SourceError(
            f"The archive is damaged: '{member.filename}' has {written:,} bytes where "
            f"{member.file_size:,} are declared."
        )


def _judged(opened: zipfile.ZipFile, size: int) -> Iterator[zipfile.ZipInfo]:
    """The files of an archive; directories come with them.

    Raises:
        SourceError: the first thing that must not be there.
    """
    members = opened.infolist()
    declared = sum(member.file_size for member in members)
    if len(members) > FILES or declared > EXPANSION * size:
        raise SourceError(
            f"The archive declares {len(members):,} files of {in_words(declared)} in "
            f"{in_words(size)}; more than {FILES:,} files or {EXPANSION} times its size is taken "
            "for a bomb and not unpacked."
        )
    kinds: dict[str, tuple[str, bool]] = {}
    for member in members:
        reason = _fault(member) or _clash(member, kinds)
        if reason:
            shown = ascii(member.orig_filename[:80])
            raise SourceError(f"The archive has {shown}, {reason}: it is not unpacked.")
        if not member.is_dir():
            yield member


def _fault(member: zipfile.ZipInfo) -> str | None:
    """What is wrong with one member by itself, else None."""
    name = member.orig_filename  # as it is written there; `filename` ends at a NUL
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if ".." in parts or ".." in name.split("\\"):
        return "a path that leads out of its directory"
    if re.search(r'[\\:*?"<>|\x00-\x1f\x7f]', name) or "" in parts or "." in parts:
        return "a name that is not one on every system"
    if any(part.endswith((" ", ".")) for part in parts):
        return "a name that is not one on every system"
    if len(name.encode()) > _PATH_BYTES or any(len(part.encode()) > _NAME_BYTES for part in parts):
        return "a name that is too long"
    expected = stat.S_IFDIR if member.is_dir() else stat.S_IFREG
    if kind not in (0, expected):
        return "a link or a device and not a file"
    if member.flag_bits & 0x1:
        return "which is encrypted"
    if member.compress_type not in _METHODS:
        return f"packed with method {member.compress_type}, where stored and deflated are known"
    return None


def _clash(member: zipfile.ZipInfo, kinds: dict[str, tuple[str, bool]]) -> str | None:
    """What is wrong with a member beside those before it, else None.

    Args:
        member: one whose name has no fault by itself.
        kinds: every path so far, as a file system that ignores case and composition sees it, with
            its spelling and whether it is a directory; added to.
    """
    parts = member.filename.removesuffix("/").split("/")
    for depth in range(1, len(parts) + 1):
        path = "/".join(parts[:depth])
        directory = depth < len(parts) or member.is_dir()
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = kinds.get(folded)
        if known is None:
            kinds[folded] = (path, directory)
        elif known[0] != path:
            return f"which differs from {known[0][:80]!a} in upper and lower case only"
        elif known[1] != directory:
            return "a file and a directory of one name"
        elif not directory:
            return "which is there twice"
    return None


def _size(path: Path) -> int | None:
    """The size of a file; None where there is none."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
