from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled_rows import labelled
from lorgnette.config import SplitConfig
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.split import Split, split
from lorgnette.dataset.store import Dataset
from lorgnette.errors import SplitError
from lorgnette.evaluation.folds import folds
from lorgnette.storage import Storage

LABELS: Sequence[str | None] = ["a", "b", "b", "c"] * 20 + [None] * 6
TEST = 2


@settings(max_examples=25, deadline=None)
@given(
    wanted=st.lists(
        st.tuples(st.integers(0, 85), st.sampled_from(["a", "b", "c", "drop", "undecidable"])),
        max_size=30,
    )
)
def test_decisions_never_move_an_item_to_another_part(
    wanted: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    dataset = labelled(tmp_path_factory.mktemp("split"), LABELS)
    before = split(dataset, SplitConfig(), 7)
    folded = folds(dataset, 3, SplitConfig(), 7, 0)
    dataset.ledger.append(
        [
            Wanted(f"i{place}", what) if what in ("drop", "undecidable")
            else Wanted(f"i{place}", "relabel", what)
            for place, what in wanted
        ]
    )  # fmt: skip
    labels, given_labels = dataset.labels(), dataset.labels("given")
    pairs = [(before, split(dataset, SplitConfig(), 7))]
    pairs += zip(folded, folds(dataset, 3, SplitConfig(), 7, 0), strict=True)
    for old, new in pairs:
        known = given_labels >= 0
        assert (new.parts[known & (labels >= 0)] == old.parts[known & (labels >= 0)]).all()
        assert (new.parts[labels < 0] == -1).all()
        assert (new.parts[~known & (labels >= 0)] == 0).all()
        for part in ("train", "val", "test"):
            assert (new.members(part) == old.indices(part)).all()
    assert (split(dataset, SplitConfig(), 7, "given").parts == before.parts).all()


def test_what_belongs_to_a_judged_item_is_not_learnt_from(tmp_path: Path) -> None:
    groups = [f"g{place // 2}" for place in range(86)]
    labels = list(LABELS[:80])
    for place in range(0, 80, 8):
        labels[place] = None  # the other one of its pair has a label
    dataset = labelled(tmp_path, [*labels, *[None] * 6], groups=groups)
    before = split(dataset, SplitConfig(), 0)
    places = [place for place in range(86) if place >= 80 or place % 8 == 0]
    dataset.ledger.append([Wanted(f"i{place}", "relabel", "a") for place in places])
    after = split(dataset, SplitConfig(), 0)
    beside = [before.parts[place + 1] for place in places[:10]]
    assert {1, 2} & set(beside)
    for place, part in zip(places[:10], beside, strict=True):
        assert after.parts[place] == (0 if part == 0 else -1)
    assert (after.parts[80:] == 0).all()


def test_what_the_source_holds_back_is_not_learnt_from(tmp_path: Path) -> None:
    parts = ["train"] * 40 + ["val"] * 20 + ["test"] * 20 + ["test", "val", "train"] * 2
    dataset = labelled(tmp_path, LABELS, given=parts)
    dataset.ledger.append([Wanted(f"i{place}", "relabel", "a") for place in range(80, 86)])
    assert split(dataset, SplitConfig(), 0).parts[80:].tolist() == [-1, -1, 0] * 2


def test_a_class_may_vanish_but_not_everything(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, LABELS)
    dataset.ledger.append(
        [Wanted(f"i{p}", "relabel", "b") for p, name in enumerate(LABELS) if name == "c"]
    )
    parts = split(dataset, SplitConfig(), 0)
    assert set(dataset.labels()[parts.indices("train")].tolist()) == {0, 1}
    dataset.ledger.append([Wanted(f"i{p}", "drop") for p, name in enumerate(LABELS) if name == "a"])
    for divide in (split, lambda d, s, n: folds(d, 3, s, n, 0)):
        with pytest.raises(SplitError, match=r"leave too little.*train\.labels=given"):
            divide(dataset, SplitConfig(), 0)
    assert (split(dataset, SplitConfig(), 0, "given").parts[:80] >= 0).all()


def test_both_divisions_are_saved_and_read_back(tmp_path: Path) -> None:
    dataset = labelled(tmp_path / "data", LABELS)
    storage = Storage.at(tmp_path)
    plain = split(dataset, SplitConfig(), 0)
    plain.save(storage, "plain.parquet", dataset)
    assert pq.read_schema(tmp_path / "plain.parquet").names == ["id", "split"]
    dropped = int(plain.indices("test")[0])
    dataset.ledger.append([Wanted(f"i{dropped}", "drop"), Wanted("i85", "relabel", "a")])
    decided = split(dataset, SplitConfig(), 0)
    decided.save(storage, "decided.parquet", dataset)
    for name, made in (("plain", plain), ("decided", decided)):
        found = Split.load(storage, f"{name}.parquet", Dataset.load(dataset.location))
        assert (found.parts == made.parts).all()
        assert (found.members("test") == plain.indices("test")).all()
    assert np.flatnonzero(decided.parts != plain.parts).tolist() == sorted([dropped, 85])
