"""Memory that is used again and again stays with the process."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # of glibc's malloc.h
_LARGEST = 2**31 - 1
_DEFAULTS = ((_TRIM_THRESHOLD, 128 * 1024), (_TOP_PAD, 128 * 1024), (_MMAP_MAX, 65536))


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """While a network trains on a processor, freed memory is not given back to the system.

    A step allocates and frees the same large blocks as the one before. By default glibc returns
    each block at once, and the system hands out, page by page and zeroed, what it just got back:
    more than half of the time of a step of the published convolutional networks. One arena serves
    all threads, as the backward pass runs in a thread of its own. Elsewhere than on Linux with
    glibc nothing is changed.
    """
    library = _glibc()
    if library is None:
        yield
        return
    settings = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 2**26))
    for name, value in settings:
        library.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in _DEFAULTS:
            library.mallopt(name, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
