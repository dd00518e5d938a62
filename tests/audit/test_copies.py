"""Copies: planted ones are found, those that only look alike are not, and the table tells all."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance

from lorgnette.audit import copies
from lorgnette.audit.alignment import DIFFERENT, difference, thumbnails
from lorgnette.audit.copies import COPIES, find_copies
from lorgnette.audit.neighbours import neighbours
from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import DatasetError
from lorgnette.evaluation.hidden import embed
from lorgnette.sources.portraits.draw import draw
from lorgnette.sources.portraits.latent import vectors
from lorgnette.storage import Storage

SIZE = 96


def portrait(number: int) -> Image.Image:
    return Image.fromarray(draw(vectors(11, number, number + 1)[0], SIZE))


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def cut(image: Image.Image, pixels: int) -> Image.Image:
    return image.crop((pixels, pixels, SIZE - pixels, SIZE - pixels))


CHANGES: dict[str, Any] = {
    "quality 30": lambda image: jpeg(image, 30),
    "half the size": lambda image: jpeg(image.resize((SIZE // 2, SIZE // 2))),
    "twice the size": lambda image: jpeg(image.resize((SIZE * 2, SIZE * 2))),
    "cut": lambda image: jpeg(cut(image, 2)),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.15)),
    "darker": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(0.85)),
    "grey": lambda image: jpeg(image.convert("L")),
}


def prepared(root: Path, files: dict[str, bytes]) -> Dataset:
    for name, data in files.items():
        (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "source" / name).write_bytes(data)
    source = SourceConfig(location=str(root / "source"))
    settings = PrepareConfig(size=(64,), shard_items=64)
    return prepare(source, str(root / "out"), settings, LocalEngine(1))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """40 portraits, of the first 7 a changed copy, and of number 8 and 9 an exact one."""
    files: dict[str, bytes] = {}
    for number in range(40):
        files[f"{'ab'[number % 2]}/{number:02d}.jpg"] = jpeg(portrait(number), 95)
    for number, change in enumerate(CHANGES.values()):
        label = "ab"[number % 2 if number else 1]  # the first has another label
        files[f"{label}/copy{number}.jpg"] = change(portrait(number))
    files["a/exact8.jpg"] = files["a/08.jpg"]
    files["a/exact9.jpg"] = files["b/09.jpg"]
    return prepared(tmp_path_factory.mktemp("family"), files)


def found_in(dataset: Dataset, parts: Any = None, **settings: Any) -> pa.Table:
    chosen = np.full(len(dataset), -1, np.int8) if parts is None else parts
    return find_copies(dataset, chosen, None, LocalEngine(1), **settings)


def clusters_of(table: pa.Table) -> set[frozenset[str]]:
    found: dict[int, set[str]] = {}
    for row in table.to_pylist():
        found.setdefault(row["cluster"], set()).add(row["id"])
    return {frozenset(ids) for ids in found.values()}


def expected() -> set[frozenset[str]]:
    pairs = {frozenset({"a/08.jpg", "a/exact8.jpg"}), frozenset({"b/09.jpg", "a/exact9.jpg"})}
    for number in range(len(CHANGES)):
        label = "ab"[number % 2 if number else 1]
        own = f"{'ab'[number % 2]}/{number:02d}.jpg"
        pairs.add(frozenset({own, f"{label}/copy{number}.jpg"}))
    return pairs


def test_every_planted_copy_is_found_and_nothing_else(family: Dataset) -> None:
    assert clusters_of(found_in(family)) == expected()


def test_the_table_tells_labels_parts_and_distances(family: Dataset) -> None:
    ids = family.rows(["id"])["id"].to_pylist()
    parts = np.zeros(len(ids), np.int8)
    parts[ids.index("b/copy1.jpg")] = 2
    parts[ids.index("a/02.jpg")] = -1
    table = found_in(family, parts)
    assert table.schema.equals(COPIES)
    rows = {row["id"]: row for row in table.to_pylist()}
    first, other = rows["a/00.jpg"], rows["b/copy0.jpg"]
    assert (first["given"], other["given"], first["of"]) == ("a", "b", "a/00.jpg")
    assert other["of"] == "a/00.jpg"
    assert first["conflict"]
    assert other["conflict"]
    assert not other["straddles"]
    assert 0 <= other["distance"] <= 8
    assert rows["b/copy1.jpg"]["part"] == "test"
    assert rows["b/01.jpg"]["straddles"]
    assert not rows["b/01.jpg"]["conflict"]
    assert rows["a/02.jpg"]["part"] is None
    assert not rows["a/copy2.jpg"]["straddles"]
    twin = rows["a/exact9.jpg"], rows["b/09.jpg"]
    kept = next(row for row in twin if row["of"] == row["id"])
    assert all(row["kind"] == "exact" and row["distance"] == 0 for row in twin)
    assert all(row["conflict"] for row in twin)
    assert kept["part"] == "train"
    places = [ids.index(row["id"]) for row in table.to_pylist() if row["of"] == row["id"]]
    assert places == sorted(places)
    assert [row["cluster"] for row in table.to_pylist()] == sorted(table["cluster"].to_pylist())


def test_the_embedding_proposes_what_hashes_miss(family: Dataset, tmp_path: Path) -> None:
    embeddings = embed(None, family, Storage.at(str(tmp_path)))
    near = neighbours(embeddings, family.labels(), 2)
    parts = np.full(len(family), -1, np.int8)
    table = find_copies(family, parts, near, LocalEngine(1), radius=0)
    kinds = dict(zip(table["id"].to_pylist(), table["kind"].to_pylist(), strict=True))
    assert kinds["b/copy5.jpg"] in ("hash", "embedding")
    assert "embedding" in kinds.values()
    assert clusters_of(table) <= expected()


def test_pieces_through_the_engine_give_the_same(
    family: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found_in(family)
    monkeypatch.setattr(copies, "PIECE", 3)
    assert found_in(family).equals(whole)


def test_a_bound_on_pairs_is_kept_and_told(
    family: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found_in(family).schema.metadata
    monkeypatch.setattr(copies, "COMPARED", 3)
    facts = found_in(family).schema.metadata
    assert facts[b"lorgnette.pairs"] == b"3"
    assert int(facts[b"lorgnette.left_out"]) == int(whole[b"lorgnette.pairs"]) - 3


def test_blank_pictures_are_copies_by_colour(tmp_path: Path) -> None:
    files = {}
    for number in range(12):
        image = Image.new("RGB", (64, 64), (90, 90, 90) if number % 2 else (90, 160, 30))
        image.putpixel((0, 0), (number, 0, 0))  # different bytes
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files[f"a/{number:02d}.png"] = buffer.getvalue()
    table = found_in(prepared(tmp_path, files))
    assert clusters_of(table) == {
        frozenset(f"a/{number:02d}.png" for number in range(start, 12, 2)) for start in (0, 1)
    }


def test_glasses_are_a_difference() -> None:
    plain = thumbnails(np.asarray(portrait(3))[None, 16:80, 16:80])
    worn = plain.copy()
    worn[0, 22:23, 10:54] = worn[0, 22:32, 10:12] = worn[0, 22:32, 30:32] = 20.0
    assert difference(plain, plain)[0] == 0
    assert difference(plain, worn)[0] > DIFFERENT


def test_vectors_all_but_equal_are_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)).round(4)
    x[41] = x[3] + 1e-5
    x[42] = x[5] + [0, 0, 0, 0, 0, 0.05]
    x[43] = x[7]
    lines = ["id,label,a,b,c,d,e,f"] + [
        f"v{n},{'no' if n % 2 else 'yes'},{','.join(map(str, row))}" for n, row in enumerate(x)
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    dataset = prepare(
        SourceConfig(location=str(tmp_path / "table.csv"), features="a,b,c,d,e,f"),
        str(tmp_path / "out"),
        PrepareConfig(),
        LocalEngine(1),
    )
    near = neighbours(embed(None, dataset, Storage.at(str(tmp_path))), dataset.labels(), 2)
    parts = np.full(len(dataset), -1, np.int8)
    table = find_copies(dataset, parts, near, LocalEngine(1))
    assert clusters_of(table) == {frozenset({"v3", "v41"}), frozenset({"v7", "v43"})}
    assert set(table["kind"].to_pylist()) == {"embedding", "exact"}
    assert found_in(dataset)["id"].to_pylist() == ["v7", "v43"]


def test_no_item_no_copy(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, {"a/1.jpg": jpeg(portrait(1))})
    table = found_in(dataset)
    assert table.schema.equals(COPIES)
    assert len(table) == 0
    with pytest.raises(DatasetError, match="Every usable item needs a part or -1, and the 1 of"):
        found_in(dataset, np.zeros(3, np.int8))
