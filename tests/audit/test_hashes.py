"""Near hashes: as by comparing all pairs, and in bounds where hashes crowd."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorgnette.audit import hashes
from lorgnette.audit.hashes import Near, clusters, linked, near
from lorgnette.errors import ConfigError


def planted(seed: int, n: int, most: int) -> Any:
    """Random hashes, of which the second half differs from the first in 0 to `most` bits."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2**64, n, np.uint64)
    second = first.copy()
    for row in range(n):
        for bit in rng.choice(64, rng.integers(0, most + 1), replace=False):
            second[row] ^= np.uint64(1) << np.uint64(bit)
    return np.concatenate([first, second])


def naive(values: Any, radius: int) -> Any:
    """All pairs of different hashes, compared."""
    distinct = np.unique(values)
    bits = np.bitwise_count(distinct[:, None] ^ distinct[None])
    left, right = np.nonzero(np.triu(bits <= radius, 1))
    return left, right, bits[left, right]


def check(found: Near, values: Any, radius: int) -> None:
    left, right, bits = naive(values, radius)
    assert found.radius == radius
    np.testing.assert_array_equal(found.left, left)
    np.testing.assert_array_equal(found.right, right)
    np.testing.assert_array_equal(found.bits, bits)
    np.testing.assert_array_equal(found.distinct[found.of], values)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 120),
    most=st.integers(0, 20),
    radius=st.integers(0, 11),
    parts=st.sampled_from([3, 4, 6]),
    crowded=st.sampled_from([0, 3, 64]),
)
def test_every_pair_within_the_radius_is_found(
    seed: int, n: int, most: int, radius: int, parts: int, crowded: int
) -> None:
    values = planted(seed, n, most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "_parts", lambda _: parts)
        patch.setattr(hashes, "PIECE", 1)
        patch.setattr(hashes, "CROWDED", crowded)
        radius = min(radius, 8) if parts == 3 else radius  # three parts have thousands of patterns
        check(near(values, radius, nearest=None), values, radius)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(0, 2**10 - 1), max_size=80),
    radius=st.integers(0, 8),
    crowded=st.sampled_from([0, 3, 64]),
    cells=st.sampled_from([1, 50, 10_000]),
)
def test_crowded_hashes_likewise(values: list[int], radius: int, crowded: int, cells: int) -> None:
    array = np.array(values, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "CROWDED", crowded)
        patch.setattr(hashes, "CELLS", cells)
        check(near(array, radius, nearest=None), array, radius)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), nearest=st.integers(1, 6))
def test_the_nearest_pairs_of_each_are_kept(seed: int, nearest: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**9, 60, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "PIECE", 16)
        found = near(values, 6, nearest=nearest)
    pairs = {(a, b) for a, b in zip(found.left.tolist(), found.right.tolist(), strict=True)}
    assert len(pairs) == len(found.left)
    left, right, bits = naive(values, 6)
    for place in range(len(found.distinct)):
        mine = np.sort(bits[(left == place) | (right == place)])[:nearest]
        kept = np.sort(found.bits[(found.left == place) | (found.right == place)])[:nearest]
        np.testing.assert_array_equal(kept, mine)


def test_equal_hashes_are_one_cluster_and_no_pairs() -> None:
    found = near(np.zeros(1_000_000, np.uint64))
    assert len(found.distinct) == 1
    assert not len(found.left)
    assert (clusters(found) == 0).all()


def test_where_hashes_crowd_the_radius_shrinks() -> None:
    values = np.random.default_rng(0).integers(0, 2**16, 6000, np.uint64)
    found = near(values, 8, budget=20_000_000)
    assert 0 < found.radius < 8
    check(near(values[:2000], found.radius, nearest=None), values[:2000], found.radius)
    assert near(values, 8, budget=1).radius == 0


def test_comparisons_are_counted_exactly() -> None:
    values = np.unique(np.random.default_rng(0).integers(0, 2**20, 300, np.uint64))
    keys = [hashes._part(values, 4, part) for part in range(4)]
    expected = 0.0
    for part in range(4):
        differ = np.bitwise_count(keys[part][:, None] ^ keys[part][None])
        expected += (differ <= hashes._flips(4, part, 6)).sum() / 2
    assert hashes._comparisons(keys, 6) == round(expected)


def test_clusters_are_numbered_in_the_order_of_their_first_items() -> None:
    far = np.uint64(0xFFFF0000FFFF0000)
    values = np.array([7, far, 1 << 40, 3, 7, far ^ np.uint64(1)], np.uint64)
    assert clusters(near(values, 1)).tolist() == [0, 1, -1, 0, 0, 1]
    assert linked(3, np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == [-1, -1, -1]


def test_chains_are_one_cluster() -> None:
    values = np.array([0b0, 0b11, 0b1111, 0b111111], np.uint64)
    assert clusters(near(values, 2)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("radius", [-1, 12])
def test_radius_is_bounded(radius: int) -> None:
    with pytest.raises(ConfigError, match=f"from 0 to 11 bits, got {radius}"):
        near(np.zeros(2, np.uint64), radius)
