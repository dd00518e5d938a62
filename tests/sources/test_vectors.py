from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorgnette.config import SourceConfig
from lorgnette.errors import SourceError
from lorgnette.sources import open_source
from lorgnette.sources.vectors import columns_of

COLUMNS = ["id", *(f"v{n}" for n in range(1, 13)), "age", "label"]


def opened(path: Path, features: str = "v*", **described: Any) -> Any:
    return open_source(SourceConfig(location=str(path), features=features, **described))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("v1..v3", ("v1", "v2", "v3")),
        ("v9..v11,age", ("v9", "v10", "v11", "age")),
        (" age , v2 ", ("age", "v2")),
        ("v?", tuple(f"v{n}" for n in range(1, 10))),
        ("v1?", ("v10", "v11", "v12")),
    ],
)
def test_columns_are_named_listed_and_matched(wanted: str, found: tuple[str, ...]) -> None:
    assert columns_of(wanted, COLUMNS, "a.csv") == found


def test_ranges_keep_leading_zeros() -> None:
    columns = [f"x{n:03d}" for n in range(12)]
    assert columns_of("x008..x010", columns, "a.csv") == ("x008", "x009", "x010")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("v1..v99", "no column 'v13'"),
        ("agge", "did you mean 'age'"),
        ("w*", r"pattern 'w\*' of --features matches no column"),
        ("v1,v1..v2", "names 'v1' more than once"),
        (" , ", "names no column"),
    ],
)
def test_wrong_features(wanted: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        columns_of(wanted, COLUMNS, "a.csv")


@given(st.integers(1, 600), st.integers(1, 600))
def test_a_range_is_its_numbers(low: int, high: int) -> None:
    columns = [f"f{n}" for n in range(1, 601)]
    if low > high:
        with pytest.raises(SourceError):
            columns_of(f"f{low}..f{high}", columns, "a.csv")
    else:
        assert columns_of(f"f{low}..f{high}", columns, "a.csv") == tuple(columns[low - 1 : high])


def test_rows_become_records_and_numbers(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.csv",
        "name,v1,v2,label,who,part\na,1.5,2,x,p,train\nb,-3e-2,,y,p,test\nc,nan,7,,q,dev\n",
    )
    source = opened(path, id="name", group="who", split="part")
    assert source.features == ("v1", "v2")
    records = pa.Table.from_batches(list(source.records())).to_pylist()
    assert [row["id"] for row in records] == ["a", "b", "c"]
    assert [row["label"] for row in records] == ["x", "y", None]
    assert [row["group"] for row in records] == ["p", "p", "q"]
    assert [row["split"] for row in records] == ["train", "test", "val"]
    assert records[1]["path"] == "a.csv row 3"
    batches = list(source.vectors())
    assert pa.Table.from_batches([batch for batch, _ in batches]).to_pylist() == records
    vectors = np.concatenate([vectors for _, vectors in batches])
    assert vectors.dtype == np.float32
    expected = np.array([[1.5, 2], [-0.03, np.nan], [np.nan, 7]], np.float32)
    np.testing.assert_array_equal(vectors, expected)


def test_without_ids_the_row_is_the_id(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "v1,label\n1,x\n2,y\n")
    records = pa.Table.from_batches(list(opened(path).records()))
    assert records["id"].to_pylist() == ["2", "3"]


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int64(), pa.bool_()])
def test_parquet_of_any_number(tmp_path: Path, kind: pa.DataType) -> None:
    numbers = pa.array([1, 0, 1]).cast(kind)
    pq.write_table(pa.table({"v1": numbers, "label": ["a", "b", "a"]}), tmp_path / "a.parquet")
    (_, vectors), *rest = opened(tmp_path / "a.parquet").vectors()
    assert not rest
    np.testing.assert_array_equal(vectors, [[1], [0], [1]])


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).standard_normal((20_000, 3)).astype(np.float32)
    table = pa.table({f"v{k}": numbers[:, k] for k in range(3)} | {"label": ["a", "b"] * 10_000})
    for name in ("a.csv", "a.parquet"):
        if name.endswith("csv"):
            pa.csv.write_csv(table, tmp_path / name)
        else:
            pq.write_table(table, tmp_path / name)
        found = np.concatenate([vectors for _, vectors in opened(tmp_path / name).vectors()])
        np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize(
    ("text", "described", "sentence"),
    [
        ("v1,label\n1,a\nx,b\n", {}, r"column 'v1' of .* has 'x' \(row 3\)"),
        ("v1,v2\n1,2\n", {}, "no column named label"),
        ("v1,label\n", {}, "has a header and no rows"),
        ("id,v1,label\n1,1,a\n1,2,b\n", {}, "Ids must be unique, and '1'"),
        ("id,v1,label\n,1,a\n", {}, "row 2 has none"),
        ("v1,v2,label\n1,2,a\n", {"label": "v2"}, "Column 'v2' of .* is the label, and --features"),
        ("v1,label,split\n1,a,tests\n", {}, "did you mean 'test'"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, described: dict[str, Any], sentence: str) -> None:
    path = written(tmp_path / "a.csv", text)

    def read() -> None:
        source = opened(path, **described)
        list(source.records())
        list(source.vectors())

    with pytest.raises(SourceError, match=sentence):
        read()


def test_text_in_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v1": ["a"], "label": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"column 'v1' of .* holds string"):
        list(opened(tmp_path / "a.parquet").vectors())


def test_features_of_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(SourceError, match="--features are columns of a table"):
        opened(tmp_path)


class TestGlasses:
    """The latent vectors of the published set, without its images."""

    @pytest.fixture
    def tables(self, tmp_path: Path) -> Path:
        written(tmp_path / "train.csv", "id,v1,v2,glasses\n1,1,2,1\n2,3,4,0\n3,5,6,1\n")
        written(tmp_path / "test.csv", "id,v1,v2\n4,7,8\n")
        written(tmp_path / "c.csv", "id,glasses\n1,0\n2,\n3,1\n4,1\n")
        return tmp_path

    def test_tables_are_joined(self, tables: Path) -> None:
        source = opened(tables, "v1..v2")
        records = pa.Table.from_batches(list(source.records())).to_pylist()
        assert [row["label"] for row in records] == ["glasses", "no_glasses", "glasses", None]
        vectors = np.concatenate([vectors for _, vectors in source.vectors()])
        np.testing.assert_array_equal(vectors, [[1, 2], [3, 4], [5, 6], [7, 8]])

    def test_corrections_go_over_the_labels(self, tables: Path) -> None:
        source = opened(tables, "v1..v2", corrections=str(tables / "c.csv"))
        batches = list(source.vectors())
        records = pa.Table.from_batches([batch for batch, _ in batches]).to_pylist()
        assert [row["id"] for row in records] == ["1", "3", "4"]
        assert [row["label"] for row in records] == ["no_glasses", "glasses", "glasses"]
        vectors = np.concatenate([vectors for _, vectors in batches])
        np.testing.assert_array_equal(vectors, [[1, 2], [5, 6], [7, 8]])
        assert source.excluded == {"undecidable": 1}

    def test_the_label_is_no_feature(self, tables: Path) -> None:
        with pytest.raises(SourceError, match=r"'glasses' of .* is no number to learn from"):
            opened(tables, "v1..v2,glasses")
