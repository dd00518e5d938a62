r"""A file of lines that several processes append to: nothing is lost, nothing is torn.

Whoever appends holds a lock for that moment; readers need none. What a killed process left without
its `\n` at the end was never confirmed to anybody: it is passed over in reading, and removed by the
next append, unless it is whole but for that `\n`.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorgnette.lock import locked
from lorgnette.storage import Storage, refusals

PATIENCE_SECONDS = 60.0
"""How long an append waits for others."""
BLOCK_BYTES = 16 << 20
"""How much of the file is taken in at once."""

Take = Callable[[bytes, int], None]


class AppendOnly:
    """A file of lines, and how far this process has read it.

    On a URL it is read and written whole: object stores do not append, and the lock is one of this
    machine.
    """

    def __init__(self, storage: Storage, name: str, is_whole: Callable[[bytes], bool]) -> None:
        """Nothing is opened yet.

        Args:
            storage: a directory or URL.
            name: of the file.
            is_whole: whether a line is all there.
        """
        self.storage, self.name, self.is_whole = storage, name, is_whole
        self.location = storage.locate(name)
        self.forget()

    def forget(self) -> None:
        """Read from the start the next time."""
        self.offset = 0
        self.lines = 0
        self.identity: tuple[int, ...] | None = None

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock, which all who append wait for.

        Raises:
            LockedError: somebody else holds it for a minute.
        """
        return locked(self.storage, f".{Path(self.name).stem}.lock", PATIENCE_SECONDS)

    def read_on(self, take: Take, forget: Callable[[], None]) -> None:
        """Read what was appended since the last time.

        Args:
            take: is given lines, and the number of the first one, from 1.
            forget: is called first where the file is another one, so that all is read again.
        """
        if not self.storage.is_local:
            with refusals(self.location):
                found = self.storage.filesystem.get_file_info(self.storage.resolve(self.name))
            identity = (found.size or 0, found.mtime_ns or 0)
            if identity != self.identity:
                self._forget(forget)
                self.identity = identity
                self._take_in(io.BytesIO(self.read()), take)
            return
        try:
            with refusals(self.location), open(self.storage.resolve(self.name), "rb") as file:
                there = os.fstat(file.fileno())
                identity = (there.st_dev, there.st_ino)
                if self.identity != identity or there.st_size < self.offset:
                    self._forget(forget)
                    self.identity = identity
                if there.st_size > self.offset:
                    file.seek(self.offset)
                    self._take_in(file, take)
        except FileNotFoundError:
            self._forget(forget)

    def append(self, data: bytes) -> None:
        """Append lines, under the lock and after `read_on`; then they are on the disk.

        Raises:
            StorageError: the disk refuses; the file is as it was.
        """
        if self.storage.is_local:
            self._append(data)
        else:
            before = self.read()
            kept = before[: self.offset]
            kept += b"\n" if kept and not kept.endswith(b"\n") else b""
            self.storage.write(self.name, kept + data)
            found = self.storage.filesystem.get_file_info(self.storage.resolve(self.name))
            self.identity = (found.size or 0, found.mtime_ns or 0)
            self.offset = len(kept) + len(data)
        self.lines += data.count(b"\n")

    def read(self, last: int | None = None) -> bytes:
        """The file, or what its last bytes hold of whole lines; empty if there is none."""
        try:
            with self.storage.open(self.name) as file:
                size = file.size()
                if last is not None and last < size:
                    file.seek(size - last)
                    return bytes(file.read()).partition(b"\n")[2]
                return bytes(file.read())
        except FileNotFoundError:
            return b""

    def _forget(self, forget: Callable[[], None]) -> None:
        if self.identity is not None:
            self.forget()
            forget()

    def _take_in(self, file: Any, take: Take) -> None:
        rest = b""
        while block := file.read(BLOCK_BYTES):
            data, rest = whole_lines(rest + block)
            self._give(data, take)
        if rest and self.is_whole(rest):
            self._give(rest, take)

    def _give(self, data: bytes, take: Take) -> None:
        if data.strip():
            take(data, self.lines + 1)
        self.offset += len(data)
        self.lines += data.count(b"\n")

    def _append(self, data: bytes) -> None:
        path = self.storage.resolve(self.name)
        with refusals(self.location):
            is_new = not Path(path).exists()
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                if size > self.offset:  # a torn line
                    os.ftruncate(file, self.offset)
                    size = self.offset
                if size and os.pread(file, 1, size - 1) != b"\n":
                    data = b"\n" + data
                    self.lines += 1
                _write(file, data, size)
                there = os.fstat(file)
            finally:
                os.close(file)
            if is_new:
                _sync_folder(self.storage.resolve(""))
        self.identity = (there.st_dev, there.st_ino)
        self.offset = size + len(data)


def whole_lines(data: bytes) -> tuple[bytes, bytes]:
    """Up to the last line's end, and what comes after it."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _write(file: int, data: bytes, size: int) -> None:
    """Write at once and to the disk; where that fails the file gets its old size back."""
    try:
        left = memoryview(data)
        while left:  # a second turn only gets to hear why the first wrote less
            left = left[os.write(file, left) :]
        os.fsync(file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(file, size)
            os.fsync(file)
        raise


def _sync_folder(path: str) -> None:
    """A new file's name is on the disk when its folder is."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
