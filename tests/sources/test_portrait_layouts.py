import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lorgnette.engines.base import Item, Outcome, Task, Value
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import ConfigError, DatasetError, EngineError, LockedError
from lorgnette.lock import locked
from lorgnette.sources.portraits import draw, write
from lorgnette.sources.portraits.encode import jpeg, png
from lorgnette.sources.portraits.latent import vectors
from lorgnette.sources.portraits.layouts import LayoutName
from lorgnette.sources.portraits.wearing import wearing
from lorgnette.sources.portraits.write import Written, write_portraits
from lorgnette.storage import Storage

FACES = "faces-spring-2020/faces-spring-2020"
PAIRS = "face2comics_v2.0.0_by_Sxela/face2comics_v2.0.0_by_Sxela"
LAYOUTS: list[LayoutName] = ["glasses", "comics", "folders"]


class Inline:
    """An engine without processes: quick, and it notes what it was given."""

    name = "inline"
    workers = 1

    def __init__(self) -> None:
        self.items: list[Any] = []

    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        for item in items:
            self.items.append(item)
            yield Outcome(item, task(item))

    def gang(self, task: Task[int, Value], members: int) -> list[Value]:
        raise NotImplementedError

    @property
    def drawn(self) -> int:
        return sum(map(len, self.items))


def make(out: Path, layout: LayoutName = "glasses", n: int = 20, **arguments: Any) -> Written:
    arguments = {"size": 32, "label_noise": 0.2, "engine": Inline(), **arguments}
    return write_portraits(out, layout=layout, n=n, **arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def truth_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "truth.parquet").to_pylist()
    return rows


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(path.read_bytes())))


def portrait(number: int, style: Literal["photo", "comic"] = "photo") -> npt.NDArray[np.uint8]:
    return draw.draw(vectors(0, number, number + 1)[0], 32, style)


def test_the_glasses_layout_is_the_published_one(tmp_path: Path) -> None:
    written = make(tmp_path)
    assert set(contents(tmp_path)) == {
        "train.csv", "test.csv", "corrections.csv", "truth.parquet", "portraits.json",
        *(f"{FACES}/face-{number}.png" for number in range(1, 21)),
    }  # fmt: skip
    train = (tmp_path / "train.csv").read_text()
    test = (tmp_path / "test.csv").read_text()
    latents = ",".join(f"v{number}" for number in range(1, 513))
    assert train.startswith(f"id,{latents},glasses\n1,")
    assert test.startswith(f"id,{latents}\n19,")
    assert not set(train[len(latents) + 12 :]) - set("0123456789.,-\n")
    assert [row["id"] for row in csv.DictReader(train.splitlines())] == [
        str(number) for number in range(1, 19)
    ]
    assert [row["id"] for row in csv.DictReader(test.splitlines())] == ["19", "20"]
    assert written == Written(
        out=str(tmp_path), layout="glasses", portraits=20, files=20, skipped=0,
        given=written.given, wrong=written.wrong, undecidable=0,
    )  # fmt: skip
    assert sum(written.given.values()) == 18


def test_portraits_are_drawn_of_their_vectors(tmp_path: Path) -> None:
    make(tmp_path, n=5)
    for number in range(5):
        path = tmp_path / FACES / f"face-{number + 1}.png"
        assert (pixels(path) == portrait(number)).all()
        assert path.read_bytes() == png(portrait(number))


def test_tables_give_back_vectors_and_labels(tmp_path: Path) -> None:
    n = 3000  # of which some cannot be decided
    written = make(tmp_path, n=n, seed=4, images=False)
    lines = [
        line.split(",")
        for name in ("train.csv", "test.csv")
        for line in (tmp_path / name).read_text().splitlines()[1:]
    ]
    values = np.array([line[1:513] for line in lines], np.float32)
    assert (values == vectors(4, 0, n)).all()
    wanted = wearing(values)
    truth = truth_of(tmp_path)
    names = {"0": "no_glasses", "1": "glasses", "": None}
    given = [names[line[513]] for line in lines[:2700]]
    assert [row["given"] for row in truth] == [*given, *[None] * 300]
    assert [row["id"] for row in truth] == list(range(1, n + 1))
    corrections = (tmp_path / "corrections.csv").read_text().splitlines()
    assert corrections[0] == "id,glasses"
    assert [
        (int(number), names[label])
        for number, label in (line.split(",") for line in corrections[1:])
    ] == [(row["id"], row["true"]) for row in truth]
    assert [row["true"] for row in truth] == [
        None if undecidable else names[str(int(glasses))]
        for glasses, undecidable in zip(wanted.glasses, wanted.undecidable, strict=True)
    ]
    assert [row["faintness"] for row in truth] == wanted.faintness.tolist()
    assert [row["frame"] for row in truth] == wanted.frame.tolist()
    assert [row["undecidable"] for row in truth] == wanted.undecidable.tolist()
    assert [row["flip"] is None for row in truth] == wanted.undecidable.tolist()
    wrong = [row for row in truth[:2700] if row["true"] and row["true"] != row["given"]]
    assert written.wrong == len(wrong)
    assert len(wrong) / 2700 == pytest.approx(0.2, abs=0.03)
    assert written.undecidable == wanted.undecidable.sum() > 5
    assert written.files == 0
    assert not (tmp_path / "faces-spring-2020").exists()


