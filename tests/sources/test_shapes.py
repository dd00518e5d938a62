"""The demonstration source: the same pictures every time, in the folders that were asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, UnidentifiedImageError

from lorgnette.errors import ConfigError
from lorgnette.sources import FolderSource
from lorgnette.sources.shapes import CLASSES, draw_shape, draw_shapes


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_arguments_give_the_same_files(tmp_path: Path) -> None:
    draw_shapes(tmp_path / "a", 12, 32, seed=1)
    draw_shapes(tmp_path / "b", 12, 32, seed=1)
    draw_shapes(tmp_path / "c", 12, 32, seed=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not set(contents(tmp_path / "a").values()) & set(contents(tmp_path / "c").values())


def test_drawing_again_leaves_files_alone(tmp_path: Path) -> None:
    draw_shapes(tmp_path, 6, 32, broken=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    draw_shapes(tmp_path, 6, 32, broken=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_it_is_a_balanced_folder_source_of_png_and_jpeg(tmp_path: Path) -> None:
    assert draw_shapes(tmp_path, 60, 40) == []
    table = pa.Table.from_batches(list(FolderSource(str(tmp_path)).records()))
    counts = {item["values"]: item["counts"] for item in table["label"].value_counts().to_pylist()}
    assert counts == dict.fromkeys(CLASSES, 20)
    formats = set()
    for path in table["path"].to_pylist():
        with Image.open(tmp_path / path) as picture:
            assert (picture.size, picture.mode) == ((40, 40), "RGB")
            formats.add(picture.format)
    assert formats == {"PNG", "JPEG"}


def test_wrong_labels_are_as_many_as_asked_and_named(tmp_path: Path) -> None:
    moved = draw_shapes(tmp_path / "wrong", 30, 32, wrong=0.2)
    draw_shapes(tmp_path / "right", 30, 32)
    wrong, right = contents(tmp_path / "wrong"), contents(tmp_path / "right")
    assert len(moved) == 6
    assert set(wrong) - set(right) == set(moved)
    assert sorted(wrong.values()) == sorted(right.values())


def test_broken_files(tmp_path: Path) -> None:
    draw_shapes(tmp_path, 3, 32, broken=True)
    found = contents(tmp_path)
    assert found["square/empty.png"] == b""
    assert found["square/original.png"] == found["triangle/copy.png"]
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "triangle/not-an-image.jpg")
    with pytest.raises(OSError, match=r"(?i)truncated"):
        Image.open(io.BytesIO(found["circle/truncated.jpg"])).load()


def test_colour_does_not_give_the_class_away() -> None:
    """The nearest class mean of the mean colours does little better than chance (1/3)."""
    rng = np.random.default_rng(0)
    colours = np.array(
        [
            [np.asarray(draw_shape(name, 32, rng)).mean((0, 1)) for _ in range(100)]
            for name in CLASSES
        ]
    )
    means = colours[:, :50].mean(1)
    nearest = np.linalg.norm(colours[:, 50:, None] - means, axis=-1).argmin(-1)
    assert (nearest == np.arange(3)[:, None]).mean() < 0.5


@pytest.mark.parametrize("arguments", [{"n": 2}, {"size": 8}, {"wrong": 1.5}])
def test_numbers_out_of_range(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Shapes need"):
        draw_shapes(tmp_path, **arguments)
