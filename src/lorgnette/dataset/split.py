"""Train, validation, test: stratified by label, never through a group, fixed by the seed.

Groups with the same composition of labels are interchangeable, so each such bucket is shuffled and
cut by the ratios; what the cut leaves over is dealt out, largest group first, to the part that
lacks those labels most. Without groups every item is a group of one, and the same code is an exact
stratified split.

It is the given labels that are divided by, so that no decision ever moves an item to another part.
Where labels in force are learnt, items that have lost theirs to a decision are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.config import LabelChoice, SplitConfig
from lorgnette.dataset.store import Dataset
from lorgnette.errors import SplitError
from lorgnette.storage import Storage

PARTS = ("train", "val", "test")
UNUSED = -1


@dataclass(frozen=True)
class Split:
    """Which usable item is in which part.

    Attributes:
        parts: int8 (N,), the place in `PARTS`, or -1 for unlabelled and unused items.
        divided: the same before decisions took items out or put some in; None where none did.
    """

    parts: NDArray[np.int8]
    divided: NDArray[np.int8] | None = None

    def indices(self, part: str) -> NDArray[np.int64]:
        """The items of a part, in the dataset's order; (n,)."""
        return np.flatnonzero(self.parts == PARTS.index(part))

    def members(self, part: str) -> NDArray[np.int64]:
        """The items that were dealt to a part, those that a decision took out of it too; (n,)."""
        parts = self.parts if self.divided is None else self.divided
        return np.flatnonzero(parts == PARTS.index(part))

    def save(self, storage: Storage, name: str, dataset: Dataset) -> None:
        """Write `id` and `split` (null for unused) of every usable item as Parquet.

        Where decisions changed it, `divided` is a further column.
        """
        columns = {"id": dataset.rows(["id"])["id"], "split": _named(self.parts)}
        if self.divided is not None:
            columns["divided"] = _named(self.divided)
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), buffer, compression="zstd")
        storage.write(name, memoryview(buffer.getvalue()))

    @classmethod
    def load(cls, storage: Storage, name: str, dataset: Dataset) -> Split:
        """Read what `save` wrote; items of the dataset that are not in it are unused.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with storage.open(name) as file:
            table = pq.read_table(file)
        places = pc.index_in(dataset.rows(["id"])["id"], table["id"].combine_chunks())
        found = {
            column: _coded(table[column].take(places))
            for column in ("split", "divided")
            if column in table.column_names
        }
        return cls(found["split"], found.get("divided"))


def _named(parts: NDArray[np.int8]) -> pa.Array:
    names = pa.array(PARTS).take(pa.array(np.where(parts < 0, 0, parts)))
    return pa.array(names.to_numpy(zero_copy_only=False), mask=parts < 0)


def _coded(names: pa.ChunkedArray) -> NDArray[np.int8]:
    codes = pc.fill_null(pc.index_in(names, pa.array(PARTS)), UNUSED)
    return np.asarray(codes, np.int8)


def split(
    dataset: Dataset, settings: SplitConfig, seed: int, which: LabelChoice = "decided"
) -> Split:
    """Divide the labelled items of a dataset.

    A split that the source gives is honoured; a part that it does not give is taken out of its
    training part.

    Args:
        dataset: labels, groups and the given split.
        settings: the parts.
        seed: of the run.
        which: the labels that will be learnt; see `in_force`.

    Raises:
        SplitError: there are fewer than two classes, a class has too few items (or groups) to be
            in every part, a given split tears a group apart, or decisions leave too little.
    """
    labels = dataset.labels("given")
    groups = dataset.groups()
    classes = dataset.info.classes
    if len(classes) < 2:
        found = f"only '{classes[0]}'" if classes else "no label at all"
        raise SplitError(
            f"A classifier needs at least two classes, and the {len(dataset):,} usable images of "
            f"{dataset.info.images} have {found}: check the folders or the label column."
        )
    given = _given(dataset) if settings.given else np.full(len(dataset), UNUSED, np.int8)
    parts = np.where(labels >= 0, given, UNUSED).astype(np.int8)
    _check_given(dataset, groups, parts)
    absent = [part for part in range(len(PARTS)) if not (parts == part).any()]
    if len(absent) == len(PARTS):
        pool, open_parts = np.flatnonzero(labels >= 0), list(range(len(PARTS)))
    else:
        free = (labels >= 0) & (parts == UNUSED)
        pool = np.flatnonzero(free | (parts == 0) if absent else free)
        open_parts = [0, *(part for part in absent if part)]
    if len(pool):
        shares = _shares(settings, open_parts, len(pool))
        codes = np.array([*open_parts, UNUSED], np.int8)
        pool_groups = None if groups is None else groups[pool]
        divided = divide(labels[pool], pool_groups, shares, np.random.default_rng(seed))
        parts[pool] = codes[divided]
    _check_classes(labels, groups, parts, classes)
    return in_force(dataset, parts, groups, which, held_back=given > 0)


def in_force(
    dataset: Dataset,
    parts: NDArray[np.int8],
    units: NDArray[np.int64] | None,
    which: LabelChoice,
    held_back: NDArray[np.bool_] | None = None,
) -> Split:
    """What decisions leave of parts that given labels were divided into.

    An item without a label in force is in no part. One that only a decision has given a label is
    learnt from, unless something that belongs to it is judged or chosen by.

    Args:
        dataset: the labels.
        parts: as divided, (N,), places in `PARTS` or -1.
        units: what stays together, (N,); None if every item is by itself.
        which: `given` changes nothing.
        held_back: items that the source keeps from training, (N,).

    Raises:
        SplitError: there is no item left to learn or choose by, or only one class to learn.
    """
    if which == "given":
        return Split(parts)
    labels = dataset.labels("decided")
    known = dataset.labels("given") >= 0
    lost = (parts >= 0) & (labels < 0)
    gained = ~known & (labels >= 0)
    if held_back is not None:
        gained &= ~held_back
    if units is not None:
        gained &= ~np.isin(units, units[parts > 0])
    if not (lost | gained).any():
        _check_left(dataset, labels, parts)
        return Split(parts)
    left = parts.copy()
    left[lost] = UNUSED
    left[gained] = PARTS.index("train")
    _check_left(dataset, labels, left)
    return Split(left, divided=parts)


def _check_left(dataset: Dataset, labels: NDArray[np.int32], parts: NDArray[np.int8]) -> None:
    """Decisions may take a class away, but not all there is to learn or to choose by."""
    if len(np.unique(labels[parts == 0])) < 2 or not (parts == 1).any():
        raise SplitError(
            "A training needs items of two classes to learn and some to choose by, and the "
            f"decisions on {dataset.location} leave too little: undo some of them, or learn the "
            "given labels (--set train.labels=given)."
        )


def divide(
    labels: NDArray[np.int32],
    groups: NDArray[np.int64] | None,
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Deal labelled items into parts of given shares, groups whole.

    Args:
        labels: class codes (n,), none negative.
        groups: group codes (n,); None if every item is by itself.
        shares: the fraction of the items that each part is to get, (S,), summing to 1; the last
            part is what nobody uses.
        rng: decides what is left open.

    Returns:
        The part of each item, (n,), from 0 to S - 1.
    """
    n, classes = len(labels), int(labels.max()) + 1
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(unit)
    # The composition of a group as one number: equal multisets of labels have equal sums of their
    # labels' random 64-bit values, and different ones practically never do.
    values = np.random.default_rng(0).integers(0, 2**63, classes, dtype=np.uint64)
    composition = np.zeros(len(sizes), np.uint64)
    np.add.at(composition, unit, values[labels])
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(composition[shuffled], kind="stable")]
    _, bucket, members = np.unique(composition[order], return_inverse=True, return_counts=True)
    rank = np.arange(len(order)) - (np.cumsum(members) - members)[bucket]
    bounds = np.cumsum(np.floor(members[:, None] * shares + 1e-9), axis=1)
    part = np.empty(len(sizes), np.int64)
    part[order] = (rank[:, None] >= bounds[bucket]).sum(axis=1)
    _deal_rest(part, unit, labels, sizes, shares, shuffled)
    _reach_every_part(part, unit, labels, sizes, len(shares) - 1)
    return part[unit]


