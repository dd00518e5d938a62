"""Folders and tables in an object store, against a real S3 server on loopback."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError, StorageError
from lorgnette.sources import open_source
from lorgnette.storage import Storage

pytestmark = pytest.mark.s3


@pytest.fixture
def storage(s3_bucket: str) -> Storage:
    return Storage.at(f"{s3_bucket}/pictures of pets")


def read(location: str, **settings: Any) -> list[dict[str, Any]]:
    source = open_source(SourceConfig(location=location, **settings))
    found: list[dict[str, Any]] = pa.Table.from_batches(list(source.records())).to_pylist()
    images = Storage.at(source.images)
    for row in found:
        assert images.read(row["path"]) == b"pixels"
    return found


def fill(storage: Storage, *paths: str) -> None:
    for path in paths:
        storage.write(path, b"pixels")


def test_folder(storage: Storage) -> None:
    fill(storage, "train/cat/1.png", "train/cat/deep/2 ü#.png", "test/dog/3.png", "test/4.png")
    fill(storage, "README.txt", ".hidden/cat/1.png")
    rows = read(storage.root, group="stem")
    assert [(row["path"], row["split"], row["label"], row["group"]) for row in rows] == [
        ("test/4.png", "test", None, "4"),
        ("test/dog/3.png", "test", "dog", "3"),
        ("train/cat/1.png", "train", "cat", "1"),
        ("train/cat/deep/2 ü#.png", "train", "cat", "deep/2 ü#"),
    ]
    assert {row["bytes"] for row in rows} == {6}
    assert all(row["modified"] > 1_600_000_000 * 10**9 for row in rows)


def test_a_directory_is_listed_on_its_own(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(storage, "cat/1.png", "dog/2.png")
    listed: list[str] = []
    selector = pafs.FileSelector

    def recorded(base: str, *args: Any, **settings: Any) -> Any:
        assert not settings.get("recursive", False)
        listed.append(base.rpartition("/")[2])
        return selector(base, *args, **settings)

    monkeypatch.setattr(pafs, "FileSelector", recorded)
    batches = open_source(SourceConfig(location=storage.root)).records()
    assert listed == []
    assert sum(map(len, batches)) == 2
    assert listed[-2:] == ["cat", "dog"]


@pytest.mark.slow
def test_more_files_than_one_answer_holds(s3_bucket: str) -> None:
    """A listing comes in pages of at most a thousand keys."""
    storage = Storage.at(f"{s3_bucket}/many")
    names = [f"cat/{number:04d}.png" for number in range(1005)]
    fill(storage, *names)
    source = open_source(SourceConfig(location=storage.root))
    assert [path for batch in source.records() for path in batch["path"].to_pylist()] == names


def test_tables(storage: Storage) -> None:
    fill(storage, "a/1.png", "a/2.png")
    content = b"path,label,split\na/1.png,cat,train\n./a/2.png,dog,\n"
    table = pa.table({"path": ["a/1.png", "a/2.png"], "label": ["cat", "dog"]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    storage.write("t.csv", content)
    storage.write("t.csv.gz", gzip.compress(content))
    storage.write("t.parquet", buffer.getvalue())
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        rows = read(f"{storage.root}/{name}")
        assert [(row["path"], row["label"]) for row in rows] == [
            ("a/1.png", "cat"),
            ("a/2.png", "dog"),
        ], name
        assert {row["bytes"] for row in rows} == {None}


def test_a_local_table_of_remote_images(storage: Storage, tmp_path: Path) -> None:
    fill(storage, "a/1.png", "a/2.png")
    table = tmp_path / "t.csv"
    table.write_text("path,label\na/1.png,cat\na/2.png,dog\n")
    assert len(read(str(table), images=storage.root)) == 2
    table.write_text(f"path,label\n{storage.root}/a/1.png,cat\n{storage.root}/a/2.png,dog\n")
    assert [row["path"] for row in read(str(table))] == [
        *("pictures of pets/a/1.png", "pictures of pets/a/2.png"),
    ]
    assert [row["path"] for row in read(str(table), images=storage.root)] == ["a/1.png", "a/2.png"]


def test_nothing_there(storage: Storage) -> None:
    with pytest.raises(SourceError, match="There is nothing at s3://"):
        read(storage.root)
    with pytest.raises(SourceError, match=r"There is nothing at s3://no-such-bucket/t\.csv"):
        read("s3://no-such-bucket/t.csv")
    with pytest.raises(SourceError, match="There is no table at"):
        read(f"{storage.root}/t.csv", kind="table")
    fill(storage, "photo.png")
    with pytest.raises(SourceError, match="neither a folder nor a table"):
        read(f"{storage.root}/photo.png")
    with pytest.raises(StorageError, match="s3://, gs://"):
        read("http://example.org/t.csv")
