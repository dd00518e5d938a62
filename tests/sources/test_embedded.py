"""Parquet tables with images in them, directories of them, and columns with lists of numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorgnette.config import PerceptronConfig, PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.shard import Unreadable, read_files
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import DatasetError, SourceError
from lorgnette.sources import EmbeddedTable, open_source
from lorgnette.sources.base import RECORD
from lorgnette.sources.embedded import READ_ROWS, Column, is_embedded
from lorgnette.sources.reader import open_parquet
from lorgnette.storage import Storage
from pictures import encoded, picture

IMAGES = [encoded(picture(1000 * (n % 2) + n, n % 2)) for n in range(48)]
LABELS = ["ab"[n % 2] for n in range(48)]


def spark_like(folder: Path, columns: dict[str, Any], files: int = 2, group: int = 10) -> Path:
    """A directory as Spark leaves it: parts, a mark of success, checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    step = -(-len(table) // files)
    for part in range(files):
        name = f"part-{part:05d}-abc-c000.snappy.parquet"
        pq.write_table(table.slice(part * step, step), folder / name, row_group_size=group)
        (folder / f".{name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").write_bytes(b"")
    return folder


def opened(location: Path, **settings: Any) -> Any:
    return open_source(SourceConfig(location=str(location), **settings))


def rows(source: Any) -> list[dict[str, Any]]:
    batches = list(source.records())
    assert all(batch.schema == RECORD for batch in batches)
    found: list[dict[str, Any]] = pa.Table.from_batches(batches).to_pylist()
    return found


def prepared(location: Path, out: Path, *, shard_items: int = 16, **settings: Any) -> Dataset:
    source = SourceConfig(location=str(location), **settings)
    config = PrepareConfig(size=(24,), shard_items=shard_items)
    return prepare(source, str(out), config, LocalEngine(2))


def test_rows_of_a_directory_are_records(tmp_path: Path) -> None:
    columns = {"content": IMAGES, "label": LABELS, "group": [f"g{n // 2}" for n in range(48)],
               "split": ["train"] * 40 + ["Validation"] * 8}  # fmt: skip
    source = opened(spark_like(tmp_path / "table", columns))
    assert isinstance(source, EmbeddedTable)
    found = rows(source)
    first, second = sorted(path.name for path in (tmp_path / "table").glob("*.parquet"))
    assert [row["id"] for row in found[:2]] == [f"{first}#0", f"{first}#1"]
    assert found[24]["path"] == found[24]["id"] == f"{second}#0"
    assert [row["label"] for row in found] == LABELS
    assert found[5]["group"] == "g2"
    assert found[0]["split"] == "train"
    assert found[47]["split"] == "val"
    assert found[47]["bytes"] == (tmp_path / "table" / second).stat().st_size
    assert rows(source) == found


def test_ids_come_from_their_column_and_are_unique(tmp_path: Path) -> None:
    columns = {"id": list(range(48)), "bytes": IMAGES, "label": LABELS}
    found = rows(opened(spark_like(tmp_path / "a", columns)))
    assert [row["id"] for row in found] == [str(n) for n in range(48)]
    columns["id"] = [*range(47), 3]
    with pytest.raises(SourceError, match=r"'3' in column 'id' .* rows 4 and 48: .*none"):
        rows(opened(spark_like(tmp_path / "b", columns)))


def test_images_of_a_table_become_the_dataset_that_files_become(tmp_path: Path) -> None:
    files = tmp_path / "files"
    for n, (data, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (files / label).mkdir(parents=True, exist_ok=True)
        (files / label / f"{n:02d}.png").write_bytes(data)
    order = sorted(range(48), key=lambda n: (LABELS[n], n))
    columns = {
        "id": [f"{LABELS[n]}/{n:02d}.png" for n in order],
        "image": [{"bytes": IMAGES[n], "path": f"{n}.png"} for n in order],
        "label": [LABELS[n] for n in order],
    }
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), table, row_group_size=7)
    one, two = prepared(files, tmp_path / "one"), prepared(table, tmp_path / "two")
    assert np.array_equal(one.read(np.arange(48)), two.read(np.arange(48)))
    same = ["id", "label", "sha256", "phash", "width", "bytes", "status"]
    assert one.rows(same).equals(two.rows(same))
    assert two.rows(["path"])["path"][0].as_py() == "table.parquet#0"


