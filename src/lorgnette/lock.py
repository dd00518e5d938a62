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

POLL_SECONDS = 0.01
"""How often a lock that somebody else holds is tried again."""


@contextlib.contextmanager
def locked(storage: Storage, name: str = ".lock", patience: float = 0.0) -> Iterator[None]:
    """Hold a directory for this process; the system lets go of it however the process ends.

    For a URL the lock is on this machine only: object stores offer none.

    Args:
        storage: the directory.
        name: of the lock's file: locks of other names are held independently.
        patience: seconds to wait for whoever holds it.

    Raises:
        LockedError: another process holds it.
    """
    if storage.is_local:
        path = Path(storage.resolve(name))
        with refusals(storage.root):
            path.parent.mkdir(parents=True, exist_ok=True)
    else:
        whose = storage.root if name == ".lock" else storage.locate(name)
        digest = hashlib.sha256(whose.encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"lorgnette-{digest}.lock"
    lock = FileLock(path)
    with refusals(storage.root):
        try:
            lock.acquire(timeout=patience, poll_interval=POLL_SECONDS)
        except Timeout:
            raise LockedError(
                f"Another process is writing to {storage.root}: wait until it has ended, "
                "or choose another directory."
            ) from None
    try:
        yield
    finally:
        lock.release()
