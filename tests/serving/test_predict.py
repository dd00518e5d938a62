import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lorgnette
from lorgnette.config import SourceConfig
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ConfigError, ModelError, SourceError
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.serving import output
from pictures import encoded, folder_of, picture


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = [
        "model.family=cnn",
        "model.filters=[8, 8]",
        "train.epochs=10",
        "train.batch_size=16",
        "train.augment.flip_horizontal=false",  # left and right are the classes
    ]
    return lorgnette.train(
        dataset, tmp_path_factory.mktemp("predict") / "run", load(settings=settings)
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("images") / "new", 150)


def rows(run: Run, *inputs: str | Path, **keywords: object) -> list[dict[str, object]]:
    tables = lorgnette.predict(run, list(inputs), **keywords)  # type: ignore[arg-type]
    return [row for table in tables for row in table.to_pylist()]


def test_files_in_their_order(run: Run, images: Path) -> None:
    given = [images / "b" / "0003.png", images / "a" / "0001.png"]
    found = rows(run, *given)
    assert [row["id"] for row in found] == [str(path) for path in given]
    assert [row["class"] for row in found] == ["b", "a"]
    for row in found:
        assert list(row) == ["id", "class", "p_a", "p_b", "error"]
        assert row["p_a"] + row["p_b"] == pytest.approx(1)  # type: ignore[operator]
        assert row["error"] is None


def test_a_folder_through_the_engine_agrees_with_one_by_one(run: Run, images: Path) -> None:
    found = rows(run, images, workers=2)
    assert [row["id"] for row in found] == [f"{c}/{n:04d}.png" for c in "ab" for n in range(150)]
    assert np.mean([row["class"] == row["id"][0] for row in found]) > 0.95  # type: ignore[index]
    alone = rows(run, images / "a" / "0149.png")
    assert alone[0]["p_a"] == pytest.approx(found[149]["p_a"], abs=5e-3)


def test_what_cannot_be_read_is_a_row(run: Run, tmp_path: Path) -> None:
    whole = encoded(picture(1, 0))
    (tmp_path / "good.png").write_bytes(whole)
    (tmp_path / "cut.png").write_bytes(whole[:100])
    (tmp_path / "text.png").write_bytes(b"hello")
    found = rows(run, *(tmp_path / f"{name}.png" for name in ("cut", "good", "text", "gone")))
    assert [row["error"] is None for row in found] == [False, True, False, False]
    assert found[0]["class"] is None
    assert found[0]["p_a"] is None
    assert found[1]["class"] == "a"
    assert "no file" in str(found[3]["error"])


def test_globs_lines_and_tables(run: Run, images: Path, tmp_path: Path) -> None:
    assert len(rows(run, str(images / "*" / "000?.png"))) == 20
    lines = [f"{images}/a/0000.png\n", "\n", f"{images}/b/0000.png\n"]
    assert [row["class"] for row in rows(run, "-", lines=lines)] == ["a", "b"]
    (tmp_path / "t.csv").write_text("name,file\none,a/0005.png\ntwo,b/0005.png\n")
    source = SourceConfig(images=str(images), id="name")
    found = rows(run, tmp_path / "t.csv", source=source)
    assert [(row["id"], row["class"]) for row in found] == [("one", "a"), ("two", "b")]
    mixed = rows(run, images / "a" / "0000.png", tmp_path / "t.csv", images / "b" / "0001.png",
                 source=source)  # fmt: skip
    assert [row["class"] for row in mixed] == ["a", "a", "b", "b"]


def test_a_pattern_without_a_match_is_an_error(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No file matches"):
        rows(run, str(tmp_path / "*.png"))


@pytest.mark.s3
def test_from_an_object_store(run: Run, images: Path, s3_bucket: str) -> None:
    storage = lorgnette.storage.Storage.at(f"{s3_bucket}/new")
    for name in ("a/0000.png", "b/0000.png"):
        storage.write(name, (images / name).read_bytes())
    assert [row["class"] for row in rows(run, f"{s3_bucket}/new")] == ["a", "b"]
    assert [row["class"] for row in rows(run, f"{s3_bucket}/new/b/0000.png")] == ["b"]


TABLE = pa.table(
    {
        "id": ["x, y", "z"],
        "class": pa.array(["a", None]),
        "p_a": pa.array([0.75, None], pa.float32()),
        "p_b": pa.array([0.25, None], pa.float32()),
        "error": pa.array([None, 'not "an" image']),
    }
)


def test_csv() -> None:
    sink = io.BytesIO()
    assert output.write([TABLE, TABLE], "csv", sink) == (4, 2)
    found = list(csv.DictReader(io.StringIO(sink.getvalue().decode())))
    assert len(found) == 4
    assert found[0] == {"id": "x, y", "class": "a", "p_a": "0.75", "p_b": "0.25", "error": ""}
    assert found[1]["error"] == 'not "an" image'


def test_json_lines() -> None:
    sink = io.BytesIO()
    output.write([TABLE], "jsonl", sink)
    first, second = (json.loads(line) for line in sink.getvalue().splitlines())
    assert first["probabilities"] == {"a": 0.75, "b": 0.25}
    assert second == {"id": "z", "class": None, "probabilities": None, "error": 'not "an" image'}


def test_parquet(tmp_path: Path) -> None:
    out = str(tmp_path / "out.parquet")
    assert output.choose_format(None, out) == "parquet"
    output.write_file([TABLE, TABLE], "parquet", out)
    assert pq.read_table(out).to_pylist() == TABLE.to_pylist() * 2


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    def failing() -> object:
        yield TABLE
        raise SourceError("gone")

    with pytest.raises(SourceError):
        output.write_file(failing(), "csv", str(tmp_path / "out.csv"))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_formats_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'jsonl'"):
        output.choose_format("json", None)
    with pytest.raises(ConfigError, match="give --out"):
        output.choose_format("parquet", None)


def test_a_run_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no run in"):
        rows(Run(tmp_path), "x.png") if (tmp_path / "config.toml").exists() else Run.load(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(ModelError, match="There is no trained model"):
        rows(Run.load(tmp_path), "x.png")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_damaged_model_is_one_sentence(run: Run, tmp_path: Path, name: str) -> None:
    import shutil

    shutil.copytree(run.root, tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match="is damaged"):
        rows(Run.load(tmp_path / "run"), "x.png")
