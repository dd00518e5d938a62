from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import DatasetError, SourceError
from lorgnette.training.statistics import Moments, _moments, feature_statistics, statistics

ENGINE = LocalEngine(1)


def table(path: Path, numbers: np.ndarray, labels: list[str] | None = None) -> SourceConfig:
    labels = labels or ["a" if n % 2 else "b" for n in range(len(numbers))]
    header = ",".join(f"v{k}" for k in range(numbers.shape[1]))
    rows = [
        ",".join("" if np.isnan(value) else repr(float(value)) for value in row) + f",{label}"
        for row, label in zip(numbers, labels, strict=True)
    ]
    path.write_text(f"{header},label\n" + "\n".join(rows) + "\n")
    return SourceConfig(location=str(path), features="v*")


def made(tmp_path: Path, numbers: np.ndarray, out: str = "data", **options: Any) -> Dataset:
    source = table(tmp_path / "a.csv", numbers)
    return prepare(source, str(tmp_path / out), PrepareConfig(**options), ENGINE, overwrite=True)


def numbers_of(n: int, features: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 2, (n, features)).astype(np.float32)


def test_vectors_are_stored_and_read_back(tmp_path: Path) -> None:
    numbers = numbers_of(300)
    dataset = made(tmp_path, numbers, shard_items=64)
    assert dataset.is_vectors
    assert dataset.info.features == ("v0", "v1", "v2", "v3", "v4")
    assert len(dataset.info.shards) == 5
    assert dataset.item_shape() == (5,)
    assert dataset.item_bytes() == 20
    some = np.array([299, 0, 64, 63, 64])
    np.testing.assert_array_equal(dataset.read(some), numbers[some])
    assert dataset.read(some).dtype == np.float32
    assert np.load(tmp_path / "data/shards/00000.npy").shape == (64, 5)
    assert Dataset.load(str(tmp_path / "data")).info == dataset.info
    assert dataset.info.labels == {"a": 150, "b": 150}


def test_prepared_twice_gives_the_same_bytes_and_notices_a_change(tmp_path: Path) -> None:
    source = table(tmp_path / "a.csv", numbers_of(200))
    settings = PrepareConfig(shard_items=64)
    for out in ("one", "two"):
        prepare(source, str(tmp_path / out), settings, ENGINE)
    for path in sorted((tmp_path / "one").rglob("*.npy")):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()
    (tmp_path / "one/dataset.json").unlink()
    (tmp_path / "one/shards/00001.parquet").unlink()  # as after a kill
    again = prepare(source, str(tmp_path / "one"), settings, ENGINE)
    assert again.info.counts["ok"] == 200
    text = (tmp_path / "a.csv").read_text().replace("\n", " \n", 3)
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DatasetError, match="made otherwise"):
        prepare(source, str(tmp_path / "one"), settings, ENGINE)
    narrower = source.model_copy(update={"features": "v0..v3"})
    with pytest.raises(DatasetError, match="the features"):
        prepare(narrower, str(tmp_path / "two"), settings, ENGINE)


def test_equal_vectors_are_duplicates(tmp_path: Path) -> None:
    numbers = numbers_of(10)
    numbers[7] = numbers[2]  # rows 9 and 4 of the file, labelled a and b
    dataset = made(tmp_path, numbers)
    assert dataset.info.counts["duplicate"] == 1
    assert dataset.info.conflicts == 1
    (text,) = dataset.rows(["error"], "duplicate")["error"].to_pylist()
    assert text.startswith("the same bytes as 4, which is labelled 'b'")
    assert len(dataset.read(np.arange(9))) == 9


class TestMissing:
    """A number that is not there."""

    @pytest.fixture
    def numbers(self) -> np.ndarray:
        numbers = numbers_of(130)
        numbers[70, 3] = np.nan
        return numbers

    def test_it_is_an_error_that_names_row_and_column(
        self, tmp_path: Path, numbers: np.ndarray
    ) -> None:
        with pytest.raises(SourceError, match=r"a\.csv row 72 has none in column 'v3'"):
            made(tmp_path, numbers)

    def test_infinity_is_no_number(self, tmp_path: Path) -> None:
        numbers = numbers_of(20)
        numbers[4, 1] = np.inf
        with pytest.raises(SourceError, match="row 6 has inf in column 'v1'"):
            made(tmp_path, numbers)

    def test_the_row_is_set_aside(self, tmp_path: Path, numbers: np.ndarray) -> None:
        dataset = made(tmp_path, numbers, missing="drop", shard_items=64)
        assert dataset.info.counts["ok"] == 129
        (row,) = dataset.rows(["path", "error"], "missing").to_pylist()
        assert row == {"path": "a.csv row 72", "error": "there is no number in column 'v3'"}
        np.testing.assert_array_equal(dataset.read(np.arange(129)), np.delete(numbers, 70, axis=0))

    def test_the_mean_of_the_training_part_stands_in(
        self, tmp_path: Path, numbers: np.ndarray
    ) -> None:
        import torch

        from lorgnette.model import standardise

        dataset = made(tmp_path, numbers, missing="mean")
        rows = np.arange(100)
        mean, deviation = feature_statistics(dataset, rows)
        np.testing.assert_allclose(mean, np.nanmean(numbers[:100].astype(float), axis=0))
        ready = standardise(
            torch.from_numpy(dataset.read(np.array([70]))),
            torch.tensor(mean),
            torch.tensor(deviation),
        )
        assert ready[0, 3] == 0
        assert torch.isfinite(ready).all()


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1e4, 1e-1), (-5e5, 3), (0, 1e-6)])
def test_standardisation_is_scikit_learns(tmp_path: Path, shift: float, scale: float) -> None:
    numbers = (numbers_of(5000, 4).astype(float) * scale + shift).astype(np.float32)
    numbers[:, 2] = 7.25  # without variation
    dataset = made(tmp_path, numbers, shard_items=700)
    kept = np.array(dataset.rows(["id"])["id"].to_pylist(), int) - 2
    rows = np.flatnonzero(np.arange(len(dataset)) % 3 > 0)
    mean, deviation = feature_statistics(dataset, rows)
    scaler = StandardScaler().fit(numbers[kept][rows].astype(np.float64))
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(deviation, scaler.scale_, rtol=1e-6)


def test_unit_leaves_vectors_as_they_are(tmp_path: Path) -> None:
    dataset = made(tmp_path, numbers_of(20, 3))
    assert statistics(dataset, np.arange(9), 0, "unit") == ((0.0,) * 3, (1.0,) * 3)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 10**6))
def test_moments_merge_to_those_of_all(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.uniform(-1e3, 1e3), 1, (size, 2)) for size in sizes]
    total = _moments(parts[0])
    for part in parts[1:]:
        total = Moments.merge(total, _moments(part))
    everything = np.concatenate(parts)
    np.testing.assert_allclose(total.mean, everything.mean(axis=0), rtol=1e-9, atol=1e-9)
    squares = ((everything - everything.mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(total.squares, squares, rtol=1e-7, atol=1e-7)