def test_comics_are_pairs_of_which_some_are_swapped(tmp_path: Path) -> None:
    written = make(tmp_path, "comics", n=12, label_noise=0.4)
    names = {f"{PAIRS}/{folder}/{n}.jpg" for folder in ("faces", "comics") for n in range(12)}
    assert set(contents(tmp_path)) == {*names, "truth.parquet", "portraits.json"}
    truth = truth_of(tmp_path)
    assert set(truth[0]) == {"id", "path", "given", "true", "flip"}
    assert {row["path"] for row in truth} == names
    for row in truth:
        assert row["path"] == f"{PAIRS}/{row['given']}/{row['id']}.jpg"
        style: Literal["photo", "comic"] = "photo" if row["true"] == "faces" else "comic"
        assert (tmp_path / row["path"]).read_bytes() == jpeg(portrait(row["id"], style))
    wrong = sorted(row["id"] for row in truth if row["given"] != row["true"])
    assert 2 < len(wrong) < 20
    assert wrong[::2] == wrong[1::2]  # both files of a pair, or none
    assert written.wrong == len(wrong)
    assert written.files == 24


def test_folders_hold_what_they_are_called_but_for_the_noise(tmp_path: Path) -> None:
    written = make(tmp_path, "folders", n=40)
    truth = truth_of(tmp_path)
    assert {row["path"] for row in truth} == set(contents(tmp_path)) - {
        "truth.parquet", "portraits.json"
    }  # fmt: skip
    for number, row in enumerate(truth):
        assert row["path"] == f"{row['given']}/{number + 1}.png"
        assert row["true"] in ("glasses", "no_glasses")
        assert (tmp_path / row["path"]).read_bytes() == png(portrait(number))
    assert written.wrong == sum(row["given"] != row["true"] for row in truth) > 2


def test_without_noise_the_tables_are_true(tmp_path: Path) -> None:
    written = make(tmp_path, n=1000, label_noise=0.0, images=False)
    assert written.wrong == 0
    # What the noise would depend on makes no difference then.
    make(tmp_path, n=1000, label_noise=0.0, images=False, noise_kind="symmetric")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_workers_change_nothing(tmp_path: Path, layout: LayoutName) -> None:
    make(tmp_path / "one", layout)
    make(tmp_path / "two", layout, engine=LocalEngine(2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_missing_is_drawn_and_the_rest_stays(tmp_path: Path, layout: LayoutName) -> None:
    make(tmp_path, layout)
    before = contents(tmp_path)
    images = sorted(path for path in tmp_path.rglob("*") if path.suffix in (".png", ".jpg"))
    for path in images[3:6]:
        path.unlink()
    images[7].write_bytes(b"")
    images[8].with_name(f"{images[8].name}.0123abcd.tmp").write_bytes(b"half")
    (tmp_path / "truth.parquet.0123abcd.tmp").write_bytes(b"half")
    kept = {path: path.stat().st_mtime_ns for path in [*images[:3], images[6], *images[8:]]}
    engine = Inline()
    written = make(tmp_path, layout, engine=engine)
    assert contents(tmp_path) == before
    assert engine.drawn == 4
    assert written.skipped == len(images) - 4
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_finished_it_does_nothing(
    tmp_path: Path, layout: LayoutName, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(tmp_path, layout)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    engine = Inline()
    again = make(tmp_path, layout, engine=engine)
    assert not engine.items
    assert again.skipped == again.files == first.files
    assert (again.given, again.wrong) == (first.given, first.wrong)
    del times[tmp_path / ".lock"]
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert "already holds all" in capsys.readouterr().err


def test_a_table_that_is_gone_is_written_anew(tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "test.csv").unlink()
    make(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_of_the_same_is_as_if_there_had_been_so_many(
    tmp_path: Path, layout: LayoutName
) -> None:
    make(tmp_path / "whole", layout, n=30)
    make(tmp_path / "grown", layout, n=20)
    engine = Inline()
    written = make(tmp_path / "grown", layout, n=30, engine=engine)
    each = 2 if layout == "comics" else 1
    assert (engine.drawn, written.skipped) == (10 * each, 20 * each)
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")


def test_images_may_come_after_the_tables(tmp_path: Path) -> None:
    make(tmp_path / "whole")
    make(tmp_path / "out", images=False)
    make(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    make(tmp_path / "out", images=False)  # and they stay
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_finished_tables_are_not_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make(tmp_path, images=False)
    written = (tmp_path / "train.csv").stat().st_mtime_ns
    assert make(tmp_path, images=False) == first
    assert (tmp_path / "train.csv").stat().st_mtime_ns == written
    assert "already holds the tables" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 64}, r"size \(32 before, 64 now\)"),
        ({"seed": 1}, r"seed \(0 before, 1 now\)"),
        ({"label_noise": 0.1}, r"label noise \(0.2 before, 0.1 now\)"),
        ({"noise_kind": "class"}, r"noise kind \(picture before, class now\)"),
        ({"label_noise": 0.0}, r"noise kind \(picture before, none now\)"),
        ({"layout": "folders"}, r"layout \(glasses before, folders now\)"),
        ({"n": 19}, r"n \(20 before, 19 now, and it can only grow\)"),
    ],
)
def test_other_portraits_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match=message):
        make(tmp_path, **changes)
    assert contents(tmp_path) == before


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    monkeypatch.setattr(write, "_packages", lambda: {"skia-python": "1.0"})
    with pytest.raises(DatasetError, match=r"packages \(.* before, skia-python 1.0 now\)"):
        make(tmp_path)