def test_labels_of_hugging_face_have_their_names(tmp_path: Path) -> None:
    told = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    images = [{"bytes": data, "path": None} for data in IMAGES[:4]]
    table = pa.table({"image": images, "label": [1, 0, -1, None]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    found = [row["label"] for row in rows(opened(tmp_path))]
    assert found == ["dog", "cat", None, None]


def test_what_is_no_image_is_a_row_with_a_reason(tmp_path: Path) -> None:
    content = [None, b"", b"not an image", *IMAGES[3:20]]
    columns = {"content": pa.array(content, pa.binary()), "label": LABELS[:20]}
    data = prepared(spark_like(tmp_path / "table", columns), tmp_path / "out")
    assert data.info.counts["ok"] == 17
    assert data.info.counts["missing"] == 1
    found = [row for table in data.tables(["path", "status", "error"], None)
             for row in table.to_pylist()]  # fmt: skip
    assert [row["status"] for row in found[:3]] == ["missing", "corrupt", "unsupported"]
    assert found[0]["error"] == "there is no image in this row"


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    columns = {"content": IMAGES, "label": LABELS}
    table = spark_like(tmp_path / "table", columns)
    prepared(table, tmp_path / "out")
    part = next(table.glob("*.parquet"))
    os.utime(part, ns=(1, 1))
    with pytest.raises(DatasetError, match="the source's files or labels"):
        prepared(table, tmp_path / "out")


def test_a_named_column_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    columns = {"content": IMAGES[::-1], "thumb/nail": IMAGES, "label": LABELS, "path": LABELS}
    table = spark_like(tmp_path / "table", columns)
    source = opened(table, content="thumb/nail", path=None)
    paths = [row["path"] for row in rows(source)]
    assert paths[1].endswith(".parquet#thumb/nail/1")
    assert all(map(is_embedded, paths))
    assert list(read_files(source.storage, paths)) == IMAGES
    # found by itself if the paths were not there
    assert opened(table, content="content")._named == ""


@pytest.mark.parametrize("struct", [False, True])
@pytest.mark.parametrize("order", [range(48), [47, 3, 3, 2, 40, 23, 24, 0, 12, 11]])
def test_bytes_are_those_of_their_rows_in_any_order(
    tmp_path: Path, struct: bool, order: Sequence[int]
) -> None:
    images = [{"bytes": data, "path": None} for data in IMAGES] if struct else IMAGES
    table = spark_like(tmp_path / "t", {"image": images, "label": LABELS}, files=2, group=9)
    source = opened(table)
    paths = [row["path"] for row in rows(source)]
    found = list(read_files(source.storage, [paths[n] for n in order]))
    assert found == [IMAGES[n] for n in order]


def test_a_piece_reads_its_row_groups_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": IMAGES, "label": LABELS}), table, row_group_size=20)
    asked: list[list[int]] = []

    original = pq.ParquetFile.iter_batches

    def counted(file: Any, *args: Any, **named: Any) -> Any:
        asked.append(named["row_groups"])
        assert args[0] == READ_ROWS  # and not the whole row group
        return original(file, *args, **named)

    source = opened(table)
    paths = [row["path"] for row in rows(source)]
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    assert list(read_files(source.storage, paths[5:45])) == IMAGES[5:45]
    assert asked == [[0], [1], [2]]


def test_tables_that_went_away_or_broke_are_told_for_each_row(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nonsense")
    pq.write_table(pa.table({"content": IMAGES[:2]}), tmp_path / "short.parquet")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "bare.parquet")
    paths = ["broken.parquet#0", "gone.parquet#1", "short.parquet#1", "short.parquet#2",
             "bare.parquet#0"]  # fmt: skip
    broken, gone, right, beyond, bare = read_files(Storage.at(tmp_path), paths)
    assert isinstance(broken, Unreadable)
    assert broken.status == "corrupt"
    assert "is not a Parquet file" in broken.reason
    assert gone == Unreadable("missing", "there is no file at this path")
    assert right == IMAGES[1]
    assert beyond == Unreadable("missing", "there is no image in this row")
    assert isinstance(bare, Unreadable)
    assert "no column of images" in bare.reason


@pytest.mark.parametrize(
    ("columns", "settings", "sentence"),
    [
        ({"content": IMAGES, "image": IMAGES}, {}, r"more than one .*\(content, image\)"),
        ({"content": IMAGES}, {"content": "contents"}, "did you mean 'content'"),
        ({"content": LABELS}, {"content": "content"}, "encoded bytes, and .* holds string"),
        ({"content": IMAGES}, {"content": "content", "path": "label"}, "both were named"),
        ({"picture": IMAGES}, {}, "no column named path, file, .* say which"),
    ],
)
def test_what_cannot_be_meant(
    tmp_path: Path, columns: dict[str, Any], settings: dict[str, str], sentence: str
) -> None:
    table = spark_like(tmp_path / "table", {**columns, "label": LABELS})
    with pytest.raises(SourceError, match=sentence):
        opened(table, **settings)


def test_only_parquet_holds_images(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("content,label\nx,y\n")
    with pytest.raises(SourceError, match=r"Only a Parquet table holds images"):
        opened(tmp_path / "a.csv", content="content")


def test_a_table_without_labels_can_be_predicted_on(tmp_path: Path) -> None:
    table = spark_like(tmp_path / "table", {"content": IMAGES})
    with pytest.raises(SourceError, match="no column named label"):
        opened(table)
    source = open_source(SourceConfig(location=str(table)), require_label=False)
    assert len(rows(source)) == 48


def test_predictions_of_the_images_in_a_table(tmp_path: Path) -> None:
    from lorgnette.devices import choose
    from lorgnette.model import Model, ModelSpec
    from lorgnette.models import build
    from lorgnette.serving.predict import predict

    spec = ModelSpec(
        model=PerceptronConfig(), classes=("a", "b"), size=8, color="rgb", fit="crop",
        mean=(0.0, 0.0, 0.0), deviation=(255.0, 255.0, 255.0),
    )  # fmt: skip
    model = Model.of(spec, build(spec.model, spec.input_shape, 2), choose("cpu", "float32"))
    content = pa.array([*IMAGES[:8], None, b"not an image"], pa.binary())
    table = spark_like(tmp_path / "table", {"image": content, "id": range(10)})
    for n, data in enumerate(IMAGES[:8]):
        (tmp_path / f"{n}.png").write_bytes(data)
    (found,) = predict(model, [str(table)], LocalEngine(1))
    (files,) = predict(model, [str(tmp_path / f"{n}.png") for n in range(8)], LocalEngine(1))
    assert found["id"].to_pylist() == [str(n) for n in range(10)]
    assert found["p_a"].to_pylist()[:8] == files["p_a"].to_pylist()
    assert found["error"].null_count == 8
    assert found["error"][8].as_py() == "there is no image in this row"


def test_paths_may_stand_in_several_files(tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / f"{n}.png").write_bytes(IMAGES[n])
    columns = {"path": [str(tmp_path / f"{n}.png") for n in range(4)], "label": LABELS[:4]}
    data = prepared(spark_like(tmp_path / "table", columns), tmp_path / "out")
    assert data.info.counts["ok"] == 4


def test_a_directory_with_images_beside_parquet_stays_a_folder(tmp_path: Path) -> None:
    folder = spark_like(tmp_path / "f", {"content": IMAGES, "label": LABELS})
    (folder / "README.md").write_text("about")
    assert opened(folder).kind == "table"
    (folder / "a").mkdir()
    (folder / "a" / "1.png").write_bytes(IMAGES[0])
    assert opened(folder).kind == "folder"


def test_files_of_a_table_have_the_same_columns(tmp_path: Path) -> None:
    folder = spark_like(tmp_path / "f", {"content": IMAGES, "label": LABELS})
    pq.write_table(pa.table({"content": IMAGES}), folder / "part-9.parquet")
    with pytest.raises(SourceError, match=r"part-9\.parquet lacks 'label'"):
        rows(opened(folder))


VECTORS = np.arange(48 * 3, dtype=np.float32).reshape(48, 3) / 7


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 3)]
)
def test_a_list_in_each_row_is_features(tmp_path: Path, kind: Any) -> None:
    values: list[Any] = VECTORS.tolist()
    values[7] = None
    columns = {"label": LABELS, "v": pa.array(values, kind), "age": range(48)}
    source = opened(spark_like(tmp_path / "t", columns), features="age,v")
    assert source.features == ("age", "v_0", "v_1", "v_2")
    batches = list(source.vectors())
    found = np.concatenate([numbers for _, numbers in batches])
    assert np.array_equal(found[:, 0], np.arange(48))
    assert np.isnan(found[7, 1:]).all()
    kept = np.arange(48) != 7
    assert np.array_equal(found[kept, 1:], VECTORS[kept])
    assert [row["id"] for batch, _ in batches for row in batch.to_pylist()] == [
        str(n) for n in range(1, 49)
    ]


