"""Outliers: planted ones are flagged and none of a clean collection."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lorgnette.audit import outliers
from lorgnette.audit.neighbours import neighbours
from lorgnette.audit.outliers import Outliers, exceedance, find_outliers, judge, measure_pixels
from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import DatasetError
from lorgnette.evaluation.hidden import embed
from lorgnette.sources.portraits.draw import draw
from lorgnette.sources.portraits.latent import vectors
from lorgnette.storage import Storage

SIZE = 64


def text(seed: int) -> Image.Image:
    image = Image.new("RGB", (128, 128), "white")
    pen = ImageDraw.Draw(image)
    letters = np.random.default_rng(seed).integers(97, 123, (11, 20))
    for row, line in enumerate(letters):
        pen.text((4, 4 + 11 * row), "".join(map(chr, line)), fill="black")
    return image.resize((SIZE, SIZE))


def foreign() -> dict[str, Image.Image]:
    """Ten pictures that are no portraits."""
    rng = np.random.default_rng(8)
    uniform = [rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8) for _ in range(2)]
    normal = rng.normal(128, 35, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
    found = {f"noise{n}": Image.fromarray(x) for n, x in enumerate([*uniform, normal])}
    found |= {f"text{n}": text(n) for n in range(3)}
    colours = ("white", "black", "teal", "gray")
    return found | {f"flat{n}": Image.new("RGB", (SIZE, SIZE), c) for n, c in enumerate(colours)}


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("portraits")
    (root / "a").mkdir()
    for number, vector in enumerate(vectors(31, 0, 500)):
        Image.fromarray(draw(vector, SIZE)).save(root / f"a/{number:03d}.png", compress_level=1)
    return root


def judged(source: Path, out: Path) -> tuple[Dataset, Outliers]:
    settings = PrepareConfig(size=(SIZE,), shard_items=100)
    dataset = prepare(SourceConfig(location=str(source)), str(out), settings, LocalEngine(1))
    near = neighbours(embed(None, dataset, Storage.at(str(out))), dataset.labels(), 1)
    return dataset, find_outliers(dataset, near, LocalEngine(1))


def test_planted_outliers_and_no_false_alarm(portraits: Path, tmp_path: Path) -> None:
    _, clean = judged(portraits, tmp_path / "clean")
    assert not clean.flagged.any()
    assert clean.reason == {}
    names = {f"zz-{name}" for name in foreign()}
    for name, image in foreign().items():
        image.save(portraits / f"a/zz-{name}.png")
    dataset, found = judged(portraits, tmp_path / "planted")
    ids = [
        id_.removeprefix("a/").removesuffix(".png")
        for id_ in dataset.rows(["id"])["id"].to_pylist()
    ]
    flagged = {ids[place] for place in np.flatnonzero(found.flagged)}
    assert flagged == names
    assert {ids[place] for place in found.reason} == names
    odd = np.array([id_ in names for id_ in ids])
    assert found.score[odd].min() > 0.97
    assert found.score.min() >= 0
    assert found.score.max() < 1


def test_shards_through_the_engine_give_the_same(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = outliers._pixels(dataset, LocalEngine(1))
    monkeypatch.setattr(outliers, "ALONE", 0)
    np.testing.assert_array_equal(outliers._pixels(dataset, LocalEngine(1)), alone)


def test_the_tail_is_as_its_formula_says() -> None:
    values = np.random.default_rng(0).permutation(np.linspace(0, 1, 1001))
    found = np.exp(-exceedance(values, 1e-9))
    assert found[np.argsort(values)[500]] == pytest.approx(0.5)
    assert found[np.argsort(values)[900]] == pytest.approx(0.1)
    assert (np.diff(found[np.argsort(values)]) < 0).all()


def test_one_other_shape_among_equal_ones_is_odd() -> None:
    aspect = np.zeros(300)
    aspect[7] = np.log(4)
    found = judge({"aspect": aspect}, {"aspect": (-1, 1)})
    assert found.reason == {7: "aspect"}
    assert found.score[7] == pytest.approx(299 / 300)
    aspect[7] = 0.05  # a few pixels more are nothing
    assert not judge({"aspect": aspect}, {"aspect": (-1, 1)}).flagged.any()


def test_clean_numbers_give_few_false_alarms() -> None:
    alarms = 0
    for seed in range(40):
        x = np.random.default_rng(seed).normal(size=(2, 1000))
        alarms += judge(
            {"contrast": x[0], "grain": x[1]}, {"contrast": (-1, 1), "grain": (1,)}
        ).flagged.sum()
    assert alarms <= 40


def test_few_items_and_none() -> None:
    x = np.array([0.0, 1, 2, 3, 1000])
    assert not judge({"contrast": x}, {"contrast": (1,)}).flagged.any()
    nothing = judge({"contrast": np.empty(0)}, {"contrast": (1,)})
    assert nothing.score.shape == (0,)


def test_pixels_by_hand() -> None:
    blank = np.full((1, 8, 8, 3), 100, np.uint8)
    stripes = np.zeros((1, 8, 8, 1), np.uint8)
    stripes[:, ::2] = 200
    np.testing.assert_allclose(
        measure_pixels(blank)[0], [np.log(2), 100, np.log(1 / 2), 1, np.log(4)], atol=1e-3
    )
    # of 112 pairs of neighbours the 56 above each other differ by 200
    np.testing.assert_allclose(
        measure_pixels(stripes)[0], [np.log(102), 100, np.log(101 / 102), 0.5, np.log(4)], atol=1e-3
    )


def test_neighbours_of_other_items_are_refused(dataset: Dataset) -> None:
    near = neighbours(np.eye(3, dtype=np.float16), np.zeros(3, np.int32), 1)
    with pytest.raises(DatasetError, match="has 120 and the neighbours are of 3"):
        find_outliers(dataset, near, LocalEngine(1))