def _deal_rest(
    part: NDArray[np.int64],
    unit: NDArray[np.int64],
    labels: NDArray[np.int32],
    sizes: NDArray[np.int64],
    shares: NDArray[np.float64],
    shuffled: NDArray[np.int64],
) -> None:
    """Give each undealt group, largest first, to the part that lacks its labels most."""
    undealt = len(shares)
    totals = np.bincount(labels).astype(np.float64)
    lack = shares[:, None] * totals
    dealt = part[unit] < undealt
    np.subtract.at(lack, (part[unit[dealt]], labels[dealt]), 1)
    rest = shuffled[part[shuffled] == undealt]
    by_unit = np.argsort(unit, kind="stable")
    starts = np.cumsum(sizes) - sizes
    for group in rest[np.argsort(-sizes[rest], kind="stable")]:
        own = labels[by_unit[starts[group] : starts[group] + sizes[group]]]
        codes, counts = np.unique(own, return_counts=True)
        by_class = (lack[:, codes] / totals[codes]) @ counts
        overall = lack.sum(axis=1) / len(labels) * sizes[group]
        score = np.where(shares > 0, by_class + overall, -np.inf)
        chosen = int(np.argmax(score))
        part[group] = chosen
        lack[chosen, codes] -= counts


def _reach_every_part(
    part: NDArray[np.int64],
    unit: NDArray[np.int64],
    labels: NDArray[np.int32],
    sizes: NDArray[np.int64],
    used: int,
) -> None:
    """Where a small class did not reach a part, move its smallest group there from elsewhere."""
    table = np.zeros((used + 1, int(labels.max()) + 1), np.int64)
    pairs = np.unique(np.stack([unit, labels]), axis=1)  # which group has which class
    np.add.at(table, (part[pairs[0]], pairs[1]), 1)
    for to, code in np.argwhere((table[:used] == 0) & (table.sum(axis=0) > 0)):
        holders = pairs[0][pairs[1] == code]
        counts = np.bincount(part[holders], minlength=used + 1)
        donor = used if counts[used] else int(np.argmax(counts))
        if counts[donor] < (1 if donor == used else 2) or counts[to]:
            continue
        candidates = holders[part[holders] == donor]
        part[candidates[np.argmin(sizes[candidates])]] = to


