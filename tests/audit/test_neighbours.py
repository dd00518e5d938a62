"""Neighbours: as by comparing all pairs in float64, and nearly so through cells."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorgnette.audit import neighbours as module
from lorgnette.audit.neighbours import SHOWN, VOTERS, neighbours
from lorgnette.errors import DatasetError


def cosines(x: Any) -> Any:
    x = np.asarray(x, np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    found = x @ x.T
    np.fill_diagonal(found, -np.inf)
    return found


def ranked(row: Any, allowed: Any) -> list[int]:
    """Allowed items, the nearest first."""
    return [int(item) for item in np.argsort(-row, kind="stable") if allowed[item]]


def clustered(n: int, seed: int = 0, classes: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 12, n)
    x = rng.normal(size=(12, 16))[cluster] + 0.5 * rng.normal(size=(n, 16))
    labels = (cluster % classes).astype(np.int32)
    labels[rng.random(n) < 0.2] = -1
    return x.astype(np.float16), labels


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 90),
    long=st.sampled_from([1, 4, 32]),
    cell=st.sampled_from([7, 512]),
)
def test_all_pairs_as_by_hand(seed: int, n: int, long: int, cell: int) -> None:
    x, labels = clustered(n, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONG", max(long, VOTERS))
        patch.setattr(module, "CELL", cell)
        found = neighbours(x, labels, 3)
    assert found.exact
    table = cosines(x)
    for item in range(n):
        others = np.arange(n) != item
        mine = labels[item]
        nearest = ranked(table[item], others)
        assert found.closest[item].tolist() == (nearest + [-1] * SHOWN)[:SHOWN]
        expected = 1 - table[item][nearest[:SHOWN]]
        np.testing.assert_allclose(found.distances[item][: len(expected)], expected, atol=1e-6)
        assert np.isinf(found.distances[item][len(expected) :]).all()
        reach = 1 - table[item][nearest[:VOTERS][-1]] if nearest else 0
        assert found.reach[item] == pytest.approx(reach, abs=1e-6)
        known = others & (labels >= 0)
        voters = ranked(table[item], known)[:VOTERS]
        votes = np.bincount(labels[voters], minlength=3) / max(len(voters), 1)
        np.testing.assert_allclose(found.votes[item], votes, atol=1e-6)
        kinds = [known, known] if mine < 0 else [known & (labels == mine), known & (labels != mine)]
        for row, kind in enumerate(kinds):
            wanted = (ranked(table[item], kind) + [-1] * SHOWN)[:SHOWN]
            assert found.near[item, row].tolist() == wanted


@pytest.fixture
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EXACT", 100), ("CELL", 64), ("COMPARED", 600), ("SAMPLED", 1500)):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("small_cells")
def test_cells_find_nearly_all_and_the_same_each_time() -> None:
    x, labels = clustered(3000)
    found, again = (neighbours(x, labels, 3, seed=5) for _ in range(2))
    assert not found.exact
    for name in ("near", "closest", "distances", "reach", "votes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    table = cosines(x)
    best = np.argsort(-table, axis=1)[:, :SHOWN]
    hit = (found.closest[:, :, None] == best[:, None, :]).any(2)
    assert hit.mean() > 0.97
    same = labels[found.near[:, 0]] == labels[:, None]
    other = (labels[found.near[:, 1]] != labels[:, None]) & (labels[found.near[:, 1]] >= 0)
    known = labels >= 0
    assert (found.near >= 0).all()
    assert same[known].all()
    assert other[known].all()
    assert (labels[found.near[~known]] >= 0).all()
    assert (found.near != np.arange(3000)[:, None, None]).all()
    np.testing.assert_allclose(found.votes.sum(1), 1, atol=1e-6)


@pytest.mark.usefixtures("small_cells")
def test_a_rare_class_far_away_is_found_all_the_same() -> None:
    x, labels = clustered(2000)
    labels[labels == 2] = 0
    labels[[3, 700, 1500]] = 2
    x[[3, 700]] = -x[[700, 3]]
    found = neighbours(x, labels, 3)
    assert set(found.near[3, 0].tolist()) == {700, 1500, -1}
    assert (found.near[labels == 2, 1] >= 0).all()


@pytest.mark.usefixtures("small_cells")
def test_many_equal_items_are_compared_with_few() -> None:
    x = np.ones((5000, 8), np.float16)
    compared = [len(answering) for _, answering in module._pieces(x, 0)]
    assert max(compared) <= module.COMPARED
    found = neighbours(x, np.zeros(5000, np.int32), 1)
    assert (found.distances < 1e-6).all()
    assert (found.near[:, 0] >= 0).all()
    assert (found.near[:, 1] == -1).all()


@pytest.mark.usefixtures("small_cells")
def test_everyone_asks_once() -> None:
    x, _ = clustered(3000)
    asking = np.concatenate([asking for asking, _ in module._pieces(x, 0)])
    assert np.sort(asking).tolist() == list(range(3000))
    for own, answering in module._pieces(x, 0):
        assert np.isin(own, answering).all()
        assert (np.diff(answering) > 0).all()


def test_no_labels_and_no_items() -> None:
    x, _ = clustered(30)
    found = neighbours(x, np.full(30, -1, np.int32), 2)
    assert (found.near == -1).all()
    assert (found.votes == 0).all()
    assert (found.closest >= 0).all()
    nobody = neighbours(np.empty((0, 4), np.float16), np.empty(0, np.int32), 2)
    assert nobody.near.shape == (0, 2, 4)


def test_labels_must_fit() -> None:
    with pytest.raises(DatasetError, match=r"shape \(3, 2\) came with labels of shape \(2,\)"):
        neighbours(np.zeros((3, 2), np.float16), np.zeros(2, np.int32), 1)
