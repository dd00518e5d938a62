from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lorgnette.config import SplitConfig
from lorgnette.dataset.split import PARTS, divide, split
from lorgnette.dataset.store import ROW, Dataset, DatasetInfo, ShardInfo
from lorgnette.errors import ConfigError, SplitError
from lorgnette.resolve import load
from lorgnette.storage import Storage

RATIOS = np.array([0.8, 0.1, 0.1, 0.0])


def table_dataset(
    labels: Sequence[str | None],
    groups: Sequence[str | None] | None = None,
    given: Sequence[str | None] | None = None,
) -> Dataset:
    """A dataset of rows alone: a split reads no pixels."""
    import pyarrow as pa

    n = len(labels)
    rows = {
        "id": [f"{i:05d}" for i in range(n)],
        "path": ["x"] * n,
        "status": ["ok"] * n,
        "label": labels,
        "group": groups or [None] * n,
        "split": given or [None] * n,
    }
    columns = [pa.array(rows.get(f.name, [None] * n), f.type) for f in ROW]
    table = pa.Table.from_arrays(columns, schema=ROW)
    classes = sorted({label for label in labels if label is not None})

    class Rows(Dataset):
        def tables(self, columns, status="ok"):  # type: ignore[no-untyped-def]
            yield table.select(list(columns))

    info = DatasetInfo.model_construct(
        classes=tuple(classes),
        counts={"ok": n},
        images="images",
        shards=(ShardInfo(name="00000", items=n, rows=n),),
    )
    return Rows(Storage("/nowhere"), info)


def counts(codes: NDArray[np.int8], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Items by part and class."""
    table = np.zeros((3, labels.max() + 1), np.int64)
    used = codes >= 0
    np.add.at(table, (codes[used], labels[used]), 1)
    return table


@given(
    sizes=st.lists(st.integers(5, 400), min_size=2, max_size=8),
    seed=st.integers(0, 2**31 - 1),
)
def test_without_groups_each_class_is_cut_by_the_ratios(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    codes = divide(labels, None, RATIOS, np.random.default_rng(seed))
    table = counts(codes.astype(np.int8), labels)
    assert (table >= 1).all()
    assert (np.abs(table - RATIOS[:3, None] * np.array(sizes)) <= 1.001).all()
    assert (table.sum(axis=0) == sizes).all()


@settings(max_examples=50)
@given(
    groups=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=30, max_size=120),
    seed=st.integers(0, 1000),
)
def test_groups_stay_whole_and_ratios_are_near(groups: list[list[int]], seed: int) -> None:
    labels = np.concatenate(groups).astype(np.int32)
    codes_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    codes = divide(labels, codes_of, RATIOS, np.random.default_rng(seed))
    for group in range(len(groups)):
        assert len(set(codes[codes_of == group])) == 1
    share = np.bincount(codes, minlength=4)[:3] / len(labels)
    # a group is dealt whole, and each of the three classes may pull one into each part
    assert np.abs(share - RATIOS[:3]).max() <= 3 * max(map(len, groups)) / len(labels)


def test_it_is_fixed_by_the_seed() -> None:
    labels = np.tile([0, 1], 100).astype(np.int32)
    one, again, other = (
        divide(labels, None, RATIOS, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (one == again).all()
    assert (one != other).any()


def test_ten_million_pairs_take_seconds() -> None:
    # a scale check without a clock: a loop over groups in Python would run into the time limit
    n = 2_000_000
    labels = np.tile([0, 1], n // 2).astype(np.int32)
    codes = divide(labels, np.arange(n) // 2, RATIOS, np.random.default_rng(0))
    assert np.bincount(codes, minlength=3)[:3].tolist() == [1_600_000, 200_000, 200_000]


def test_counts_are_met() -> None:
    dataset = table_dataset(["a"] * 60 + ["b"] * 40)
    parts = split(dataset, SplitConfig(train=50, val=20, test=10), 0).parts
    assert [(parts == p).sum() for p in (0, 1, 2, -1)] == [50, 20, 10, 20]


def test_more_than_there_is_cannot_be_asked_for() -> None:
    with pytest.raises(SplitError, match="asks for 120 items and 100 are labelled"):
        split(table_dataset(["a", "b"] * 50), SplitConfig(train=100, val=10, test=10), 0)


def test_unlabelled_items_are_in_no_part() -> None:
    dataset = table_dataset(["a", "b", None] * 20)
    parts = split(dataset, SplitConfig(), 0).parts
    assert (parts[2::3] == -1).all()
    assert (parts[0::3] >= 0).all()


def test_a_given_split_is_honoured() -> None:
    labels: Sequence[str | None] = ["a", "b"] * 30
    given_parts: Sequence[str | None] = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    parts = split(table_dataset(labels, given=given_parts), SplitConfig(), 0).parts
    assert [PARTS[part] for part in parts] == given_parts


def test_a_part_that_is_not_given_comes_out_of_training() -> None:
    labels: Sequence[str | None] = ["a", "b"] * 50
    given_parts: Sequence[str | None] = ["train"] * 80 + ["test"] * 20
    parts = split(table_dataset(labels, given=given_parts), SplitConfig(), 0).parts
    assert (parts[80:] == 2).all()
    assert (parts[:80] == 1).sum() == 80 // 9 or (parts[:80] == 1).sum() == 80 // 9 + 1
    assert not (parts[:80] == 2).any()


def test_a_given_split_that_tears_a_group_is_an_error() -> None:
    dataset = table_dataset(
        ["a", "b"] * 10, groups=["g"] * 20, given=["train"] * 10 + ["test"] * 10
    )
    with pytest.raises(SplitError, match="group 'g' in train and test"):
        split(dataset, SplitConfig(), 0)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 10, "at least two classes.*only 'a'"),
        ([None] * 10, "no label at all"),
        (["a"] * 50 + ["b"] * 2, r"class 'b' \(2 items\)"),
    ],
)
def test_too_little_is_an_error_that_names_it(labels: list[str | None], words: str) -> None:
    with pytest.raises(SplitError, match=words):
        split(table_dataset(labels), SplitConfig(), 0)


def test_too_few_groups_of_a_class_is_an_error_that_names_it() -> None:
    labels: Sequence[str | None] = ["a"] * 40 + ["b"] * 40
    groups: Sequence[str | None] = [f"a{i}" for i in range(40)] + ["b1", "b2"] * 20
    with pytest.raises(SplitError, match=r"class 'b' \(40 items in 2 groups\)"):
        split(table_dataset(labels, groups), SplitConfig(), 0)


def test_three_items_of_a_class_reach_every_part() -> None:
    parts = split(table_dataset(["a"] * 97 + ["b"] * 3), SplitConfig(), 0).parts
    assert sorted(parts[97:]) == [0, 1, 2]


def test_it_is_saved_by_id(tmp_path: Path) -> None:
    dataset = table_dataset(["a", "b", None] * 10)
    parts = split(dataset, SplitConfig(), 0)
    parts.save(Storage.at(tmp_path), "split.parquet", dataset)
    saved = pq.read_table(tmp_path / "split.parquet").to_pylist()
    assert [row["id"] for row in saved] == [f"{i:05d}" for i in range(30)]
    assert saved[2]["split"] is None
    assert {row["split"] for row in saved} == {"train", "val", "test", None}


@pytest.mark.parametrize("setting", ["split.train=0.9", "split.train=20", "split.test=0"])
def test_parts_that_make_no_sense_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="split"):
        load(settings=[setting])
