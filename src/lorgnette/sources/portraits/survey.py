"""Which images are there, and whole: what a call finds before it draws."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorgnette.errors import DatasetError
from lorgnette.sources.portraits.layouts import Layout, blocks, given_labels
from lorgnette.sources.portraits.noise import Bools, LabelNoise
from lorgnette.storage import Storage, refusals

_ENDS = {
    ".png": (b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"),
    ".jpg": (b"\xff\xd8\xff", b"\xff\xd9"),
}
"""The first and the last bytes of an image."""

_NOTHING, _SOMETHING, _WHOLE = 0, 1, 2


def survey(storage: Storage, tree: Layout, noise: LabelNoise, seed: int, portraits: int) -> Bools:
    """Which images are there, each where it belongs.

    An image is a file that begins and ends as one does; an empty one, as a machine that lost power
    may leave, or one cut off is drawn anew. Of pairs nobody can tell which style a file has.

    Args:
        storage: the directory.
        tree: the file tree.
        noise: of the labels.
        seed: of the portraits.
        portraits: how many.

    Returns:
        Shape (files of a portrait, portraits): in `comics` a row for each of `tree.folders`.

    Raises:
        DatasetError: a portrait lies in the folder of the other label, or a directory is in the
            place of an image.
    """
    folders = list(dict.fromkeys(tree.folders))
    found = np.stack([_found(storage, tree, folder, portraits) for folder in folders])
    if tree.pairs or len(folders) == 1:
        whole: Bools = found == _WHOLE
        return whole
    there = np.zeros((1, portraits), np.bool_)
    for start, stop in blocks(portraits):
        here = found[:, start:stop]
        if not here.any():
            continue
        given = given_labels(tree, noise, seed, start, stop).astype(np.intp)
        every = np.arange(stop - start)
        strays = np.flatnonzero(here[1 - given, every] != _NOTHING)
        if len(strays):
            number = int(strays[0])
            name = tree.file.format(start + number + tree.first)
            own, other = (tree.folders[given[number]], tree.folders[1 - given[number]])
            raise DatasetError(
                f"{storage.locate(f'{other}/{name}')} lies in the wrong folder, as this portrait's "
                f"given label is {own}: remove it, and the same command draws what is missing."
            )
        there[0, start:stop] = here[given, every] == _WHOLE
    return there


def _found(storage: Storage, tree: Layout, folder: str, portraits: int) -> npt.NDArray[np.int8]:
    """What a folder has under the name of each portrait; shape (portraits,)."""
    found = np.zeros(portraits, np.int8)
    pattern = re.compile(re.escape(tree.file).replace(r"\{\}", "(0|[1-9][0-9]{0,17})"))
    for entry in entries(storage, folder):
        match = pattern.fullmatch(entry.name)
        if match and 0 <= (number := int(match[1]) - tree.first) < portraits:
            if entry.is_dir(follow_symlinks=False):
                raise DatasetError(
                    f"{entry.path} is a directory where an image belongs: move it away, and the "
                    "same command continues."
                )
            with refusals(entry.path):
                found[number] = _WHOLE if _is_whole(entry) else _SOMETHING
    return found


def _is_whole(entry: os.DirEntry[str]) -> bool:
    """Whether a file begins and ends as an image of its suffix does."""
    first, last = _ENDS[Path(entry.name).suffix]
    if not entry.is_file():  # a link that leads nowhere, or a pipe, on which reading would wait
        return False
    with open(entry.path, "rb", buffering=0) as file:
        if file.read(len(first)) != first or file.seek(0, os.SEEK_END) < len(first) + len(last):
            return False
        file.seek(-len(last), os.SEEK_END)
        return file.read(len(last)) == last


def entries(storage: Storage, folder: str) -> Iterator[os.DirEntry[str]]:
    """What is in a folder; nothing if there is none. Not a list: there may be millions."""
    try:
        with refusals(storage.locate(folder)), os.scandir(storage.resolve(folder)) as found:
            yield from found
    except FileNotFoundError:
        return
