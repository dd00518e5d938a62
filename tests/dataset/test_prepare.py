import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.duplicates import _verdicts, rewrite_shard
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.shard import read_summary
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import DatasetError, LockedError
from lorgnette.lock import locked
from lorgnette.storage import Storage
from pictures import encoded, folder_of, picture, with_oddities

SMALL = PrepareConfig(size=(16,), shard_items=8)


def make(
    source: Path | str, out: Path | str, settings: PrepareConfig = SMALL, overwrite: bool = False
) -> Dataset:
    described = SourceConfig(location=str(source))
    return prepare(described, str(out), settings, LocalEngine(2), overwrite=overwrite)


def contents(directory: Path) -> dict[str, bytes]:
    """All files below a directory but the lock."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return with_oddities(folder_of(tmp_path / "source"))


def test_every_file_is_a_row_with_its_status(source: Path, tmp_path: Path) -> None:
    dataset = make(source, tmp_path / "out")
    assert dataset.info.counts == {
        "ok": 40,
        "corrupt": 2,
        "missing": 0,
        "duplicate": 2,
        "unsupported": 1,
    }
    rows = {row["id"]: row for row in dataset.rows(["id", "status", "error"], None).to_pylist()}
    assert len(rows) == 45
    assert rows["a/truncated.png"]["status"] == "corrupt"
    assert rows["a/empty.jpg"]["status"] == "corrupt"
    assert rows["b/text.png"]["status"] == "unsupported"
    assert all(rows[name]["error"] for name in ("a/truncated.png", "a/empty.jpg", "b/text.png"))


def test_of_copies_one_stays_and_a_conflict_is_told_on_both(source: Path, tmp_path: Path) -> None:
    dataset = make(source, tmp_path / "out")
    rows = {row["id"]: row for row in dataset.rows(["id", "status", "error"], None).to_pylist()}
    assert rows["a/0000.png"]["status"] == "ok"
    assert "b/zcopy.png ('b')" in rows["a/0000.png"]["error"]
    assert rows["a/zcopy.png"] == {
        "id": "a/zcopy.png",
        "status": "duplicate",
        "error": "the same bytes as a/0000.png",
    }
    assert rows["b/zcopy.png"]["status"] == "duplicate"
    assert "labelled 'a' and this one 'b'" in rows["b/zcopy.png"]["error"]
    assert dataset.info.conflicts == 1


def test_pixels_belong_to_their_rows(source: Path, tmp_path: Path) -> None:
    dataset = make(source, tmp_path / "out")
    ids = dataset.rows(["id"])["id"].to_pylist()
    pixels = dataset.read(np.arange(len(dataset)))
    assert pixels.shape == (40, 16, 16, 3)
    for index in (0, 7, 8, 21, 39):
        image = Image.open(source / ids[index]).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.abs(pixels[index].astype(int) - np.asarray(image)).mean() < 1
    assert dataset.labels().tolist() == [0] * 20 + [1] * 20
    backwards = dataset.read(np.array([39, 0, 8]))
    assert (backwards == pixels[[39, 0, 8]]).all()


def test_statistics_are_those_of_the_pixels(source: Path, tmp_path: Path) -> None:
    dataset = make(source, tmp_path / "out")
    pixels = dataset.read(np.arange(len(dataset))).reshape(-1, 3).astype(float)
    assert dataset.info.mean == pytest.approx(pixels.mean(axis=0), abs=1e-4)
    assert dataset.info.deviation == pytest.approx(pixels.std(axis=0), abs=1e-4)


def test_several_sizes_in_one_pass(source: Path, tmp_path: Path) -> None:
    settings = PrepareConfig(size=(16, 12), color="gray", shard_items=8)
    dataset = make(source, tmp_path / "out", settings)
    rows = np.arange(len(dataset))
    assert dataset.read(rows).shape == (40, 16, 16, 1)
    assert dataset.read(rows, size=12).shape == (40, 12, 12, 1)
    names = {path.name for path in (tmp_path / "out" / "shards").iterdir()}
    assert {"00000.npy", "00000.12.npy", "00000.parquet"} <= names
    with pytest.raises(DatasetError, match="prepared at 16, 12 pixels, not 20"):
        dataset.read(rows, size=20)


def test_a_table_with_a_missing_file(tmp_path: Path) -> None:
    folder_of(tmp_path / "images", 4)
    lines = ["path,label"] + [f"a/{n:04d}.png,a" for n in range(4)]
    lines += [f"b/{n:04d}.png,b" for n in range(4)] + ["b/gone.png,b", "b,b"]
    (tmp_path / "images" / "table.csv").write_text("\n".join(lines))
    dataset = make(tmp_path / "images" / "table.csv", tmp_path / "out")
    assert Counter(dataset.rows(["status"], None)["status"].to_pylist()) == {"ok": 8, "missing": 2}


def test_the_bytes_do_not_depend_on_workers_or_luck(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "one")
    prepare(SourceConfig(location=str(source)), str(tmp_path / "two"), SMALL, LocalEngine(1))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    source = with_oddities(folder_of(tmp_path / "source", 300))
    make(source, tmp_path / "undisturbed")
    out = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "lorgnette", "prepare", str(source), "--out", str(out)),
        *("--size", "16", "--set", "prepare.shard_items=8", "--quiet"),
    ]
    killed = 0
    for shards in (2, 20, 45, 60):
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None:
            if len(list(out.glob("shards/*.parquet"))) >= shards:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.005)
        process.wait()
    assert killed >= 2
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_killed_while_duplicates_are_set_aside(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "undisturbed")
    out = tmp_path / "out"
    make(source, out)
    # Back to the moment when shards were decoded and one of the verdicts was carried out.
    (out / "shards" / "00000.parquet").unlink()
    (out / "dataset.json").unlink()
    make(source, out)
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_verdict_carried_out_twice_changes_nothing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(source, out)
    before = contents(out)
    storage = Storage.at(str(out))
    done = {index: read_summary(storage, index, (16,)) for index in range(6)}
    verdicts = _verdicts(storage, {i: s for i, s in done.items() if s is not None})
    assert verdicts
    for verdict in verdicts:
        rewrite_shard(verdict, out=str(out), sizes=(16,))
    assert contents(out) == before


def test_finished_it_returns_at_once(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(source, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    again = make(source, out)
    assert len(again) == 40
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}


@pytest.mark.parametrize("name", ["00001.npy", "00001.parquet"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_shard_is_made_anew(source: Path, tmp_path: Path, name: str, damage: str) -> None:
    out = tmp_path / "out"
    make(source, out)
    before = contents(out)
    path = out / "shards" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-10])
    make(source, out)
    assert contents(out) == before


def test_a_changed_source_is_noticed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(source, out)
    before = contents(out)
    (source / "a" / "new.png").write_bytes(encoded(picture(99, 0)))
    with pytest.raises(DatasetError, match=r"source's files or labels.*--overwrite"):
        make(source, out)
    assert contents(out) == before
    assert len(make(source, out, overwrite=True)) == 41


def test_a_changed_file_is_noticed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(source, out)
    (source / "a" / "0003.png").write_bytes(encoded(picture(99, 0, (30, 30))))
    with pytest.raises(DatasetError, match="source's files or labels"):
        make(source, out)


def test_other_settings_are_noticed(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"size \(\[16\] before, \[20\] now\)"):
        make(source, tmp_path / "out", PrepareConfig(size=(20,), shard_items=8))


def test_another_version_does_not_continue(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(source, out)
    (out / "dataset.json").unlink()
    plan = {
        "version": "0.0.1",
        "decoders": {"pillow": "1.0"},
        "prepare": SMALL.model_dump(mode="json"),
    }
    (out / "prepare.json").write_text(json.dumps(plan))
    with pytest.raises(DatasetError, match="unfinished"):
        Dataset.load(str(out))
    with pytest.raises(DatasetError, match=r"version of Lorgnette.*decoders"):
        make(source, out)


def test_two_processes_on_one_directory(source: Path, tmp_path: Path) -> None:
    with (
        locked(Storage.at(tmp_path / "out")),
        pytest.raises(LockedError, match="Another process is writing"),
    ):
        make(source, tmp_path / "out")


def test_nothing_usable_says_so(tmp_path: Path) -> None:
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "a" / "x.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"None of the files could be used \(1 unsupported\)"):
        make(tmp_path / "source", tmp_path / "out")


def test_overwrite_leaves_what_is_not_ours(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(source, out)
    (out / "notes.txt").write_text("mine")
    make(source, out, PrepareConfig(size=(20,)), overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_no_dataset_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no prepared dataset"):
        Dataset.load(str(tmp_path))
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match="damaged"):
        Dataset.load(str(tmp_path))
    (tmp_path / "dataset.json").write_text('{"format": 99, "version": "9.0"}')
    with pytest.raises(DatasetError, match="format 99"):
        Dataset.load(str(tmp_path))


@pytest.mark.s3
def test_from_and_to_an_object_store(tmp_path: Path, s3_bucket: str) -> None:
    folder = with_oddities(folder_of(tmp_path / "source", 10))
    remote = Storage.at(f"{s3_bucket}/images")
    for path in folder.rglob("*.*"):
        remote.write(str(path.relative_to(folder)), path.read_bytes())
    here = make(folder, tmp_path / "out")
    there = make(f"{s3_bucket}/images", f"{s3_bucket}/dataset")
    assert there.info.counts == here.info.counts
    assert there.rows(["id", "status", "sha256"], None) == here.rows(
        ["id", "status", "sha256"], None
    )
    rows = np.arange(len(here))
    assert (there.read(rows) == here.read(rows)).all()
    assert len(make(f"{s3_bucket}/images", f"{s3_bucket}/dataset")) == len(here)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_work_goes_on_elsewhere(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", 100)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("this sandbox does not let root mount")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lorgnette", "prepare", str(source), "--out", str(small / "ds"),
             "--size", "16", "--set", "prepare.shard_items=8"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(small.rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        assert len(make(source, small / "ds")) == 200
    finally:
        subprocess.run(["umount", str(small)], check=True)
