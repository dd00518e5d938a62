"""Intervals against naive twins, published figures and their own definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorgnette.evaluation import intervals

shares = st.floats(0, 1)
sizes = st.integers(1, 10**6)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])


def test_quantiles() -> None:
    assert intervals.z_score(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert intervals.t_score(0.95, 4) == pytest.approx(2.776445, abs=1e-6)


def test_wilson_gives_newcombes_published_figures() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
    assert intervals.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert intervals.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert intervals.wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(shares, sizes, confidences)
def test_wilson_solves_its_equation_and_has_width(p: float, n: int, confidence: float) -> None:
    low, high = intervals.wilson(p, n, confidence)
    assert 0 <= low <= p <= high <= 1
    assert high > low
    for limit in (low, high):
        if 0 < limit < 1:
            z = intervals.z_score(confidence)
            assert abs(p - limit) == pytest.approx(
                z * np.sqrt(limit * (1 - limit) / n), rel=1e-4, abs=1e-9
            )


@given(shares, st.integers(1, 10**5), st.integers(1, 10**5), confidences)
def test_roc_auc_solves_its_equation_and_has_width(
    auc: float, positives: int, negatives: int, confidence: float
) -> None:
    low, high = intervals.roc_auc(auc, positives, negatives, confidence)
    assert 0 <= low <= auc <= high <= 1
    assert high > low
    z = intervals.z_score(confidence)
    for limit in (low, high):
        if 1e-6 < limit < 1 - 1e-6:
            spread = z * np.sqrt(intervals.roc_auc_variance(limit, positives, negatives))
            assert abs(auc - limit) == pytest.approx(spread, rel=1e-3, abs=1e-7)


def test_roc_auc_variance_is_that_of_exponential_scores() -> None:
    # With equal sizes Newcombe's N* is Hanley and McNeil's n - 1, which is exact for exponential
    # scores: those of the class have the mean `A / (1 - A)` times that of the others.
    generator = np.random.default_rng(0)
    auc, n = 0.8, 40
    areas = []
    for _ in range(2000):
        others = generator.exponential(1.0, n)
        members = generator.exponential(auc / (1 - auc), n)
        areas.append(float((members[:, None] > others).mean()))
    assert np.mean(areas) == pytest.approx(auc, abs=0.005)
    assert np.var(areas) == pytest.approx(intervals.roc_auc_variance(auc, n, n), rel=0.12)


def test_mover_of_equal_parts() -> None:
    estimates, lows, highs = np.full(4, 0.8), np.full(4, 0.7), np.full(4, 0.86)
    assert intervals.mover(estimates, lows, highs) == pytest.approx((0.75, 0.83))
    assert intervals.mover(estimates, lows, highs, np.ones((4, 4))) == pytest.approx((0.7, 0.86))


def test_mean_without_groups_is_the_textbooks() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    error = values.std(ddof=1) / 2
    t = intervals.t_score(0.95, 3)
    assert intervals.mean(values) == pytest.approx((3.5 - t * error, 3.5 + t * error))
    assert intervals.mean(values[:1]) is None
    assert intervals.mean(values, np.zeros(4, dtype=np.int64)) is None


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 4)), min_size=3, max_size=40))
def test_variance_of_mean_agrees_with_a_naive_twin(pairs: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in pairs])
    groups = np.array([group for _, group in pairs])
    names = set(groups.tolist())
    if len(names) < 2:
        return
    mean = sum(values) / len(values)
    squares = sum(
        sum(v - mean for v, g in zip(values, groups, strict=True) if g == name) ** 2
        for name in names
    )
    naive = len(names) / (len(names) - 1) * squares / len(values) ** 2
    assert intervals.variance_of_mean(values, groups) == pytest.approx(naive, abs=1e-12)


def test_design_effect_at_its_bounds() -> None:
    right = np.ones(12, dtype=bool)
    some = np.array([True, False] * 6)
    whole = np.repeat([True, True, False, True], 3)
    alone, threes = np.arange(12), np.repeat(np.arange(4), 3)
    assert intervals.design_effect(some, None) == 1
    assert intervals.design_effect(some, alone) == 1
    assert intervals.design_effect(right, threes) == 3  # four groups are four items
    assert intervals.design_effect(whole, threes) == 3  # a group is worth at least one item
    assert intervals.design_effect(some, np.zeros(12, dtype=np.int64)) == 12
    assert intervals.design_effect(some, np.repeat(np.arange(6), 2)) == 1  # all groups alike


@pytest.mark.parametrize("within", [0.0, 0.3, 0.7])
def test_grouped_intervals_cover(within: float) -> None:
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 10)
    hits = plain = 0
    for _ in range(400):
        shared = np.sqrt(within) * generator.normal(size=(40, 1))
        own = np.sqrt(1 - within) * generator.normal(size=(40, 10))
        correct = (shared + own < 1.2815516).ravel()  # nine of ten are right
        n = len(correct)
        effect = intervals.design_effect(correct, groups)
        low, high = intervals.wilson(float(correct.mean()), n / effect)
        hits += low <= 0.9 <= high
        low, high = intervals.wilson(float(correct.mean()), n)
        plain += low <= 0.9 <= high
    assert hits / 400 > 0.91
    if within > 0.5:
        assert plain / 400 < 0.75  # what ignoring the groups would have claimed
