from pathlib import Path

import numpy as np
import pytest

from labelled_rows import labelled
from lorgnette.config import SplitConfig
from lorgnette.dataset import yardstick
from lorgnette.dataset.ledger import Wanted
from lorgnette.dataset.split import split
from lorgnette.errors import ConfigError, DatasetError

HALF = SplitConfig(train=0.4, val=0.1, test=0.5)


def test_it_is_drawn_from_the_test_part_and_kept(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 50)
    parts = split(dataset, HALF, 0)
    made = yardstick.draw(dataset, 20, 3, parts)
    assert made == yardstick.load(dataset)
    assert len(set(made.ids)) == made.n == 20
    test = {f"i{place}" for place in parts.indices("test")}
    assert set(made.ids) <= test
    assert list(made.ids) != sorted(made.ids, key=lambda id_: int(id_[1:]))  # no prefix is special
    assert yardstick.draw(dataset, 20, 3, parts) == made


def test_a_larger_one_keeps_what_was_settled_and_a_smaller_one_too(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 50)
    parts = split(dataset, HALF, 0)
    made = yardstick.draw(dataset, 10, 3, parts)
    assert yardstick.draw(dataset, 5, 3, parts) == made
    assert yardstick.draw(dataset, 30, 3, parts).ids[:10] == made.ids


def test_every_item_has_the_same_chance(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 20)
    parts = split(dataset, HALF, 0)
    times = np.zeros(40)
    for seed in range(400):
        (tmp_path / "yardstick.json").unlink(missing_ok=True)
        for id_ in yardstick.draw(dataset, 5, seed, parts).ids:
            times[int(id_[1:])] += 1
    drawn = times[parts.indices("test")]
    assert drawn.sum() == 2000
    assert 60 < drawn.min() <= drawn.max() < 140  # 100 each, four deviations of about 9


def test_items_that_a_rule_dropped_are_drawn_too(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 50)
    test = split(dataset, HALF, 0).indices("test")
    dataset.ledger.append([Wanted(f"i{place}", "drop", by="rule") for place in test[::2]])
    parts = split(dataset, HALF, 0)
    assert len(parts.indices("test")) == 25
    assert len(yardstick.draw(dataset, 50, 0, parts).ids) == 50


@pytest.mark.parametrize("n", [0, 51])
def test_more_than_there_is_cannot_be_drawn(tmp_path: Path, n: int) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 50)
    with pytest.raises(ConfigError, match=f"has 50 items, and {n} were asked for"):
        yardstick.draw(dataset, n, 0, split(dataset, HALF, 0))
    assert yardstick.load(dataset) is None


def test_there_is_one_yardstick(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 50)
    made = yardstick.draw(dataset, 10, 0, split(dataset, HALF, 0))
    for seed, other in ((1, 0), (0, 1)):
        with pytest.raises(DatasetError, match="one yardstick"):
            yardstick.draw(dataset, 10, seed, split(dataset, HALF, other))
    assert yardstick.load(dataset) == made


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1, "n": 3}', '{"ids": 3}'])
def test_a_damaged_one_is_one_sentence(tmp_path: Path, text: str) -> None:
    dataset = labelled(tmp_path, ["a", "b"] * 50)
    (tmp_path / "yardstick.json").write_text(text)
    with pytest.raises(DatasetError, match=r"yardstick\.json is damaged"):
        yardstick.load(dataset)
