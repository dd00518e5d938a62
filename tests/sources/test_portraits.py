import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skia
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, normaltest

from golden.make_portraits import PATH, checksums
from lorgnette.errors import ConfigError
from lorgnette.sources.portraits.draw import STYLES, Style, draw
from lorgnette.sources.portraits.latent import BLOCK, DECIMALS, DIMENSIONS, project, vectors
from lorgnette.sources.portraits.traits import NAMES, Traits
from lorgnette.sources.portraits.wearing import FRAMES, FREE_DIRECTION, share, wearing

MANY = vectors(3, 0, 30_000)
WORN = wearing(MANY)


def test_a_vector_depends_on_seed_and_number_alone() -> None:
    edge = vectors(5, BLOCK - 3, BLOCK + 4)
    assert edge.shape == (7, DIMENSIONS)
    assert edge.dtype == np.float32
    for number in range(7):
        alone = vectors(5, BLOCK - 3 + number, BLOCK - 2 + number)
        np.testing.assert_array_equal(alone[0], edge[number])
    assert vectors(5, 9, 9).shape == (0, DIMENSIONS)
    assert not np.array_equal(vectors(6, 0, 1), vectors(5, 0, 1))


def test_vectors_are_standard_normal_and_survive_being_written() -> None:
    assert normaltest(MANY[:, :20], axis=None).pvalue > 1e-4
    assert abs(float(MANY.mean())) < 0.001
    assert abs(float(MANY.std()) - 1) < 0.001
    written = np.array([f"{value:.{DECIMALS}f}" for value in MANY[0]]).astype(np.float32)
    np.testing.assert_array_equal(written, MANY[0])


def test_projections_are_independent_and_exact() -> None:
    seen = project(MANY, 0, FREE_DIRECTION + len(NAMES))
    covariance = np.cov(seen.T)
    assert abs(covariance - np.eye(len(covariance))).max() < 0.035
    # whole numbers are added up alike in any order
    single = np.concatenate([project(MANY[k : k + 1], 0, 9) for k in range(50)])
    np.testing.assert_array_equal(single, project(MANY[:50], 0, 9))


@given(st.floats(-8, 8))
def test_share_is_the_normal_distribution_function(value: float) -> None:
    assert float(share(np.array([value]))[0]) == pytest.approx(norm.cdf(value), abs=3e-7)


def test_as_many_wear_glasses_as_published() -> None:
    n = len(MANY)
    assert WORN.glasses.mean() == pytest.approx(0.558, abs=4 * math.sqrt(0.25 / n))
    assert WORN.undecidable.mean() == pytest.approx(0.0075, abs=4 * math.sqrt(0.0075 / n))
    assert set(WORN.frame) == {*FRAMES, "none"}
    assert ((WORN.frame == "none") == ~WORN.glasses).all()
    assert WORN.faintness.min() >= 0
    assert WORN.faintness.max() <= 1


def test_the_truth_is_not_linear_in_the_vector() -> None:
    """The best line through the two directions that matter errs where the border bends."""
    first, second = project(MANY, 0, 2).T
    angles = np.linspace(0, 2 * math.pi, 90)
    best = 0.0
    for angle in angles:
        score = math.cos(angle) * first + math.sin(angle) * second
        for border in np.quantile(score, np.linspace(0.3, 0.6, 16)):
            best = max(best, float(((score > border) == WORN.glasses).mean()))
    assert 0.8 < best < 0.92


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [16, 33, 300])
def test_a_portrait_has_its_size_and_is_drawn_alike_each_time(style: Style, size: int) -> None:
    picture = draw(MANY[0], size, style)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 15
    np.testing.assert_array_equal(picture, draw(MANY[0], size, style))
    assert not np.array_equal(picture, draw(MANY[1], size, style))


