"""The directory of this machine that a command is to fill, as a person gave it."""

from __future__ import annotations

import os
from pathlib import Path

from lorgnette.errors import ConfigError
from lorgnette.storage import Storage, is_url, refusals


def local_directory(out: str | os.PathLike[str], what: str) -> Storage:
    """The storage at a local directory, which need not be there yet; nothing is made.

    Args:
        out: what was given.
        what: how the sentence about a URL begins: `A set is fetched into`.

    Raises:
        ConfigError: it is empty or a URL, or a file is where it or one above it would be.
        StorageError: nobody may look there.
    """
    text = os.fspath(out)
    if is_url(text):
        raise ConfigError(
            f"{what} a directory of this machine, not to {text}: name one here, then copy it there."
        )
    if not text.removeprefix("file://").strip() or "\0" in text:
        raise ConfigError(
            f"{what} a directory, and {text!r} names none: give a new or an empty one."
        )
    try:
        storage = Storage.at(text)
    except RuntimeError as error:  # pathlib's, where a home directory is not known
        raise ConfigError(f"{text} names no directory ({error}): write it out.") from error
    root = Path(storage.root)
    for path in (root, *root.parents):
        if not os.path.lexists(path):
            continue
        with refusals(str(path)):
            if path.is_dir():
                break
        kind = "a link that leads to no directory" if path.is_symlink() else "a file"
        reason = f"is {kind}" if path == root else f"cannot be made, because {path} is {kind}"
        raise ConfigError(f"{root} {reason}: give a directory, a new or an empty one.")
    return storage
