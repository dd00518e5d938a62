"""K folds of a dataset: stratified by label, never through a group, fixed by the seed."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lorgnette.config import LabelChoice, SplitConfig
from lorgnette.dataset.split import UNUSED, Split, divide, in_force
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError, SplitError

TRAIN, VAL, TEST = 0, 1, 2


def folds(
    dataset: Dataset,
    k: int,
    settings: SplitConfig,
    seed: int,
    repeat: int,
    which: LabelChoice = "decided",
) -> list[Split]:
    """Divide all items with a given label into k folds; each is the test part of one split.

    What is left of each split's items is its training side; a share of that, `val / (train + val)`
    of the settings, is its validation part. A split that the source gives is not looked at: every
    labelled item is tested once. Groups, and copies of one file, stay whole throughout. Decisions
    move nothing: they take items out of their part, or add to what is learnt.

    Args:
        dataset: labels and groups.
        k: two or more.
        settings: how large the validation part is.
        seed: of the run.
        repeat: from 0; each divides anew.
        which: the labels that will be learnt; see `lorgnette.dataset.split.in_force`.

    Returns:
        k splits; the test parts are disjoint and their members together are every labelled item.

    Raises:
        ConfigError: k is too small.
        SplitError: a class has too few items or groups for its being in every part.
    """
    if k < 2:
        raise ConfigError(f"A cross-validation has two folds or more, got {k}: use --k 5 or 10.")
    labels, together = dataset.labels("given"), units(dataset)
    pool = np.flatnonzero(labels >= 0)
    if not len(pool) or len(np.unique(labels[pool])) < 2:
        raise SplitError(
            f"A cross-validation needs labelled items of at least two classes, and "
            f"{dataset.location} has {len(pool):,} labelled items of "
            f"{len(np.unique(labels[pool]))}: check the label column."
        )
    shares = np.append(np.full(k, 1 / k), 0.0)
    fold = _divide(labels, together, pool, shares, np.random.default_rng([seed, repeat]))
    share = settings.val / (settings.train + settings.val)
    found = []
    for number in range(k):
        parts = np.full(len(labels), UNUSED, np.int8)
        parts[pool[fold == number]] = TEST
        side = pool[fold != number]
        rng = np.random.default_rng([seed, repeat, number])
        parts[side] = _divide(labels, together, side, np.array([1 - share, share, 0.0]), rng)
        _check(dataset, labels, together, parts, k)
        found.append(in_force(dataset, parts, together, which))
    return found


def _divide(
    labels: NDArray[np.int32],
    units: NDArray[np.int64] | None,
    pool: NDArray[np.int64],
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    return divide(labels[pool], None if units is None else units[pool], shares, rng)


def units(dataset: Dataset) -> NDArray[np.int64] | None:
    """What stays together: items of a group, copies of a file, and what these connect; (N,).

    `prepare` keeps one copy of each image, but tables may hold a row twice.
    """
    groups = dataset.groups()
    column = dataset.rows(["sha256"])["sha256"].combine_chunks()
    files = np.asarray(pc.fill_null(pc.dictionary_encode(column).indices, -1), np.int64)
    alone = files < 0
    files[alone] = files.max(initial=-1) + 1 + np.arange(alone.sum())
    if len(np.unique(files)) == len(files):
        return groups
    if groups is None:
        return files
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = int(groups.max()) + 1, int(files.max()) + 1
    links = coo_array((np.ones(len(files)), (groups, names[0] + files)), (sum(names), sum(names)))
    codes: NDArray[np.int64] = connected_components(links, directed=False)[1][groups]
    return codes.astype(np.int64)


def _check(
    dataset: Dataset,
    labels: NDArray[np.int32],
    units: NDArray[np.int64] | None,
    parts: NDArray[np.int8],
    k: int,
) -> None:
    """Every class must be in every part of every fold."""
    for code, name in enumerate(dataset.info.classes):
        own = labels == code
        if not own.any():
            continue
        present = np.bincount(parts[own], minlength=3)
        if (present == 0).any():
            items = f"{own.sum():,} items"
            if units is not None:
                items += f" in {len(np.unique(units[own])):,} groups"
            raise SplitError(
                f"Every class must be in each of {k} folds, and in the training and validation "
                f"part of each; class '{name}' ({items}) is not: use fewer folds (--k), add items "
                "of it, or leave the class out."
            )
