"""Decisions in memory: columns of small numbers, and for each item those that stand, as a stack.

A decision costs some 60 bytes here, and a text (a label, a name, a reason) is held once. Taking a
million of them in is one loop over whole numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ACTIONS = ("relabel", "confirm", "drop", "undecidable", "undo")
BY = ("person", "rule", "import")
UNDO, RULE = ACTIONS.index("undo"), BY.index("rule")
TEXTS = ("to", "reason", "who", "when")
"""The columns that are codes of texts, -1 for null."""


@dataclass(frozen=True, eq=False)
class Fold:
    """What stands for all usable items, in the dataset's order.

    Attributes:
        labels: in force, codes into the dataset's classes, -1 for none; int32 (N,).
        actions: of the decision that stands, places in `ACTIONS`, -1 for none; int8 (N,).
        by: likewise, places in `BY`; int8 (N,).
        by_hand: what a rule must leave alone, bool (N,): a person or an import decided it, or a
            rule's decision was taken back.
    """

    labels: NDArray[np.int32]
    actions: NDArray[np.int8]
    by: NDArray[np.int8]
    by_hand: NDArray[np.bool_]

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Whether a decision stands, (N,)."""
        return self.actions >= 0


class History:
    """What was decided, in the order of the file.

    Attributes:
        texts: every different text.
        columns: of each event: `place` of the item (-1: not in the dataset), `action` and `by` as
            places in `ACTIONS` and `BY`, codes of `TEXTS`, and `below`: the event that stands again
            when this one is undone, -1 for none.
        top: (N,), of each item the event that stands, -1 for none.
        counts: (N,), of each item all events, undone ones and undos too.
        rejected: (N,), 1 where somebody took a rule's decision back by hand.
    """

    def __init__(self, items: int) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}
        self.columns = {name: array("q") for name in ("place", "action", "by", *TEXTS, "below")}
        self.top = array("q", [-1]) * items
        self.counts = array("q", [0]) * items
        self.rejected = bytearray(items)

    def __len__(self) -> int:
        """The number of events."""
        return len(self.columns["place"])

    def code(self, text: str | None) -> int:
        """The code of a text, a new one where it is new; -1 for None."""
        if text is None:
            return -1
        code = self._codes.setdefault(text, len(self.texts))
        if code == len(self.texts):
            self.texts.append(text)
        return code

    def text(self, name: str, event: int) -> str | None:
        """The text of an event in one of the columns of `TEXTS`."""
        code = self.columns[name][event]
        return None if code < 0 else self.texts[code]

    def add(self, place: int, action: str, by: str, texts: Sequence[str | None]) -> None:
        """One more event; its texts in the order of `TEXTS`."""
        row = [place, ACTIONS.index(action), BY.index(by), *map(self.code, texts), -1]
        for column, value in zip(self.columns.values(), row, strict=True):
            column.append(value)
        self._stack(len(self) - 1)

    def extend(self, places: NDArray[np.int64], table: pa.Table) -> None:
        """Many more events.

        Args:
            places: of the items, -1 for those that the dataset does not have, (n,).
            table: the columns action, by and those of `TEXTS`, as strings; n rows.
        """
        first = len(self)
        self._take("place", places)
        for name, known in (("action", ACTIONS), ("by", BY)):
            self._take(name, pc.index_in(table[name], pa.array(known)).to_numpy())
        for name in TEXTS:
            encoded = pc.dictionary_encode(table[name].combine_chunks())
            codes = np.array([*map(self.code, encoded.dictionary.to_pylist()), -1], np.int64)
            self._take(name, codes[pc.fill_null(encoded.indices, -1).to_numpy()])
        self._take("below", np.full(len(places), -1))
        self._stack(first)

    def _take(self, name: str, values: NDArray[np.int64]) -> None:
        self.columns[name].frombytes(np.ascontiguousarray(values, np.int64).tobytes())

    def _stack(self, first: int) -> None:
        """Let each event from the first on stand, or take back what stands."""
        top, below, counts = self.top, self.columns["below"], self.counts
        by = self.columns["by"]
        rows = zip(self.columns["place"][first:], self.columns["action"][first:], strict=True)
        for event, (place, action) in enumerate(rows, first):
            if place < 0:
                continue
            counts[place] += 1
            standing = top[place]
            if action != UNDO:
                below[event] = standing
                top[place] = event
            elif standing >= 0:
                top[place] = below[standing]
                if by[standing] == RULE != by[event]:
                    self.rejected[place] = 1

    def is_settled_by_hand(self, place: int) -> bool:
        """Whether a rule must leave an item alone.

        A person, or what a person imported, has decided it, or has taken a rule's decision back.
        """
        event = self.top[place]
        return bool(self.rejected[place]) or (event >= 0 and self.columns["by"][event] != RULE)

    def stack(self, place: int) -> list[int]:
        """The events of an item that are not undone, the newest first."""
        found = []
        event = self.top[place]
        while event >= 0:
            found.append(event)
            event = self.columns["below"][event]
        return found

    def standing(self, name: str) -> NDArray[np.int64]:
        """A column of the event that stands for each item, -1 where none does; (N,)."""
        top = np.array(self.top, np.int64)
        column = np.append(np.array(self.columns[name], np.int64), -1)
        found: NDArray[np.int64] = column[top]
        return found

    def fold(self, classes: Sequence[str], given: NDArray[np.int32]) -> Fold:
        """What stands for all items, over the labels that are given, (N,)."""
        actions = self.standing("action").astype(np.int8)
        known = {name: code for code, name in enumerate(classes)}
        codes = np.array([known.get(text, -1) for text in self.texts] + [-1], np.int32)
        labels = np.where(actions >= 0, codes[self.standing("to")], given).astype(np.int32)
        by = self.standing("by").astype(np.int8)
        rejected = np.frombuffer(bytes(self.rejected), np.bool_)
        return Fold(labels, actions, by, ((by >= 0) & (by != RULE)) | rejected)
