"""Folders: what is a class, a split, a group, an image; in which order, and when not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError
from lorgnette.sources import FolderSource, open_source
from lorgnette.sources.base import RECORD
from lorgnette.sources.folder import describe, grouping
from lorgnette.storage import Storage


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def read(root: Path, group: str | None = None) -> list[dict[str, Any]]:
    batches = list(FolderSource(str(root), group).records())
    assert all(batch.schema == RECORD for batch in batches)
    rows: list[dict[str, Any]] = pa.Table.from_batches(batches).to_pylist()
    assert [row["id"] for row in rows] == [row["path"] for row in rows]
    return rows


def labels(root: Path) -> dict[str, str | None]:
    return {row["path"]: row["label"] for row in read(root)}


def test_the_directory_is_the_label(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "cat/deep/er/2.png", "dog/1.png", "loose.png")
    assert labels(tmp_path) == {
        "cat/1.png": "cat",
        "cat/deep/er/2.png": "cat",
        "dog/1.png": "dog",
        "loose.png": None,
    }


def test_size_and_time_are_the_files(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png")
    os.utime(tmp_path / "cat/1.png", ns=(5, 1_600_000_000_123_456_789))
    (row,) = read(tmp_path)
    assert (row["bytes"], row["modified"]) == (len("cat/1.png"), 1_600_000_000_123_456_789)


def test_given_splits_in_any_case(tmp_path: Path) -> None:
    make(tmp_path, "Training/cat/1.png", "VAL/cat/2.png", "test/dog/3.png", "test/4.png", "5.png")
    assert {row["path"]: (row["split"], row["label"]) for row in read(tmp_path)} == {
        "Training/cat/1.png": ("train", "cat"),
        "VAL/cat/2.png": ("val", "cat"),
        "test/dog/3.png": ("test", "dog"),
        "test/4.png": ("test", None),
        "5.png": (None, None),
    }


def test_a_hidden_or_foreign_directory_does_not_hide_a_split_layout(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/1.png", ".cache/x.png", "__MACOSX/cat/1.png")
    assert [row["split"] for row in read(tmp_path)] == ["train"]


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    make(tmp_path, "car/1.png", "train/1.png", "bus/1.png")
    assert labels(tmp_path) == {"car/1.png": "car", "train/1.png": "train", "bus/1.png": "bus"}


def test_splits_beside_classes_are_an_error(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/1.png", "val/cat/1.png", "extra/1.png")
    with pytest.raises(SourceError, match="'train' looks like a split and 'extra' like a class"):
        read(tmp_path)


def test_the_content_decides_but_side_files_are_passed_over(tmp_path: Path) -> None:
    make(
        tmp_path,
        *("cat/no_extension", "cat/wrong.jpeg2", "cat/vector.svg", "cat/UPPER.PNG", "cat/a.b.png"),
        *("README.txt", "labels.csv", "LICENSE", "cat/notes.TXT", "cat/1.xml", "cat/Thumbs.db"),
        *(".DS_Store", "cat/.hidden.png", "cat/desktop.ini", "__MACOSX/cat/1.png"),
    )
    source = FolderSource(str(tmp_path))
    (batch,) = source.records()
    assert batch["path"].to_pylist() == [
        *("cat/UPPER.PNG", "cat/a.b.png", "cat/no_extension", "cat/vector.svg", "cat/wrong.jpeg2"),
    ]
    assert source.skipped == {
        **{".txt": 2, ".csv": 1, ".xml": 1, ".db": 1, ".ini": 1},
        **{"hidden": 2, "license": 1, "__macosx": 1},
    }


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", "a/1.png")
    source = make(tmp_path / "source", "cat/2.png")
    (source / "cat/linked.png").symlink_to(outside / "a/1.png")
    (source / "dog").symlink_to(outside / "a")
    (source / "cat/up").symlink_to(source)
    (source / "cat/self").symlink_to(source / "cat/self")
    (source / "cat/broken.png").symlink_to(outside / "nothing.png")
    rows = {row["path"]: row["bytes"] for row in read(source)}
    assert rows["dog/1.png"] == rows["cat/linked.png"] == len("a/1.png")
    assert rows["cat/broken.png"] is None
    assert rows["cat/self"] is None
    assert not any(path.startswith("cat/up/") for path in rows)


def test_pipes_are_no_images(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png")
    os.mkfifo(tmp_path / "cat/pipe.png")
    assert list(labels(tmp_path)) == ["cat/1.png"]


def test_names_that_are_not_utf8_stay_readable(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"pixels")
    (row,) = read(tmp_path)
    assert (row["path"], row["label"], row["bytes"]) == (r"caf\xe9/\xff.png", r"caf\xe9", 6)
    assert Storage.at(tmp_path).read(row["path"]) == b"pixels"


def test_two_names_that_read_the_same_are_an_error(tmp_path: Path) -> None:
    make(tmp_path, r"cat/caf\xe9.png", "cat/1.png")
    (tmp_path / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"1")
    with pytest.raises(SourceError, match="not UTF-8"):
        read(tmp_path)


def test_more_than_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorgnette.sources.folder.BATCH_ROWS", 4)
    make(tmp_path, *(f"cat/{number}.png" for number in range(9)))
    assert [len(batch) for batch in FolderSource(str(tmp_path)).records()] == [4, 4, 1]
    (tmp_path / "cat/8.png").unlink()
    assert [len(batch) for batch in FolderSource(str(tmp_path)).records()] == [4, 4]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (None, {"cat/1.a.png": None, "cat/kim/2.png": None, "dog/1.a.jpg": None}),
        ("stem", {"cat/1.a.png": "1.a", "cat/kim/2.png": "kim/2", "dog/1.a.jpg": "1.a"}),
        ("parent", {"cat/1.a.png": None, "cat/kim/2.png": "kim", "dog/1.a.jpg": None}),
        (r"^(\w+)/", {"cat/1.a.png": None, "cat/kim/2.png": "kim", "dog/1.a.jpg": None}),
        (r"(\d+)", {"cat/1.a.png": "1", "cat/kim/2.png": "2", "dog/1.a.jpg": "1"}),
    ],
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_groups(
    tmp_path: Path, split: str, group: str | None, expected: dict[str, str | None]
) -> None:
    make(tmp_path, *(split + path for path in expected))
    assert {row["path"]: row["group"] for row in read(tmp_path, group)} == {
        split + path: value for path, value in expected.items()
    }


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("(", "not a regular expression"),
        (r"\d+", "has 0 of them"),
        (r"(\d)(\d)", "has 2 of them"),
        ("stm", "did you mean 'stem'"),
    ],
)
def test_groups_that_make_no_sense(group: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        grouping(group)


def test_an_optional_capture_group_that_takes_no_part() -> None:
    assert grouping(r"a(b)?")("a") is None


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no images.*no files at all"):
        read(tmp_path)
    make(tmp_path, "README.txt", "labels.csv")
    with pytest.raises(SourceError, match=r"1 \.csv"):
        read(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        FolderSource(str(tmp_path / "none"))
    with pytest.raises(SourceError, match="is a file"):
        FolderSource(str(tmp_path / "README.txt"))


def test_a_folder_that_vanishes_is_one_sentence(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png")
    source = FolderSource(str(tmp_path))
    (tmp_path / "cat/1.png").unlink()
    (tmp_path / "cat").rmdir()
    tmp_path.rmdir()
    with pytest.raises(SourceError, match="vanished"):
        list(source.records())


NAMES = st.sampled_from(["a", "B", "a.png", "a-b", "é", "z z", "0", "test", "train"])
TREES = st.sets(st.lists(NAMES, min_size=1, max_size=4).map(tuple), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(tree=TREES)
def test_records_are_sorted_unique_and_complete(
    tmp_path_factory: pytest.TempPathFactory, tree: set[tuple[str, ...]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    paths = {
        "/".join(parts)
        for parts in tree
        if not any(other[: len(parts)] == parts and other != parts for other in tree)
    }
    make(root, "zoo/first.png", *paths)  # so that no tree is one of splits alone
    splits = {path.split("/")[0] for path in paths if path.count("/") > 1} & {"train", "test"}
    if splits:
        with pytest.raises(SourceError, match="looks like a split"):
            read(root)
    else:
        assert [row["path"] for row in read(root)] == sorted({"zoo/first.png", *paths})


@given(parts=st.lists(NAMES, min_size=1, max_size=4), split_folders=st.booleans())
def test_describe_loses_no_part_of_the_path(parts: list[str], split_folders: bool) -> None:
    parts = ["train", *parts] if split_folders else parts
    split, label, below = describe("/".join(parts), split_folders)
    assert [*(["train"] if split else []), *([label] if label else []), *below.split("/")] == parts


def test_open_source_goes_by_what_is_there(tmp_path: Path) -> None:
    folder = make(tmp_path / "folder", "cat/1.png", "photo.png")
    (tmp_path / "t.csv").write_text("path,label\nfolder/photo.png,cat\n")
    assert open_source(SourceConfig(location=str(folder))).kind == "folder"
    assert open_source(SourceConfig(location=str(tmp_path / "t.csv"))).kind == "table"
    with pytest.raises(SourceError, match="neither a folder nor a table"):
        open_source(SourceConfig(location=str(folder / "photo.png")))
    with pytest.raises(SourceError, match="did you mean 'folder'"):
        open_source(SourceConfig(location=str(tmp_path / "foldr")))
    with pytest.raises(SourceError, match="No source was given"):
        open_source(SourceConfig())
    with pytest.raises(SourceError, match="--label describes a table"):
        open_source(SourceConfig(location=str(folder), label="x"))
