"""The best of many, corrected: against the truth where it is known, and by hand."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from lorgnette.evaluation.optimism import best_of

ACCURACY, TRIALS, ITEMS, STUDIES = 0.85, 40, 300, 30


@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_of_equally_good_trials_the_best_is_lucky_and_the_correction_finds_the_truth(
    shared: float,
) -> None:
    random = np.random.default_rng(7)
    naive, corrected, covered = [], [], 0
    for seed in range(STUDIES):
        # Items are hard for all trials alike to the degree that `shared` says.
        common, own = random.normal(size=ITEMS), random.normal(size=(TRIALS, ITEMS))
        ease = math.sqrt(shared) * common + math.sqrt(1 - shared) * own
        found = best_of(ease < ndtri(ACCURACY), seed=seed, rounds=200)
        assert found is not None
        naive.append(found.value)
        corrected.append(found.corrected)
        covered += found.low <= ACCURACY <= found.high
    error = float(np.std(corrected, ddof=1)) / math.sqrt(STUDIES)
    assert np.mean(naive) > ACCURACY + 0.02
    assert np.mean(corrected) == pytest.approx(ACCURACY, abs=3 * error)
    assert abs(np.mean(corrected) - ACCURACY) < (np.mean(naive) - ACCURACY) / 4
    assert covered >= 0.9 * STUDIES


def test_a_trial_that_is_far_better_owes_nothing_to_luck() -> None:
    random = np.random.default_rng(1)
    correct = random.random((30, 500)) < 0.6
    correct[11] = random.random(500) < 0.95
    found = best_of(correct)
    assert found is not None
    assert found.value == pytest.approx(correct[11].mean())
    assert found.corrected == pytest.approx(found.value, abs=0.003)
    assert (found.trials, found.items) == (30, 500)


def test_without_a_choice_there_is_nothing_to_correct() -> None:
    correct = np.random.default_rng(2).random((1, 400)) < 0.8
    found = best_of(correct, rounds=4000)
    assert found is not None
    assert found.corrected == pytest.approx(found.value, abs=0.002)
    assert found.low < found.value < found.high


def test_groups_are_drawn_whole() -> None:
    random = np.random.default_rng(3)
    single = random.random((12, 60)) < 0.7
    # Five copies of every item say no more than one does, if it is known that they are copies.
    copies, groups = np.repeat(single, 5, axis=1), np.repeat([f"g{n:02d}" for n in range(60)], 5)
    alone, together = best_of(single, seed=5), best_of(copies, groups, seed=5)
    assert alone is not None
    assert together is not None
    assert together[:4] == pytest.approx(alone[:4])
    assert together.items == 300
    blind = best_of(copies, seed=5)
    assert blind is not None
    assert blind.high - blind.low < (alone.high - alone.low) / 1.8
    # Groups may be mixed up and of different sizes.
    order = random.permutation(300)
    mixed = best_of(copies[:, order], groups[order], seed=5)
    assert mixed == pytest.approx(together)


def test_by_hand_with_two_items() -> None:
    # Each trial knows one item. A round that draws one item alone chooses the trial that knows it
    # and measures it on the other, of which it knows nothing; other rounds leave nothing over.
    found = best_of(np.eye(2, dtype=bool), rounds=100)
    assert found is not None
    assert found.value == 0.5
    assert (found.corrected, found.low, found.high) == (0, 0, 0)


def test_losses_and_shares_are_means_too() -> None:
    random = np.random.default_rng(4)
    losses = random.exponential(0.5, (25, 200))
    found = best_of(-losses)
    assert found is not None
    assert -found.value == pytest.approx(losses.mean(axis=1).min(), rel=1e-5)
    assert -found.corrected > -found.value
    assert -found.corrected == pytest.approx(0.5, abs=0.08)


def test_the_same_seed_gives_the_same_figures() -> None:
    correct = np.random.default_rng(6).random((9, 80)) < 0.7
    assert best_of(correct, seed=1) == best_of(correct, seed=1)
    assert best_of(correct, seed=1) != best_of(correct, seed=2)


def test_what_cannot_be_left_out_cannot_correct() -> None:
    assert best_of(np.ones((3, 1), bool)) is None
    assert best_of(np.ones((3, 8), bool), np.zeros(8, np.int64)) is None
    assert best_of(np.ones((0, 8), bool)) is None
    with pytest.raises(ValueError, match="codes of groups"):
        best_of(np.ones((3, 8), bool), np.zeros(7))
