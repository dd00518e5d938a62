import math

import numpy as np
import pytest

from lorgnette.errors import ConfigError
from lorgnette.sources.portraits.latent import vectors
from lorgnette.sources.portraits.noise import LIMITS, Bools, NoiseKind, label_noise, toss
from lorgnette.sources.portraits.wearing import Wearing, wearing

SEED = 3
N = 50_000
KINDS: list[NoiseKind] = ["picture", "symmetric", "class"]


@pytest.fixture(scope="module")
def truth() -> Wearing:
    return wearing(vectors(SEED, 0, N))


def wrong(truth: Wearing, rate: float, kind: NoiseKind) -> Bools:
    """Which of the decidable have a wrong label."""
    errors: Bools = label_noise(rate, kind).given(SEED, 0, truth) != truth.glasses
    return errors[~truth.undecidable]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.2])
def test_the_rate_is_the_share_of_wrong_labels(
    truth: Wearing, kind: NoiseKind, rate: float
) -> None:
    share = wrong(truth, rate, kind).mean()
    assert abs(share - rate) < 4 * math.sqrt(rate / N) + 0.01 * rate


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_every_label_is_true(truth: Wearing, kind: NoiseKind) -> None:
    assert not wrong(truth, 0.0, kind).any()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_called_wrongly_more_often_than_rightly(truth: Wearing, kind: NoiseKind) -> None:
    chance = label_noise(LIMITS[kind] - 0.01, kind).chance(truth)
    assert chance.min() >= 0
    assert chance.max() <= 0.5


def test_classes_err_as_the_published_labels_do(truth: Wearing) -> None:
    given = label_noise(0.1, "class").given(SEED, 0, truth)
    assert given.sum() / (~given).sum() == pytest.approx(1.74, abs=0.06)
    errors = (given != truth.glasses) & ~truth.undecidable
    without, with_glasses = errors[~truth.glasses].mean(), errors[truth.glasses].mean()
    assert without == pytest.approx(0.200, abs=0.01)
    assert with_glasses == pytest.approx(0.021, abs=0.004)


def test_pictures_that_are_hard_to_tell_are_called_wrongly(truth: Wearing) -> None:
    errors = wrong(truth, 0.1, "picture")
    faintness = truth.faintness[~truth.undecidable]
    fifths = [part.mean() for part in np.array_split(errors[np.argsort(faintness)], 5)]
    assert fifths == sorted(fifths)
    assert fifths[0] < 0.001
    assert fifths[-1] > 0.25
    share_of_faint = errors[faintness > np.quantile(faintness, 0.8)].sum() / errors.sum()
    assert share_of_faint > 0.5


def test_symmetric_noise_looks_at_nothing(truth: Wearing) -> None:
    errors = wrong(truth, 0.1, "symmetric")
    for group in (truth.glasses, truth.faintness > 0.5):
        assert errors[group[~truth.undecidable]].mean() == pytest.approx(0.1, abs=0.008)


@pytest.mark.parametrize("kind", KINDS)
def test_more_noise_keeps_the_wrong_labels_of_less(truth: Wearing, kind: NoiseKind) -> None:
    few, many = wrong(truth, 0.05, kind), wrong(truth, 0.2, kind)
    assert few.sum() < many.sum()
    assert not (few & ~many).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_depends_on_seed_and_number_alone(truth: Wearing, kind: NoiseKind) -> None:
    noise = label_noise(0.2, kind)
    whole = noise.given(SEED, 0, truth)
    for start, stop in ((0, 1), (1000, 3000), (1023, 1025), (2048, 3072)):
        part = Wearing._make(values[start:stop] for values in truth)
        assert (noise.given(SEED, start, part) == whole[start:stop]).all()
    assert (noise.given(SEED + 1, 0, truth) != whole).any()


def test_the_undecidable_are_given_what_a_coin_says(truth: Wearing) -> None:
    glasses = truth.glasses[truth.undecidable]
    given = label_noise(0.0, "picture").given(SEED, 0, truth)[truth.undecidable]
    assert given.mean() == pytest.approx(0.5, abs=0.1)
    assert (given == glasses).mean() == pytest.approx(0.5, abs=0.1)
    for kind in KINDS:  # at every rate the same
        assert (label_noise(0.2, kind).given(SEED, 0, truth)[truth.undecidable] == given).all()


def test_coins_are_none_of_the_vectors_numbers() -> None:
    coins = toss(SEED, 0, 1024)
    drawn = np.random.default_rng([SEED, 0]).random(1024)
    assert not np.isin(coins, drawn).any()
    assert coins.mean() == pytest.approx(0.5, abs=0.05)
    assert toss(SEED, 5, 5).shape == (0,)


@pytest.mark.parametrize(
    ("rate", "kind", "message"),
    [
        (-0.1, "symmetric", "at least 0 and below 0.5, got -0.1"),
        (0.5, "symmetric", "at least 0 and below 0.5, got 0.5"),
        (0.3, "class", "'class' must be at least 0 and below 0.25, got 0.3"),
        (0.45, "picture", "at least 0 and below 0.45, got 0.45"),
        (math.nan, "picture", "got nan"),
        (0.1, "pictures", "did you mean 'picture'"),
    ],
)
def test_noise_that_cannot_be_is_refused(rate: float, kind: NoiseKind, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        label_noise(rate, kind)