def test_a_directory_of_others_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"other files \(thesis.txt\).* new or empty directory"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "portraits.json").write_text('{"n": 20')
    with pytest.raises(DatasetError, match=r"portraits\.json is damaged"):
        make(tmp_path)


def test_what_a_kill_left_before_the_plan_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "portraits.json.0123abcd.tmp").write_bytes(b"{")
    make(tmp_path, n=2)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_second_process_is_told(tmp_path: Path) -> None:
    with locked(Storage.at(tmp_path)), pytest.raises(LockedError, match="Another process"):
        make(tmp_path)


class Failing(Inline):
    def map(self, task: Task[Item, Value], items: Iterable[Item]) -> Iterator[Outcome[Item, Value]]:
        yield Outcome(next(iter(items)), error="No space left to write it: free some.")


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"face-1.png to .*face-5.png .*No space left"):
        make(tmp_path, engine=Failing())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "s3://bucket/portraits"}, "local directories only, got s3://bucket/portraits"),
        ({"layout": "glases"}, "did you mean 'glasses'"),
        ({"n": 0}, "at least 1, got 0"),
        ({"seed": -1}, "at least 0, got -1"),
        ({"size": 8}, "from 16 to 4,096 pixels, got 8"),
        ({"label_noise": 0.5}, "below 0.45, got 0.5"),
        ({"layout": "comics", "noise_kind": "class"}, "must be 'symmetric', got 'class'"),
        ({"layout": "folders", "images": False}, "cannot be written without them"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**{"out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out").exists()


def test_sizes_are_those_that_are_drawn() -> None:
    assert write.SIZES == (draw.SMALLEST, draw.LARGEST)


def script(out: Path, n: int) -> list[str]:
    """A command that writes n pairs into a directory."""
    return [
        sys.executable, "-c",
        "from lorgnette.engines.local import LocalEngine\n"
        "from lorgnette.sources.portraits.write import write_portraits\n"
        f"write_portraits({str(out)!r}, layout='comics', n={n}, size=32, label_noise=0.2,\n"
        "    engine=LocalEngine(2))\n",
    ]  # fmt: skip


def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    n = 60
    make(tmp_path / "undisturbed", "comics", n=n)
    out = tmp_path / "out"
    killed = 0
    for images in (1, 60):
        process = subprocess.Popen(script(out, n), start_new_session=True)
        while process.poll() is None:
            if len(list(out.rglob("*.jpg"))) >= images:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.002)
        process.wait()
    assert killed == 2
    assert 60 <= len(list(out.rglob("*.jpg"))) < 120
    done = subprocess.run(script(out, n), check=True, capture_output=True, text=True)
    assert "of 120 images are already there" in " ".join(done.stderr.split())
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    limited = [
        *script(tmp_path / "out", 5000)[:2],
        "import resource\n"
        "from lorgnette.engines.local import LocalEngine\n"
        "from lorgnette.errors import StorageError\n"
        "from lorgnette.sources.portraits.write import write_portraits\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        f"    write_portraits({str(tmp_path / 'out')!r}, n=5000, images=False,\n"
        "        engine=LocalEngine(1))\n"
        "except StorageError as error:\n"
        "    print(error)\n",
    ]
    done = subprocess.run(limited, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"No space left to write {tmp_path / 'out'}")
    assert done.stderr == ""
    assert not list((tmp_path / "out").glob("*.tmp"))
    assert not list((tmp_path / "out").glob("*.csv"))