def test_another_process_draws_the_same() -> None:
    code = (
        "import hashlib; from lorgnette.sources.portraits.latent import vectors;"
        "from lorgnette.sources.portraits.draw import draw;"
        "print(hashlib.sha256(draw(vectors(3, 7, 8)[0], 64).tobytes()).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


def test_portraits_are_the_same_on_every_machine() -> None:
    golden = json.loads(Path(PATH).read_text())
    if skia.__version__ != golden["skia"]:
        pytest.skip(f"the checksums are those of Skia {golden['skia']}, not {skia.__version__}")
    assert checksums() == golden["sha256"]


def test_glasses_show_and_faint_ones_show_less() -> None:
    """The same person with and without: the difference lies around the eyes, and fades."""

    def worn(vector: np.ndarray, inclination: float, contrast: float) -> np.ndarray:
        # Along the directions of the inclinations, the frame's contrast and its kind (thick).
        changed = vector.astype(np.float64)
        wished = np.array([inclination, inclination, -0.45, contrast])
        directions = project(np.eye(DIMENSIONS), 0, 4)
        changed = changed + directions @ (wished - project(vector[None], 0, 4)[0])
        return np.asarray(np.round(changed, DECIMALS))

    differences = []
    for vector in MANY[:12]:
        bare = draw(worn(vector, -3, -3), 96, "comic").astype(float)
        for contrast in (-3, 2.5):
            dressed = worn(vector, 3, contrast)
            assert wearing(dressed[None]).frame[0] == "thick"
            change = abs(draw(dressed, 96, "comic").astype(float) - bare).mean(axis=2)
            differences.append(change[28:64].mean())
            assert change[75:].mean() < 0.3 * change[28:64].mean() + 1
    bold, faint = np.array(differences).reshape(-1, 2).T
    assert (bold > 1.4 * faint).all()
    assert faint.min() > 0.2


def test_no_colour_gives_the_glasses_away() -> None:
    pictures = np.stack([draw(vector, 32) for vector in MANY[:1500]])
    colours = pictures.mean(axis=(1, 2))
    for channel in range(3):
        with_glasses = colours[WORN.glasses[:1500], channel]
        without = colours[~WORN.glasses[:1500], channel]
        assert abs(with_glasses.mean() - without.mean()) < 0.2 * colours[:, channel].std()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 6), st.sampled_from(STYLES))
def test_any_vector_can_be_drawn(seed: int, spread: float, style: Style) -> None:
    vector = np.random.default_rng(seed).standard_normal(DIMENSIONS) * spread
    assert draw(vector, 40, style).shape == (40, 40, 3)


def test_zeros_can_be_drawn() -> None:
    assert draw(np.zeros(DIMENSIONS), 64).std() > 5


@pytest.mark.parametrize(
    ("vector", "size", "style", "sentence"),
    [
        (np.zeros(511), 64, "photo", r"512 finite numbers, not of an array of shape \(511,\)"),
        (np.full(512, np.nan), 64, "photo", "finite"),
        (np.zeros(512), 8, "photo", "16 to 4096 pixels"),
        (np.zeros(512), 9999, "photo", "16 to 4096 pixels"),
        (np.zeros(512), 64, "comics", "did you mean 'comic'"),
    ],
)
def test_bad_requests(vector: np.ndarray, size: int, style: Style, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        draw(vector, size, style)


def test_traits() -> None:
    traits = Traits(MANY[0])
    assert traits.between("jaw", 2, 4) == 2 + 2 * traits.share("jaw")
    assert -2 <= traits.normal("yaw", 2.0) <= 2
    assert traits.pick("scene", [("only", 1.0)]) == "only"
    counts = [Traits(vector).pick("hair", [("a", 1), ("b", 3)]) for vector in MANY[:2000]]
    assert counts.count("b") / 2000 == pytest.approx(0.75, abs=0.05)
    assert sum(Traits(vector).has("hat", 0.1) for vector in MANY[:2000]) == pytest.approx(
        200, abs=60
    )
    assert len(set(NAMES)) == len(NAMES)
    assert FREE_DIRECTION + len(NAMES) <= DIMENSIONS
