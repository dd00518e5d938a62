"""Tables: columns, types, ids, splits, encodings, and every way in which they go wrong."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError
from lorgnette.sources import open_source
from lorgnette.sources.base import BATCH_ROWS, RECORD
from lorgnette.sources.columns import text
from lorgnette.sources.table import Numbering, TableSource, _hashes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def opened(folder: Path, content: str | bytes, **settings: Any) -> TableSource:
    path = folder / settings.pop("name", "table.csv")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    source = open_source(SourceConfig(location=str(path), **settings))
    assert isinstance(source, TableSource)
    return source


def rows(source: TableSource) -> list[dict[str, Any]]:
    batches = list(source.records())
    assert all(batch.schema == RECORD for batch in batches)
    found: list[dict[str, Any]] = pa.Table.from_batches(batches).to_pylist()
    return found


def read(folder: Path, content: str | bytes, **settings: Any) -> list[dict[str, Any]]:
    return rows(opened(folder, content, **settings))


def parquet(folder: Path, columns: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    pq.write_table(pa.table(columns), folder / "table.parquet")
    source = open_source(SourceConfig(location=str(folder / "table.parquet"), **settings))
    assert isinstance(source, TableSource)
    return rows(source)


def complaint(folder: Path, content: str | bytes, **settings: Any) -> str:
    with pytest.raises(SourceError) as caught:
        read(folder, content, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_columns(folder: Path) -> None:
    (one, two) = read(
        folder,
        "id,path,label,group,split\nx, 1.png , cat ,g,Training\ny,./2.png,,,\n",
    )
    modified = (folder / "1.png").stat().st_mtime_ns
    assert one == {
        **{"id": "x", "path": "1.png", "label": "cat", "group": "g", "split": "train"},
        **{"bytes": 5, "modified": modified},
    }
    assert {**two, "modified": 0} == {
        **{"id": "y", "path": "2.png", "label": None, "group": None, "split": None},
        **{"bytes": 5, "modified": 0},
    }


@pytest.mark.parametrize("path", ["path", "FILE", "Filename", "file_name", " image", "filepath"])
@pytest.mark.parametrize("label", ["label", "Class", "TARGET", "category"])
def test_columns_by_their_usual_names(folder: Path, path: str, label: str) -> None:
    (row,) = read(folder, f"{label},{path}\ncat,1.png\n")
    assert (row["path"], row["label"]) == ("1.png", "cat")


def test_named_columns_win(folder: Path) -> None:
    (row,) = read(
        folder,
        "path,label,subject,glasses,img\nx,y,kim,1,1.png\n",
        **{"path": "img", "label": "glasses", "group": "subject"},
    )
    assert (row["path"], row["label"], row["group"]) == ("1.png", "1", "kim")


def test_one_column_may_have_two_roles(folder: Path) -> None:
    (row,) = read(folder, "path,label\n1.png,cat\n", group="label")
    assert (row["label"], row["group"]) == ("cat", "cat")


def test_an_empty_name_takes_a_column_out_of_its_role(folder: Path) -> None:
    (row,) = read(folder, "path,label,group\n1.png,cat,control\n", group="")
    assert row["group"] is None


def test_a_named_column_that_is_missing(folder: Path) -> None:
    message = complaint(folder, "path,label\n1.png,cat\n", label="lable")
    assert "no column 'lable' for the label" in message
    assert "did you mean 'label'" in message
    assert "Its columns: path, label." in message


def test_no_usual_name(folder: Path) -> None:
    message = complaint(folder, "file,glasses\n1.png,1\n")
    assert "--label" in message
    assert "file, glasses" in message
    assert "--path" in complaint(folder, "1.png,cat\n2.png,dog\n")


def test_labels_may_be_absent_where_they_are_not_needed(folder: Path) -> None:
    (folder / "t.csv").write_text("path\n1.png\n")
    source = open_source(SourceConfig(location=str(folder / "t.csv")), require_label=False)
    assert next(source.records())["label"].to_pylist() == [None]


def test_two_usual_names_are_ambiguous(folder: Path) -> None:
    message = complaint(folder, "path,label,class\n1.png,a,b\n")
    assert "more than one column could be the label (label, class)" in message
    assert "more than one" in complaint(folder, "path,label,label\n1.png,a,b\n", label="label")


def test_separators_and_compression(folder: Path) -> None:
    expected = [("1.png", "a,b")]
    for name, content in {
        "t.tsv": b"path\tlabel\n1.png\ta,b\n",
        "t.csv": b'path;label\n1.png;"a,b"\n',
        "t.csv.gz": gzip.compress(b'path,label\n1.png,"a,b"\n'),
        "t.tsv.gz": gzip.compress(b"path\tlabel\n1.png\ta,b\n"),
    }.items():
        found = [(row["path"], row["label"]) for row in read(folder, content, name=name)]
        assert found == expected, name


def test_byte_order_mark_crlf_blank_lines_and_quoted_newlines(folder: Path) -> None:
    content = '\ufeffpath,"label",note\r\n1.png,cat,"a\r\nb"\r\n\r\n2.png,"d""og",\r\n'
    assert [(row["path"], row["label"]) for row in read(folder, content)] == [
        ("1.png", "cat"),
        ("2.png", 'd"og'),
    ]


def test_the_words_for_nothing_are_labels(folder: Path) -> None:
    content = "path,label\n1.png,NA\n2.png,null\n3.png,nan\n"
    assert [row["label"] for row in read(folder, content)] == ["NA", "null", "nan"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("path,label\n", "has a header and no rows"),
        ("path,label", "has a header and no rows"),
        ("path,label\n1.png,cat\n2.png,dog,3\n", "have the 2 columns.*one has 3 (row 3)"),
        ("path,label\n1.png,cat\n2.png\n", "have the 2 columns.*one has 1 (row 3)"),
        ("path,label\n1.png,caf\xe9\n".encode("latin-1"), "is not UTF-8 (row 2)"),
        ("path,caf\xe9\n1.png,x\n".encode("latin-1"), "is not UTF-8: save"),
        ("path,label\n1.png,x\n".encode("utf-16"), "is not UTF-8: save"),
        ('path,label\n1.png,"cat\n' + "2.png,dog\n" * 300_000, "is a quote never closed"),
        ("path,label\n1.png,cat\n,dog\n", "row 3 has none"),
        ("id,path,label\n,1.png,cat\n", "'id', the id, and row 2 has none"),
        ("path,label,split\n1.png,cat,train\n2.png,cat,tset\n", "row 3.*'tset'.*'test'"),
    ],
)
def test_complaints_name_the_place(folder: Path, content: str | bytes, message: str) -> None:
    for part in message.split(".*"):
        assert part in complaint(folder, content)


def test_parquet_types(folder: Path) -> None:
    labels = {
        "text": (pa.array([" a", ""]), ["a", None]),
        "large": (pa.array(["a", None], pa.large_string()), ["a", None]),
        "dictionary": (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        "integer": (pa.array([1, None]), ["1", None]),
        "boolean": (pa.array([True, False]), ["true", "false"]),
        "float": (pa.array([1.0, None]), ["1", None]),
        "nan": (pa.array([float("nan"), 0.5]), [None, "0.5"]),
        "half": (pa.array([1.0, -2.0], pa.float32()), ["1", "-2"]),
        "huge": (pa.array([1e300, float("inf")]), ["1e+300", "inf"]),
        "binary": (pa.array([b"a", None]), ["a", None]),
        "day": (pa.array([0, None], pa.date32()), ["1970-01-01", None]),
    }
    for name, (column, expected) in labels.items():
        found = parquet(folder, {"path": ["1.png", "2.png"], "label": column})
        assert [row["label"] for row in found] == expected, name


def test_parquet_errors(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"'label' of .* must be text or numbers.*list"):
        parquet(folder, {"path": ["1.png"], "label": [[1]]})
    with pytest.raises(SourceError, match="no rows"):
        parquet(folder, {"path": pa.array([], pa.string()), "label": pa.array([], pa.string())})
    assert "not a Parquet file" in complaint(folder, "path,label\n", name="t.parquet")
    with pytest.raises(SourceError, match="There is no table"):
        TableSource(SourceConfig(location=str(folder / "none.parquet")))


@given(st.floats())
def test_floats_read_as_their_value(value: float) -> None:
    (found,) = text(pa.array([value])).to_pylist()
    assert (value != value) if found is None else float(found) == value


def test_images_elsewhere_and_absolute_paths(folder: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    content = f"path,label\n1.png,cat\n{folder}/2.png,dog\nfile://{folder}/3.png,dog\n"
    source = opened(elsewhere, content, images=str(folder))
    assert source.images == str(folder)
    assert [row["path"] for row in rows(source)] == ["1.png", f"{folder}/2.png", f"{folder}/3.png"]
    assert [row["bytes"] for row in rows(source)] == [5, 5, 5]


def test_no_image_where_they_should_be(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "images/9.png").touch()
    message = complaint(folder, "path,label\n9.png,cat\n")
    assert "None of the first 1 images" in message
    assert f"perhaps {folder}/images" in message
    assert "--images" in complaint(folder, "path,label\n1.png,cat\n", images=f"{folder}/none")


def test_some_missing_images_are_records(folder: Path) -> None:
    (_, gone) = read(folder, "path,label\n1.png,cat\nnone.png,cat\n")
    assert (gone["bytes"], gone["modified"]) == (None, None)


def test_paths_that_are_urls(folder: Path) -> None:
    content = "path,label\ns3://bucket/a/1.png,cat\ns3://bucket/b/2.png,dog\n"
    source = opened(folder, content)
    assert source.images == "s3://bucket"
    assert [(row["path"], row["bytes"]) for row in rows(source)] == [
        ("a/1.png", None),
        ("b/2.png", None),
    ]
    assert [row["path"] for row in read(folder, content.replace("b/2", "a/2"))] == [
        *("a/1.png", "a/2.png"),
    ]
    message = complaint(folder, content, images="s3://bucket/a")
    assert "row 3" in message
    assert "s3://bucket/b/2.png" in message
    assert "row 3" in complaint(folder, "path,label\n1.png,cat\ns3://bucket/2.png,cat\n")


def test_ids_must_be_unique(folder: Path) -> None:
    content = "id,path,label\na,1.png,x\nb,2.png,x\na,3.png,x\n"
    message = complaint(folder, content)
    assert "'a'" in message
    assert "rows 2 and 4" in message
    assert "--id path" in message
    assert [row["id"] for row in read(folder, content, id="path")] == ["1.png", "2.png", "3.png"]


def test_a_path_that_occurs_again_is_numbered(folder: Path) -> None:
    content = "path,label\n1.png,x\n1.png,y\n2.png,x\n1.png,x\n1.png#2,x\n"
    found = read(folder, content)
    assert [row["id"] for row in found] == ["1.png", "1.png#3", "2.png", "1.png#4", "1.png#2"]
    assert [row["path"] for row in found[:2]] == ["1.png", "1.png"]
    assert [row["label"] for row in found[:2]] == ["x", "y"]


@given(st.lists(st.sampled_from(["a", "a#2", "a#", "a#2#2", "b", "#2"]), max_size=30))
def test_numbered_ids_are_unique_and_keep_the_first(paths: list[str]) -> None:
    numbering = Numbering(_hashes(paths))
    half = len(paths) // 2
    ids = numbering.ids(paths[:half]) + numbering.ids(paths[half:])
    assert len(set(ids)) == len(paths)
    for path in set(paths):
        assert ids[paths.index(path)] == path


def test_an_id_that_merely_shares_a_hash_is_no_repeat(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.setattr(
        "lorgnette.sources.table._hashes", lambda texts: np.zeros(len(texts), np.int64)
    )
    content = "id,path,label\na,1.png,x\nb,2.png,x\n"
    assert [row["id"] for row in read(folder, content)] == ["a", "b"]
    assert "rows 2 and 4" in complaint(folder, f"{content}a,3.png,x\n")


def test_batches_are_bounded_and_in_order(folder: Path) -> None:
    count = 2 * BATCH_ROWS + 7
    content = "path,label\n1.png,0\n" + "".join(f"{n},{n % 3}\n" for n in range(1, count))
    source = opened(folder, content)
    batches = list(source.records())
    assert max(len(batch) for batch in batches) <= BATCH_ROWS
    labels = pa.Table.from_batches(batches)["label"].to_pylist()
    assert labels == [str(n % 3) for n in range(count)]
    assert [batch.to_pydict() for batch in source.records()] == [
        batch.to_pydict() for batch in batches
    ]


# VmHWM rather than getrusage: the latter begins with the peak of the process that forked.
PEAK = """
import re, sys
from pathlib import Path
from lorgnette.config import SourceConfig
from lorgnette.sources import open_source
rows = sum(len(b) for b in open_source(SourceConfig(location=sys.argv[1])).records())
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(rows, int(peak[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_stays_flat(tmp_path: Path, suffix: str) -> None:
    """2.8 million rows more, 270 MiB of text, take at most 120 MiB more.

    The bound is wide because Arrow's allocator keeps what it had for a while, now more, now less.
    """
    peaks = []
    (tmp_path / "0").touch()
    for count in (200_000, 3_000_000):
        numbers = range(count)
        paths = ["0", *(f"a/long/folder/name/that/goes/on/{n:060d}.png" for n in numbers[1:])]
        table = tmp_path / f"{count}.{suffix}"
        if suffix == "csv":
            lines = (f"{path},{n % 2}\n" for n, path in enumerate(paths))
            with table.open("w") as file:
                file.write("path,label\n")
                file.writelines(lines)
        else:
            pq.write_table(pa.table({"path": paths, "label": [n % 2 for n in numbers]}), table)
        run = subprocess.run(
            [sys.executable, "-c", PEAK, str(table)], capture_output=True, text=True, check=True
        )
        rows, peak = map(int, run.stdout.split())
        assert rows == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 120, peaks
