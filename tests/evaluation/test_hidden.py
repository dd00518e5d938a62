"""Embeddings: standardised, as principal components where wide, whole files."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.devices import choose
from lorgnette.engines.local import LocalEngine
from lorgnette.evaluation import hidden
from lorgnette.evaluation.hidden import embed, hidden_pieces, to_vectors
from lorgnette.model import Model, ModelSpec
from lorgnette.models import build
from lorgnette.resolve import load
from lorgnette.storage import Storage


def model_of(dataset: Dataset) -> Model:
    import torch

    torch.manual_seed(0)
    settings = load().model
    spec = ModelSpec(
        model=settings,
        classes=dataset.info.classes,
        size=24,
        color="rgb",
        fit=dataset.info.prepare.fit,
        mean=(127.0,) * 3,
        deviation=(60.0,) * 3,
    )
    return Model.of(spec, build(settings, spec.input_shape, 2), choose("cpu", "float32"))


def cosines(x: np.ndarray) -> np.ndarray:
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x @ x.T)


def standard(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    deviation = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(deviation > 0, deviation, np.inf))


def test_small_pictures_as_principal_components(dataset: Dataset, tmp_path: Path) -> None:
    found = embed(None, dataset, Storage.at(str(tmp_path)))
    assert found.shape == (120, 128)
    assert found.dtype == np.float16
    x = standard(to_vectors(dataset.read(np.arange(120))))
    wanted = PCA(119).fit_transform(x)  # as many as 120 items have
    np.testing.assert_allclose(np.abs(found[:, :5]), np.abs(wanted[:, :5]), rtol=0.01, atol=0.02)
    np.testing.assert_allclose(cosines(found.astype(float)), cosines(wanted), atol=2e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings.npy"]


def test_pieces_do_not_matter(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.array(embed(None, dataset, Storage.at(str(tmp_path / "a"))), np.float32)
    monkeypatch.setattr(hidden, "PIECE", 7)
    parts = np.array(embed(None, dataset, Storage.at(str(tmp_path / "b"))), np.float32)
    np.testing.assert_allclose(cosines(parts), cosines(whole), atol=1e-3)


def test_wide_vectors_keep_their_angles(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = np.array(embed(None, dataset, Storage.at(str(tmp_path))), np.float64)
    monkeypatch.setattr(hidden, "WIDEST", 400)
    rough, again = (
        np.array(embed(None, dataset, Storage.at(str(tmp_path)), seed=1), np.float64)
        for _ in range(2)
    )
    np.testing.assert_array_equal(rough, again)
    off = ~np.eye(120, dtype=bool)
    assert np.corrcoef(cosines(rough)[off], cosines(exact)[off])[0, 1] > 0.9


def test_the_last_hidden_layer_is_streamed(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(dataset)
    rows = np.arange(120)
    (whole,) = hidden_pieces(model, dataset, rows)
    monkeypatch.setattr(hidden, "PIECE", 50)
    pieces = list(hidden_pieces(model, dataset, rows))
    assert [len(piece) for piece in pieces] == [50, 50, 20]
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-3, atol=1e-4)
    assert whole.shape[0] == 120
    found = embed(model, dataset, Storage.at(str(tmp_path)))
    assert found.shape == (120, min(128, whole.shape[1]))
    np.testing.assert_allclose(cosines(found.astype(float)), cosines(standard(whole)), atol=0.05)


def test_vectors_are_standardised_and_gaps_are_means(tmp_path: Path) -> None:
    rows = [f"v{n},{n % 2},{n * 1000 if n % 5 else ''},{n % 11},4" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["id,label,big,small,flat", *rows]))
    dataset = prepare(
        SourceConfig(location=str(tmp_path / "t.csv"), features="big,small,flat"),
        str(tmp_path / "out"),
        PrepareConfig(missing="mean"),
        LocalEngine(1),
    )
    found = embed(None, dataset, Storage.at(str(tmp_path / "out")), "other.npy").astype(float)
    assert found.shape == (40, 3)
    np.testing.assert_allclose(found.std(axis=0), [1, 1, 0], atol=1e-3)
    np.testing.assert_allclose(found[::5, 0], 0, atol=1e-2)


@pytest.mark.s3
def test_embeddings_on_an_object_store(dataset: Dataset, s3_bucket: str) -> None:
    storage = Storage.at(s3_bucket)
    found = embed(None, dataset, storage)
    assert found.shape == (120, 128)
    assert storage.names() == ["embeddings.npy"]
