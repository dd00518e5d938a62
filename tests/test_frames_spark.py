"""DataFrames of Spark in and out; what is tested here of frames at large holds for Ray too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from documented import documented
from lorgnette import frames
from lorgnette.api import predict as predict_files
from lorgnette.config import EngineConfig, PrepareConfig
from lorgnette.errors import ConfigError, DatasetError, SourceError
from lorgnette.resolve import load
from pictures import folder_of

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support:FutureWarning"),
    # Spark's gateway leaves the sockets of its callbacks to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SMALL = PrepareConfig(size=(16,), shard_items=16)
LOCAL = EngineConfig(workers=2)
SETTINGS = ["train.epochs=2", "split.train=0.6", "split.val=0.2", "split.test=0.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("spark") / "with space", 20)


@pytest.fixture(scope="module")
def images(spark_session: Any, folder: Path) -> Any:
    return frames.read_images(spark_session, folder)


@pytest.fixture(scope="module")
def prepared(images: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "out"
    frames.prepare(images, out, settings=SMALL, engine=LOCAL)
    return out


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lorgnette import pipeline

    out = tmp_path_factory.mktemp("run") / "run"
    pipeline.train(str(prepared), load(settings=SETTINGS), str(out))
    return out


def test_a_folder_is_a_dataframe(images: Any, folder: Path) -> None:
    assert images.columns == ["id", "path", "content", "label"]
    found = sorted(images.collect())
    assert len(found) == 40
    row = found[0]
    assert (row.id, row.path, row.label) == ("a/0000.png", f"{folder}/a/0000.png", "a")
    assert bytes(row.content) == (folder / "a" / "0000.png").read_bytes()


def test_labels_of_a_folder_are_its_directories_or_none(spark_session: Any, folder: Path) -> None:
    bare = frames.read_images(spark_session, folder, label=None)
    assert bare.columns == ["id", "path", "content"]
    with pytest.raises(ConfigError, match="parent or None"):
        frames.read_images(spark_session, folder, label="stem")


def test_a_dataframe_becomes_the_dataset_of_its_folder(
    prepared: Path, folder: Path, tmp_path: Path
) -> None:
    from lorgnette.api import prepare
    from lorgnette.dataset.store import Dataset

    one, two = Dataset.load(str(prepared)), prepare(folder, tmp_path / "two", SMALL, workers=2)
    same = ["id", "label", "sha256"]
    order = np.argsort(one.rows(["id"])["id"].to_pylist())
    assert one.rows(same).take(order).equals(two.rows(same))
    assert np.array_equal(one.read(order), two.read(np.arange(40)))


def test_rows_are_written_once(images: Any, prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (prepared / "source").iterdir()}
    assert json.loads((prepared / "source.json").read_text())["rows"] == 40
    again = frames.prepare(images, prepared, settings=SMALL, engine=LOCAL)
    assert len(again) == 40
    assert {path: path.stat().st_mtime_ns for path in (prepared / "source").iterdir()} == before
    with pytest.raises(DatasetError, match="taken of a frame otherwise"):
        frames.prepare(images, prepared, label="path", settings=SMALL, engine=LOCAL)


def test_a_write_that_was_killed_is_begun_again(
    images: Any, prepared: Path, tmp_path: Path
) -> None:
    note = json.loads((prepared / "source.json").read_text())
    del note["rows"]  # as it is until everything is written
    (tmp_path / "source.json").write_text(json.dumps(note))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "part-x.parquet").write_bytes(b"half")
    found = frames.prepare(images, tmp_path, settings=SMALL, engine=LOCAL)
    assert len(found) == 40
    assert not (tmp_path / "source" / "part-x.parquet").exists()


def test_what_is_no_spool_is_left_alone(images: Any, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not made from a frame"):
        frames.prepare(images, tmp_path, settings=SMALL, engine=LOCAL, overwrite=True)
    assert (tmp_path / "source" / "mine.txt").read_text() == "mine"


def test_paths_are_a_frame_too(images: Any, tmp_path: Path) -> None:
    paths = images.drop("content", "id").filter("label = 'a'")
    data = frames.prepare(paths, tmp_path, settings=SMALL, engine=LOCAL)
    assert data.info.counts["ok"] == 20
    assert data.rows(["path"])["path"][0].as_py().startswith("/")


def vectors(spark: Any, n: int = 60) -> Any:
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    rng = np.random.default_rng(0)
    rows = [
        (n, "ab"[n % 2], [float(v) for v in rng.normal(3 * (n % 2), 1, 4)], f"g{n // 2}")
        for n in range(n)
    ]
    frame = spark.createDataFrame(rows, "id long, label string, list array<double>, who string")
    numbers = [F.col("list")[place].alias(f"v{place + 1}") for place in range(4)]
    return frame.select("*", array_to_vector("list").alias("vector"), *numbers)


@pytest.mark.parametrize(
    ("features", "names"),
    [
        ("vector", ["vector_0", "vector_1", "vector_2", "vector_3"]),
        (["list"], ["list_0", "list_1", "list_2", "list_3"]),
        ("v1..v3", ["v1", "v2", "v3"]),
    ],
)
def test_columns_of_vectors_lists_and_numbers_are_features(
    spark_session: Any, tmp_path: Path, features: Any, names: list[str]
) -> None:
    frame = vectors(spark_session)
    data = frames.prepare(frame, tmp_path, features=features, group="who", engine=LOCAL)
    assert list(data.info.features) == names
    rows = {row.id: row for row in frame.collect()}
    ids = data.rows(["id"])["id"].to_pylist()
    want = np.array([rows[int(each)].list for each in ids], np.float32)[:, : len(names)]
    assert np.array_equal(data.read(np.arange(60)), want)
    assert data.rows(["group"])["group"].to_pylist() == [rows[int(each)].who for each in ids]


def test_predictions_are_columns_of_the_same_rows(
    images: Any, run: Path, folder: Path, spark_session: Any, tmp_path: Path
) -> None:
    odd = spark_session.createDataFrame(
        [("text", bytearray(b"no image")), ("nothing", None)], "id string, content binary"
    )
    frame = images.unionByName(odd, allowMissingColumns=True)
    found = frames.predict(run, frame)
    assert found.columns == [*frame.columns, "prediction", "p_a", "p_b", "error"]
    rows = {row.id: row for row in found.collect()}
    assert len(rows) == 42
    files = [str(folder / name) for name in rows if "/" in name]
    (table,) = predict_files(run, files)
    for each in table.to_pylist():
        row = rows[str(Path(each["id"]).relative_to(folder))]
        assert row.prediction == each["class"]
        assert (row.p_a, row.p_b) == pytest.approx((each["p_a"], each["p_b"]), abs=1e-5)
        assert row.error is None
    assert "it looks like text" in rows["text"].error
    assert rows["nothing"].error == "there is no image in this row"
    assert rows["text"].prediction is rows["nothing"].p_a is None
    paths = frames.predict(run, images.select("id", "path").limit(5)).collect()
    assert [row.prediction for row in paths] == [rows[row.id].prediction for row in paths]


def test_predictions_of_vectors(spark_session: Any, tmp_path: Path) -> None:
    from lorgnette import pipeline

    frame = vectors(spark_session)
    frames.prepare(frame, tmp_path / "data", features="vector", engine=LOCAL)
    config = load(settings=["model.family=mlp", "model.units=[4]", *SETTINGS, "train.epochs=60"])
    pipeline.train(str(tmp_path / "data"), config, str(tmp_path / "run"))
    found = frames.predict(tmp_path / "run", frame)
    assert found.schema["vector"] == frame.schema["vector"]
    rows = found.collect()
    assert np.mean([row.prediction == row.label for row in rows]) > 0.9
    other = frames.predict(tmp_path / "run", frame, features="list").collect()
    assert [row.p_a for row in other] == [row.p_a for row in rows]
    with pytest.raises(ConfigError, match="takes vectors"):
        frames.predict(tmp_path / "run", frame, image="list")
    with pytest.raises(ConfigError, match="has prediction already"):
        frames.predict(tmp_path / "run", found)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"image": "contents"}, "no column 'contents' for the image .*did you mean 'content'"),
        ({"label": "glasses"}, "no column 'glasses' for the label"),
        ({"label": "content"}, "The label is a column of text or numbers, .* holds binary"),
        ({"image": "length"}, "Images are encoded bytes or paths, .* holds bigint"),
        ({"features": "label"}, "feature is a column of numbers, .* holds string"),
        ({"features": "v*"}, "matches no column of the frame"),
    ],
)
def test_a_frame_is_checked_before_work(
    spark_session: Any, tmp_path: Path, asked: dict[str, Any], sentence: str
) -> None:
    frame = spark_session.createDataFrame(
        [(bytearray(b""), "a", 1)], "content binary, label string, length long"
    )
    with pytest.raises(SourceError, match=sentence):
        frames.prepare(frame, tmp_path / "out", **asked)
    assert not (tmp_path / "out" / "source").exists()


def test_other_tables_are_no_frames(tmp_path: Path, run: Path) -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ConfigError, match=r"this is a pandas.*DataFrame"):
        frames.prepare(pandas.DataFrame(), tmp_path)
    with pytest.raises(ConfigError, match="takes files and tables"):
        frames.predict(run, [1])


def test_images_that_an_executor_cannot_hold_at_once_are_written(
    spark_session: Any, tmp_path: Path
) -> None:
    """Row groups end by their size, also where rows are large."""
    import pyarrow.parquet as pq
    from pyspark.sql import functions as F

    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8).tobytes()
    one = spark_session.createDataFrame([(bytearray(noise),)], "content binary")
    frame = one.crossJoin(spark_session.range(100)).withColumn("label", F.lit("a"))
    from lorgnette.engines.spark.frames import fields, spool

    written = spool(
        frame.coalesce(1), {"content": "content", "id": "id"}, fields(frame), str(tmp_path / "s")
    )
    assert written == 100
    (file,) = (tmp_path / "s").glob("*.parquet")
    assert pq.ParquetFile(file).num_row_groups >= 2


@pytest.mark.slow
def test_the_code_in_the_documents_runs(spark_session: Any, tmp_path: Path) -> None:
    folder_of(tmp_path / "pets", 20, ("cat", "dog"))
    rows = [f"{name}/{n:04d}.png,{name}\n" for name in ("cat", "dog") for n in range(2, 20)]
    (tmp_path / "corrections.csv").write_text("id,label\n" + "".join(rows))
    names: dict[str, Any] = {"spark": spark_session}
    for block in documented("Spark", tmp_path):
        exec(block, names)
    assert len(names["dataset"]) == 36
    assert names["predicted"].count() == 36
    assert names["wrong"].columns[-4:] == ["prediction", "p_cat", "p_dog", "error"]


@pytest.mark.slow
def test_the_published_pipeline_runs_whole(spark_session: Any, tmp_path: Path) -> None:
    from lorgnette.dataset.store import Dataset
    from lorgnette.engines.local import LocalEngine
    from lorgnette.sources.portraits.write import write_portraits

    write_portraits(tmp_path / "glasses", n=60, size=32, engine=LocalEngine(2))
    corrected = tmp_path / "corrected.csv"
    corrected.write_text("id,glasses\n" + "".join(f"{n},{n % 2}\n" for n in range(1, 59)) + "59,\n")
    small = ["train.epochs=3", "train.batch_size=16", "engine.workers=2"]
    run = frames.furia(
        spark_session, tmp_path / "glasses", tmp_path / "out", corrections=corrected, settings=small
    )
    figures = run.read("evaluation.json")
    assert 0 <= figures["test"]["accuracy"]["value"] <= 1
    data = Dataset.load(str(tmp_path / "out" / "dataset"))
    rows = data.rows(["id", "label"]).to_pylist()
    found = {int(row["id"]): row["label"] for row in rows}
    assert 59 not in found  # nobody can decide it
    assert all(found[n] == ("no_glasses", "glasses")[n % 2] for n in range(1, 59))
    assert data.info.features[::511] == ("scaled_0", "scaled_511")
    vectors = data.read(np.arange(len(data)))
    assert np.abs(vectors.mean(axis=0)).max() < 1e-5
    assert np.abs(vectors.std(axis=0, ddof=1) - 1).max() < 1e-5
    assert (tmp_path / "out" / "components.png").read_bytes()[:4] == b"\x89PNG"
    assert run.config.train.members == 2

    from lorgnette.engines.spark import published

    place = published.place_of(str(tmp_path / "glasses"), images=True)
    frame = published.pictured(spark_session, published.labelled(spark_session, place, None), place)
    pictures = frames.prepare(frame, tmp_path / "pictures", settings=SMALL, engine=LOCAL)
    given = {row.id: row.label for row in published.labelled(spark_session, place, None).collect()}
    rows = pictures.rows(["id", "label"]).to_pylist()
    assert {int(row["id"]): row["label"] for row in rows} == given
