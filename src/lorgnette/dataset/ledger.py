"""The decisions ledger: what was decided about labels, by whom and when, one JSON object a line.

    {"id": "cats/7.jpg", "action": "relabel", "from": "cat", "to": "dog", "reason": "",
     "who": "Ada", "by": "person", "when": "2025-11-21T09:30:00.000+00:00"}

`decisions.jsonl` is only ever appended to. The labels in force are the given ones with it folded
over: the newest decision about an item that is not undone stands. Whoever appends holds a lock for
that moment, so that several processes and threads do not lose each other's lines; readers need no
lock. A line that a killed process left unfinished was never confirmed to anybody: it is passed over
in reading and removed in appending.

Object stores can neither append nor lock: on a URL the whole file is written anew, under a lock of
this machine only. Two machines that review into the same URL are not kept apart.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.dataset.appendonly import AppendOnly
from lorgnette.dataset.decisionlines import decisions_of, is_whole, parse_lines
from lorgnette.dataset.decisions import Decision, Standing, Wanted
from lorgnette.dataset.history import ACTIONS, BY, RULE, Fold, History
from lorgnette.errors import ConfigError, nearest

if TYPE_CHECKING:
    from lorgnette.dataset.store import Dataset

__all__ = ["Decision", "Fold", "Ledger", "Standing", "Wanted", "difference"]

FILE = "decisions.jsonl"
BATCH = 50_000
"""How many ids are looked up at once."""
FEW = 16
"""So many ids are found faster by looking through all than by hashing all."""


class Ledger:
    """The decisions about a dataset; threads may share one.

    What others append is seen with the next call: the file is read on from where it was left.

    Attributes:
        dataset: whose labels are decided about.
        path: where the file is.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.storage = dataset.storage
        self._file = AppendOnly(self.storage, FILE, is_whole)
        self.path = self._file.location
        self._mutex = threading.RLock()
        self._history = History(len(dataset))
        self._fold: Fold | None = None
        self._standings: dict[str, Standing] | None = None
        self._changed: set[int] = set()

    def append(self, wanted: Sequence[Wanted]) -> list[Decision]:
        """Decide, all or nothing; when this returns it is on the disk.

        Decisions by a rule about items that were settled by hand are passed over: a person's
        decision is never overridden by a rule.

        Returns:
            What was written, with the label before and after and the time.

        Raises:
            ConfigError: an id, a class or an action is not known, there is nothing to undo or
                nothing to confirm; nothing was written.
            DatasetError: the file is damaged, or somebody holds the lock for a minute.
            StorageError: the disk is full, or refuses; the file is as it was.
        """
        found: list[Decision] = []
        self._append(wanted, found)
        return found

    def extend(self, wanted: Iterable[Wanted]) -> int:
        """Like `append`, for very many at once: nothing but their lines is held in memory.

        Returns:
            How many were written.
        """
        return self._append(wanted, None)

    def read(self) -> list[Decision]:
        """All decisions in the order of the file.

        Raises:
            DatasetError: a line is damaged.
        """
        return list(decisions_of(self._file.read(), Decision, self.path))

    def recent(self, most: int) -> list[Decision]:
        """The last decisions, the newest first, without reading a long file."""
        with self._mutex:
            self._refresh()  # which names a damaged line by its number
            tail = self._file.read(last=most * 4096)
        return list(decisions_of(tail, Decision, self.path))[: -most - 1 : -1]

    def standings(self) -> dict[str, Standing]:
        """What stands, by id, for every item with a decision that is not undone."""
        with self._mutex:
            self._refresh()
            if self._standings is None:
                places = np.flatnonzero(np.array(self._history.top) >= 0).tolist()
                self._standings = {}
            else:
                places = sorted(self._changed)
            self._changed.clear()
            for place, id_ in zip(places, self._ids.take(pa.array(places, pa.int64())).to_pylist(),
                                  strict=True):  # fmt: skip
                self._standings.pop(id_, None)
                if self._history.top[place] >= 0:
                    self._standings[id_] = self._standing(place)
            return dict(self._standings)

    def standing(self, id_: str) -> Standing | None:
        """What stands for one item; None where nothing was decided or all is undone."""
        with self._mutex:
            self._refresh()
            (place,) = self._places([id_])
            decided = place >= 0 and self._history.top[place] >= 0
            return self._standing(place) if decided else None

    def fold(self) -> Fold:
        """What stands for all items, as columns."""
        with self._mutex:
            self._refresh()
            if self._fold is None:
                self._fold = self._history.fold(self.dataset.info.classes, self._given)
            return self._fold

    def labels(self) -> NDArray[np.int32]:
        """The label in force of each usable item as a code, -1 for none; (N,)."""
        with self._mutex:
            self._refresh()
            return self.fold().labels.copy() if len(self._history) else self._given.copy()

    def digest(self) -> str:
        """A short digest of what stands, confirmations too; empty where nothing is decided."""
        with self._mutex:
            fold = self.fold()
            rows = np.flatnonzero(fold.decided)
            if not len(rows):
                return ""
            names = np.array([*self.dataset.info.classes, ""], object)
            told = zip(
                self._ids.take(pa.array(rows)).to_pylist(),
                (ACTIONS[action] for action in fold.actions[rows].tolist()),
                names[fold.labels[rows]].tolist(),
                strict=True,
            )
            lines = sorted("\t".join(each) for each in told)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]

    def tally(self) -> dict[str, Any]:
        """What was decided, in numbers.

        Returns:
            `decisions`: lines; `items`: those that a decision stands for, and of these by `action`,
            `by` and `who`; `changed`: labels that differ from the given ones; `left_out`: items
            that had one; `labelled`: items that had none.
        """
        with self._mutex:
            fold, given = self.fold(), self._given
            rows = np.flatnonzero(fold.decided)
            codes, counts = np.unique(self._history.standing("who")[rows], return_counts=True)
            texts = self._history.texts
            return {
                "decisions": len(self._history),
                "items": len(rows),
                "action": _counted(ACTIONS, fold.actions[rows]),
                "by": _counted(BY, fold.by[rows]),
                "who": {
                    texts[code]: count
                    for code, count in sorted(
                        zip(codes.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]
                    )
                },
                "changed": int(((given >= 0) & (fold.labels >= 0) & (fold.labels != given)).sum()),
                "left_out": int(((given >= 0) & (fold.labels < 0)).sum()),
                "labelled": int(((given < 0) & (fold.labels >= 0)).sum()),
            }

    def reasons(self, places: Iterable[int]) -> list[str]:
        """The reason of the decision that stands for each of some items; empty where none does."""
        with self._mutex:
            tops = [self._history.top[place] for place in places]
            texts = [None if top < 0 else self._history.text("reason", top) for top in tops]
        return [text or "" for text in texts]

    def decided_before(self, place: int, action: str, to: str | None, reason: str) -> bool:
        """Whether a rule made this decision about an item already, and nobody has undone it."""
        history, wanted = self._history, (ACTIONS.index(action), RULE)
        return any(
            (history.columns["action"][event], history.columns["by"][event]) == wanted
            and history.text("reason", event) == reason
            and (to is None or history.text("to", event) == to)
            for event in history.stack(place)
        )

    def places(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Where items are among the usable ones, -1 for ids that the dataset does not have."""
        return np.array(self._places(list(ids)), np.int64)

    # Deciding

    def _append(self, wanted: Iterable[Wanted], keep: list[Decision] | None) -> int:
        wishes = iter(wanted)
        first = list(islice(wishes, BATCH))
        if not first:
            return 0
        lines, count = io.BytesIO(), 0
        with self._mutex, self._file.locked():
            self._refresh()
            before = len(self._history)
            when = datetime.now(UTC).isoformat(timespec="milliseconds")
            try:
                batch = first
                while batch:
                    places = self._places([want.id for want in batch])
                    for want, place in zip(batch, places, strict=True):
                        if (decision := self._decide(want, place, when)) is not None:
                            lines.write(decision.model_dump_json(by_alias=True).encode() + b"\n")
                            count += 1
                            if keep is not None:
                                keep.append(decision)
                    batch = list(islice(wishes, BATCH))
                if count:
                    self._file.append(lines.getvalue())
            except BaseException:
                if len(self._history) > before:
                    self._file.forget()
                    self._forget()
                raise
        return count

    def _decide(self, want: Wanted, place: int, when: str) -> Decision | None:
        """Check one against what stands, and let it stand in memory; None for a rule too many."""
        at = f"{want.origin}: " if want.origin else ""
        if want.action not in ACTIONS:
            raise ConfigError(
                f"{at}There is no action '{want.action}': {nearest(want.action, ACTIONS)}"
            )
        if want.by not in BY:
            raise ConfigError(f"{at}A decision is by {', '.join(BY)}, got '{want.by}'.")
        if place < 0:
            example = f", for example '{self._ids[0].as_py()}'" if len(self._ids) else ""
            raise ConfigError(
                f"{at}{self.dataset.location} has no usable item '{want.id}': ids are as in its "
                f"shards{example}."
            )
        if want.by == BY[RULE] and self._history.is_settled_by_hand(place):
            return None
        before, action = self._label(place), want.action
        if want.by == "import" and action == "confirm" and want.to not in (None, before):
            action = "relabel"
        self._check(want, action, place, before, at)
        after = {"relabel": want.to, "confirm": before}.get(action)
        texts = [*map(_plain, (want.reason, want.who)), when]
        self._history.add(place, action, want.by, [after, *texts])
        if action == "undo":
            after = self._label(place)
        self._fold = None
        if self._standings is not None:
            self._changed.add(place)
        return Decision.model_construct(
            id=want.id,
            action=action,
            from_=before,
            to=after,
            reason=texts[0],
            who=texts[1],
            by=want.by,
            when=when,
        )

    def _check(self, want: Wanted, action: str, place: int, before: str | None, at: str) -> None:
        """Refuse what makes no sense for this item."""
        classes = self.dataset.info.classes
        if action == "relabel":
            if want.to is None or want.to not in classes:
                raise ConfigError(
                    f"{at}A relabel is to one of the dataset's classes, and '{want.to or ''}' (for "
                    f"'{want.id}') is none: {nearest(want.to or '', classes)}"
                )
        elif action == "confirm":
            if before is None:
                raise ConfigError(
                    f"{at}A confirm keeps the label in force, and '{want.id}' has none: relabel it."
                )
            if want.to not in (None, before):
                raise ConfigError(
                    f"{at}A confirm keeps the label in force, and that of '{want.id}' is "
                    f"'{before}', not '{want.to}': look again, or relabel it."
                )
        elif want.to is not None:
            raise ConfigError(
                f"{at}Only a relabel names a new label, and this is to {action} '{want.id}': "
                "leave 'to' empty."
            )
        elif action == "undo" and self._history.top[place] < 0:
            raise ConfigError(
                f"{at}An undo takes back a decision, and none about '{want.id}' is left to undo."
            )

    def _label(self, place: int) -> str | None:
        """The label in force of an item; a class that the dataset no longer has is none."""
        event = self._history.top[place]
        classes = self.dataset.info.classes
        if event >= 0:
            label = self._history.text("to", event)
            return label if label in classes else None
        code = self._given[place]
        return None if code < 0 else classes[code]

    def _standing(self, place: int) -> Standing:
        history, event = self._history, self._history.top[place]
        given = self._given[place]
        return Standing(
            label=self._label(place),
            action=ACTIONS[history.columns["action"][event]],
            by=BY[history.columns["by"][event]],
            who=history.text("who", event) or "",
            when=history.text("when", event) or "",
            given=None if given < 0 else self.dataset.info.classes[given],
            count=history.counts[place],
        )

    # Reading

    @cached_property
    def _ids(self) -> Any:
        return self.dataset.rows(["id"])["id"].combine_chunks()

    @cached_property
    def _given(self) -> NDArray[np.int32]:
        return self.dataset.labels("given")

    def _places(self, ids: list[str]) -> list[int]:
        if len(ids) <= FEW:
            return [pc.index(self._ids, id_).as_py() for id_ in ids]
        places: list[int] = self._found(pa.array(ids, pa.string())).tolist()
        return places

    def _found(self, ids: Any) -> NDArray[np.int64]:
        places = pc.fill_null(pc.index_in(ids, self._ids), -1)
        return np.asarray(places, np.int64)

    def _refresh(self) -> None:
        """Take in what was appended since the last look, by whomever."""
        self._file.read_on(self._take, self._forget)

    def _forget(self) -> None:
        """Begin again."""
        self._history = History(len(self.dataset))
        self._fold = self._standings = None
        self._changed.clear()

    def _take(self, data: bytes, first: int) -> None:
        table = parse_lines(data, first, self.path)
        ids = table["id"]
        few = len(ids) <= FEW
        places = self.places(ids.to_pylist()) if few else self._found(ids)
        self._history.extend(places, table)
        self._fold = None
        if self._standings is not None:
            self._changed.update(places[places >= 0].tolist())


def difference(given: NDArray[np.int32], labels: NDArray[np.int32]) -> str:
    """A short digest of what labels (N,) have changed of the given ones (N,); empty for nothing."""
    places = np.flatnonzero(given != labels)
    if not len(places):
        return ""
    told = places.astype("<i8").tobytes() + labels[places].astype("<i4").tobytes()
    return hashlib.sha256(told).hexdigest()[:12]


def _plain(text: str) -> str:
    """A text that UTF-8 can hold: browsers can send halves of characters."""
    return text.encode("utf-8", "replace").decode()


def _counted(names: Sequence[str], codes: NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(codes, minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=False) if count}