def test_entries_of_a_list_can_be_named(tmp_path: Path) -> None:
    table = spark_like(tmp_path / "t", {"label": LABELS, "v": VECTORS.tolist()})
    source = opened(table, features="v_2,v_0")
    (_, numbers), *_ = source.vectors()
    assert np.array_equal(numbers, VECTORS[:24, [2, 0]])
    with pytest.raises(SourceError, match="no column 'v_3'"):
        opened(table, features="v_0..v_3")


def test_vectors_without_any_text(tmp_path: Path) -> None:
    table = spark_like(tmp_path / "t", {"v": VECTORS.tolist()})
    source: Any = open_source(SourceConfig(location=str(table), features="v"), require_label=False)
    assert len(rows(source)) == 48
    assert sum(len(numbers) for _, numbers in source.vectors()) == 48


def test_lists_of_other_lengths_are_refused(tmp_path: Path) -> None:
    values: list[Any] = VECTORS.tolist()
    values[30] = [1.0]
    table = spark_like(tmp_path / "t", {"label": LABELS, "v": values})
    with pytest.raises(SourceError, match=r"part-00001.* row 7 has 1 numbers where .* has 3"):
        list(opened(table, features="v").vectors())


def test_a_spark_vector_says_how_to_mend_it(tmp_path: Path) -> None:
    vector = {"type": 1, "size": 2, "indices": None, "values": [1.0, 2.0]}
    table = spark_like(tmp_path / "t", {"label": LABELS[:2], "v": [vector] * 2}, files=1)
    with pytest.raises(SourceError, match="vector_to_array"):
        list(opened(table, features="v").vectors())


