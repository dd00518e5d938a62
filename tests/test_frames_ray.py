"""Datasets of Ray in and out; what holds for frames at large is tested with Spark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from documented import documented
from lorgnette import frames
from lorgnette.config import EngineConfig, PrepareConfig
from lorgnette.dataset.store import Dataset
from lorgnette.errors import DatasetError, SourceError, StorageError
from lorgnette.resolve import load
from pictures import folder_of

pytestmark = [
    pytest.mark.ray,
    # Ray announces what will change in its own releases to come
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    # sockets and logs of Ray's processes are left to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SMALL = PrepareConfig(size=(16,), shard_items=16)
LOCAL = EngineConfig(workers=2)
SETTINGS = ["train.epochs=2", "split.train=0.6", "split.val=0.2", "split.test=0.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("ray") / "files", 20)


@pytest.fixture(scope="module")
def images(ray_cluster: Any, folder: Path) -> Any:
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = sorted(folder.rglob("*.png"))
    rows = [
        {"id": str(path.relative_to(folder)), "image": path.read_bytes(), "path": str(path),
         "label": path.parent.name}
        for path in paths
    ]  # fmt: skip
    return ray.data.from_items(rows, override_num_blocks=3)


@pytest.fixture(scope="module")
def prepared(images: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "out"
    frames.prepare(images, out, settings=SMALL, engine=LOCAL)
    return out


def test_a_dataset_of_ray_becomes_the_dataset_of_its_files(
    prepared: Path, folder: Path, tmp_path: Path
) -> None:
    from lorgnette.api import prepare

    one, two = Dataset.load(str(prepared)), prepare(folder, tmp_path / "two", SMALL, workers=2)
    same = ["id", "label", "sha256"]
    order = np.argsort(one.rows(["id"])["id"].to_pylist())
    assert one.rows(same).take(order).equals(two.rows(same))
    assert np.array_equal(one.read(order), two.read(np.arange(40)))


def test_rows_are_written_once(images: Any, prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (prepared / "source").iterdir()}
    assert json.loads((prepared / "source.json").read_text())["rows"] == 40
    assert len(frames.prepare(images, prepared, settings=SMALL, engine=LOCAL)) == 40
    assert {path: path.stat().st_mtime_ns for path in (prepared / "source").iterdir()} == before
    with pytest.raises(DatasetError, match="taken of a frame otherwise"):
        frames.prepare(images, prepared, image="path", settings=SMALL, engine=LOCAL)
    again = frames.prepare(images, prepared, settings=SMALL, engine=LOCAL, overwrite=True)
    assert len(again) == 40
    assert {path.name for path in before}.isdisjoint((prepared / "source").iterdir())


def test_tensors_and_lists_are_features(ray_cluster: Any, tmp_path: Path) -> None:
    import ray

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 4)).astype(np.float32)
    frame = ray.data.from_numpy(vectors).map_batches(
        lambda batch: {
            "tensor": batch["data"],
            "age": batch["data"][:, 0] * 2,
            "label": np.where(batch["data"][:, 1] > 0, "a", "b"),
        }
    )
    data = frames.prepare(frame, tmp_path / "data", features="tensor,age", engine=LOCAL)
    assert data.info.features == ("tensor_0", "tensor_1", "tensor_2", "tensor_3", "age")
    assert np.array_equal(data.read(np.arange(60)), np.c_[vectors, vectors[:, 0] * 2])

    from lorgnette import pipeline

    config = load(settings=["model.family=mlp", "model.units=[4]", *SETTINGS])
    pipeline.train(str(tmp_path / "data"), config, str(tmp_path / "run"))
    found = frames.predict(tmp_path / "run", frame, features="tensor,age").take_all()
    assert {row["prediction"] for row in found} <= {"a", "b"}
    assert all(row["error"] is None for row in found)


def test_predictions_are_columns_of_the_same_rows(
    images: Any, prepared: Path, tmp_path: Path
) -> None:
    import ray

    from lorgnette import pipeline
    from lorgnette.api import predict

    pipeline.train(str(prepared), load(settings=SETTINGS), str(tmp_path / "run"))
    odd = ray.data.from_items([{"id": "text", "image": b"no image", "path": "", "label": "a"}])
    frame = images.union(odd)
    found = frames.predict(tmp_path / "run", frame, image="image")
    rows = {row["id"]: row for row in found.take_all()}
    assert list(next(iter(rows.values()))) == [
        *("id", "image", "path", "label", "prediction", "p_a", "p_b", "error")
    ]
    assert len(rows) == 41
    text = rows.pop("text")
    assert "it looks like text" in text["error"]
    assert text["prediction"] is text["p_a"] is None
    (table,) = predict(tmp_path / "run", [row["path"] for row in rows.values()])
    for row, each in zip(rows.values(), table.to_pylist(), strict=True):
        assert row["prediction"] == each["class"]
        assert row["p_a"] == pytest.approx(each["p_a"], abs=1e-5)


def test_a_worker_that_lacks_the_directory_says_so(images: Any, tmp_path: Path) -> None:
    from lorgnette.engines.ray.datasets import fields, spool

    with pytest.raises(StorageError) as caught:
        spool(images, {"content": "image"}, fields(images), str(tmp_path / "elsewhere"))
    assert str(caught.value).startswith("A worker of the cluster does not find")
    assert "\n" not in str(caught.value)


def test_decoded_images_are_refused(ray_cluster: Any, tmp_path: Path) -> None:
    import ray

    frame = ray.data.from_items([{"image": np.zeros((4, 4, 3), np.uint8), "label": "a"}])
    with pytest.raises(SourceError, match="Images are encoded bytes or paths"):
        frames.prepare(frame, tmp_path, image="image", engine=LOCAL)


@pytest.mark.slow
def test_the_code_in_the_documents_runs(ray_cluster: Any, tmp_path: Path) -> None:
    folder_of(tmp_path / "pets", 20, ("cat", "dog"))
    names: dict[str, Any] = {}
    for block in documented("Ray", tmp_path):
        exec(block, names)
    assert len(names["dataset"]) == 40
    assert names["predicted"].count() == 40
