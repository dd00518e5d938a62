"""One writer per directory."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lorgnette.errors import LockedError
from lorgnette.storage import Storage, refusals


@contextlib.contextmanager
def locked(storage: Storage) -> Iterator[None]:
    """Hold a directory for this process; the system lets go of it however the process ends.

    For a URL the lock is on this machine only: object stores offer none.

    Raises:
        LockedError: another process holds it.
    """
    if storage.is_local:
        path = Path(storage.resolve(".lock"))
        with refusals(storage.root):
            path.parent.mkdir(parents=True, exist_ok=True)
    else:
        digest = hashlib.sha256(storage.root.encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"lorgnette-{digest}.lock"
    lock = FileLock(path)
    with refusals(storage.root):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"Another process is writing to {storage.root}: wait until it has ended, "
                "or choose another directory."
            ) from None
    try:
        yield
    finally:
        lock.release()