def _shares(settings: SplitConfig, open_parts: list[int], items: int) -> NDArray[np.float64]:
    """The fraction of the pool for each open part, and for what nobody uses as the last."""
    wanted = np.array([settings.train, settings.val, settings.test])[open_parts]
    if not settings.counts or len(open_parts) < len(PARTS):
        return np.append(wanted / wanted.sum(), 0.0)
    if wanted.sum() > items:
        raise SplitError(
            f"The split asks for {wanted.sum():,.0f} items and {items:,} are labelled: "
            "ask for fewer, or for ratios (--set split.train=0.8 …)."
        )
    return np.append(wanted, items - wanted.sum()) / items


def _given(dataset: Dataset) -> NDArray[np.int8]:
    """The part that the source gives each usable item, -1 for none."""
    return _coded(dataset.rows(["split"])["split"])


def _check_given(
    dataset: Dataset, groups: NDArray[np.int64] | None, parts: NDArray[np.int8]
) -> None:
    """Refuse a given split that has one group in two parts."""
    if groups is None or not (parts >= 0).any():
        return
    pairs = np.unique(np.stack([groups[parts >= 0], parts[parts >= 0]]), axis=1)
    codes, counts = np.unique(pairs[0], return_counts=True)
    if (counts > 1).any():
        code = codes[counts > 1][0]
        name = dataset.rows(["group"])["group"][int(np.argmax(groups == code))].as_py()
        torn = " and ".join(PARTS[part] for part in pairs[1][pairs[0] == code])
        raise SplitError(
            f"A group must be in one part and the given split has group '{name}' in {torn}: "
            "correct the split, or divide anew with --set split.given=false."
        )


def _check_classes(
    labels: NDArray[np.int32],
    groups: NDArray[np.int64] | None,
    parts: NDArray[np.int8],
    classes: Sequence[str],
) -> None:
    """Every class must be in every part."""
    for part, name in enumerate(PARTS):
        present = np.bincount(labels[parts == part], minlength=len(classes))
        for code in np.flatnonzero(present == 0).tolist():
            items = f"{(labels == code).sum():,} items"
            if groups is not None:
                items += f" in {len(np.unique(groups[labels == code])):,} groups"
            raise SplitError(
                f"Every class must be in every part, and class '{classes[code]}' ({items}) did not "
                f"reach {name}: add images of it, leave the class out, or change the split "
                "(--set split.test=…, or split.given=false to divide anew)."
            )
