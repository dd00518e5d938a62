"""Paired comparisons, against published examples and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lorgnette.evaluation.paired import compare, holm, newcombe, sign_test


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        # Newcombe 1998, table III, method 10.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((30, 0, 0, 0), -0.1135, 0.1135),
        ((54, 0, 0, 0), -0.0664, 0.0664),
    ],
)
def test_intervals_of_the_published_examples(
    cells: tuple[int, int, int, int], low: float, high: float
) -> None:
    assert newcombe(*cells) == pytest.approx((low, high), abs=2e-4)


def test_both_directions_mirror() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(200) < 0.9, rng.random(200) < 0.8
    ours, theirs = compare(first, second), compare(second, first)
    assert (ours.first, ours.second, ours.p) == (theirs.second, theirs.first, theirs.p)
    assert theirs.low is not None
    assert theirs.high is not None
    assert (ours.low, ours.high) == pytest.approx((-theirs.high, -theirs.low))
    assert ours.difference == pytest.approx(first.mean() - second.mean())


def test_groups_of_one_change_nothing_and_copies_prove_nothing() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(40) < 0.9, rng.random(40) < 0.6
    alone = compare(first, second)
    ones = compare(first, second, np.arange(40))
    assert (ones.p, ones.difference) == (alone.p, alone.difference)
    tenfold = compare(np.repeat(first, 10), np.repeat(second, 10), np.repeat(np.arange(40), 10))
    assert tenfold.p == alone.p
    assert (tenfold.low, tenfold.high) == pytest.approx((ones.low, ones.high))
    assert compare(np.repeat(first, 10), np.repeat(second, 10)).p < alone.p


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]