def test_lists_become_a_dataset_of_vectors(tmp_path: Path) -> None:
    table = spark_like(tmp_path / "t", {"label": LABELS, "v": VECTORS.tolist()})
    data = prepared(table, tmp_path / "out", features="v")
    assert data.info.features == ("v_0", "v_1", "v_2")
    assert np.array_equal(data.read(np.arange(48)), VECTORS)


def test_memory_stays_flat_over_a_huge_row_group(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    noise = np.random.default_rng(0).integers(0, 256, (400, 1 << 18), np.uint8)
    content = pa.array([row.tobytes() for row in noise], pa.binary())
    # A page is read as a whole; the writer ends one after so many rows at the earliest.
    pq.write_table(pa.table({"content": content}), table, use_dictionary=False, write_batch_size=8)
    del content
    with open_parquet(Storage.at(tmp_path), table.name) as file:
        assert file.num_row_groups == 1
        column = Column(file, None, "t.parquet")
        before, most = pa.total_allocated_bytes(), 0
        for row in range(0, 400, 7):
            assert column.read(row) == noise[row].tobytes()
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 32 << 20  # of 100 MiB


@pytest.mark.s3
def test_a_table_in_an_object_store(s3_bucket: str) -> None:
    storage = Storage.at(f"{s3_bucket}/table")
    for part in range(2):
        sink = pa.BufferOutputStream()
        columns = {"content": IMAGES[part::2], "label": LABELS[part::2]}
        pq.write_table(pa.table(columns), sink, row_group_size=10)
        storage.write(f"part-{part}.parquet", memoryview(sink.getvalue()))
    assert open_source(SourceConfig(location=storage.root)).kind == "folder"
    storage.write("_SUCCESS", b"")
    source = open_source(SourceConfig(location=storage.root))
    found = rows(source)
    assert [row["path"] for row in found[:2]] == ["part-0.parquet#0", "part-0.parquet#1"]
    assert found[0]["bytes"] > 0
    assert found[0]["modified"] > 0
    paths = [row["path"] for row in found]
    assert list(read_files(storage, paths)) == IMAGES[::2] + IMAGES[1::2]
