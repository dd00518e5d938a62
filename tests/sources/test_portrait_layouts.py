import csv
import errno
import json
import os
import re
import shutil
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
from lorgnette.errors import ConfigError, DatasetError, EngineError, LockedError, StorageError
from lorgnette.lock import locked
from lorgnette.sources.fetch import fetch
from lorgnette.sources.portraits import draw, tables, write
from lorgnette.sources.portraits.encode import jpeg, png
from lorgnette.sources.portraits.latent import vectors
from lorgnette.sources.portraits.layouts import LayoutName, rows
from lorgnette.sources.portraits.plan import LARGEST, SMALLEST, unfinished
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
    written = make(tmp_path, n=n, seed=7, images=False)
    lines = [
        line.split(",")
        for name in ("train.csv", "test.csv")
        for line in (tmp_path / name).read_text().splitlines()[1:]
    ]
    values = np.array([line[1:513] for line in lines], np.float32)
    assert (values == vectors(7, 0, n)).all()
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
    assert written.undecidable == wanted.undecidable[:2700].sum() > 5
    assert wanted.undecidable[2700:].any()  # which are given no label and not counted
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
    (tmp_path / "mine.0123abcd.tmp").mkdir()  # not ours, which are files
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


@pytest.mark.parametrize(
    "change",
    [{"n": 0}, {"n": -4}, {"size": 8}, {"seed": -1}, {"label_noise": 0.7}, {"format": 2},
     {"tables": {"train.csv": {"bytes": -1, "sha256": "0" * 64}}}, {"complete": "so so"}, None],
)  # fmt: skip
def test_a_damaged_plan_is_refused(tmp_path: Path, change: dict[str, Any] | None) -> None:
    make(tmp_path, n=2)
    plan = tmp_path / "portraits.json"
    good = plan.read_text()
    plan.write_text(json.dumps(json.loads(good) | change) if change else good[:40])
    with pytest.raises(DatasetError, match=r"portraits\.json is damaged"):
        make(tmp_path, n=2)


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
        (
            {"out": "s3://bucket/portraits"},
            "a directory of this machine, not to s3://bucket/portraits",
        ),
        ({"layout": "glases"}, "did you mean 'glasses'"),
        ({"n": 0}, "at least 1, got 0"),
        ({"seed": -1}, "at least 0, got -1"),
        ({"size": 8}, "from 16 to 4,096 pixels, got 8"),
        ({"label_noise": 0.5}, "below 0.45, got 0.5"),
        ({"layout": "comics", "noise_kind": "class"}, "must be 'symmetric', got 'class'"),
        (
            {"layout": "comics", "noise_kind": "class", "label_noise": 0.0},
            "must be 'symmetric', got 'class'",
        ),
        ({"layout": "folders", "images": False}, "cannot be written without them"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**{"out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out").exists()


def test_all_sizes_can_be_drawn() -> None:
    for size in (SMALLEST, LARGEST):
        assert draw.draw(vectors(0, 0, 1)[0], size, "comic").shape == (size, size, 3)


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


def test_what_is_not_complete_is_known_as_unfinished(tmp_path: Path) -> None:
    assert not unfinished(str(tmp_path / "nowhere"))
    with pytest.raises(EngineError):
        make(tmp_path, engine=Failing())
    assert unfinished(str(tmp_path))
    make(tmp_path)
    assert not unfinished(Storage.at(tmp_path))
    assert (tmp_path / "portraits.json").read_text().endswith('"complete": true\n}\n')
    with pytest.raises(EngineError):  # growing
        make(tmp_path, n=30, engine=Failing())
    for place in (tmp_path, tmp_path / "faces-spring-2020", tmp_path / FACES):
        assert unfinished(str(place))
    make(tmp_path, n=30)
    for place in (tmp_path, tmp_path / FACES, tmp_path / "train.csv"):
        assert not unfinished(str(place))
    next((tmp_path / FACES).iterdir()).unlink()
    with pytest.raises(EngineError):
        make(tmp_path, n=30, engine=Failing())
    assert unfinished(str(tmp_path))


def test_somebody_elses_file_of_the_name_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "portraits.json").write_text('{"complete": false, "painters": ["Rembrandt"]}')
    assert not unfinished(str(tmp_path))


def test_tables_without_images_are_complete_until_images_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, images=False)
    assert not unfinished(str(tmp_path))
    with pytest.raises(EngineError):
        make(tmp_path, engine=Failing())
    assert unfinished(str(tmp_path))
    make(tmp_path, images=False)
    assert unfinished(str(tmp_path))
    assert "not all drawn" in " ".join(capsys.readouterr().err.split())
    make(tmp_path)
    make(tmp_path, images=False)
    assert not unfinished(str(tmp_path))


def test_to_ask_whether_they_are_finished_needs_nothing_that_draws() -> None:
    code = (
        "import sys, lorgnette.sources.portraits.plan, lorgnette.sources.published\n"
        "assert not {'skia', 'scipy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_full_disk_while_growing_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(tmp_path / "out", images=False)
    before = contents(tmp_path / "out")

    def full(*arguments: Any) -> Any:
        if arguments[3] > 0:  # the second block
            raise OSError(errno.ENOSPC, "No space left on device")
        return rows(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "rows", full)
        with pytest.raises(StorageError, match="No space left"):
            make(tmp_path / "out", n=1030, images=False)
    assert contents(tmp_path / "out") == before
    assert not unfinished(str(tmp_path / "out"))
    assert make(tmp_path / "out", images=False) == first  # the old number is as good as ever
    make(tmp_path / "out", n=1030, images=False)
    make(tmp_path / "whole", n=1030, images=False)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


class Killed(BaseException):
    """Nothing that anybody catches."""


@pytest.mark.parametrize("replaced", range(5))
def test_killed_between_two_tables_it_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: int
) -> None:
    make(tmp_path / "whole", n=30)
    make(tmp_path / "out", n=20)
    count = 0
    replace = os.replace

    def kill(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if count > replaced:  # portraits.json, then the tables
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(Killed):
            make(tmp_path / "out", n=30)
    assert unfinished(str(tmp_path / "out")) == (replaced > 0)
    make(tmp_path / "out", n=30)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_where_no_table_was_ever_written_another_number_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "rows", full)
        with pytest.raises(StorageError):
            make(tmp_path / "out", n=30)
    make(tmp_path / "out", n=20)
    make(tmp_path / "whole", n=20)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_no_whole_image_is_drawn_anew(tmp_path: Path, layout: LayoutName) -> None:
    make(tmp_path / "out", layout)
    before = contents(tmp_path / "out")
    images = sorted(path for path in tmp_path.rglob("*") if path.suffix in (".png", ".jpg"))
    data = images[0].read_bytes()
    images[0].write_bytes(data[:-1])
    images[1].write_bytes(b"x" * len(data))
    images[2].write_bytes(b"x" + images[2].read_bytes()[1:])
    images[3].write_bytes(data[:3])
    images[4].unlink()
    images[4].symlink_to(tmp_path / "nowhere")
    images[5].unlink()
    images[5].symlink_to(tmp_path)
    images[6].unlink()
    os.mkfifo(images[6])
    engine = Inline()
    make(tmp_path / "out", layout, engine=engine)
    assert engine.drawn == 7
    assert contents(tmp_path / "out") == before
    assert not any(path.is_symlink() for path in images)


def test_a_directory_in_the_place_of_an_image_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    image = tmp_path / FACES / "face-3.png"
    image.unlink()
    image.mkdir()
    with pytest.raises(DatasetError, match=r"face-3\.png is a directory where an image belongs"):
        make(tmp_path)


@pytest.mark.parametrize("moved", [True, False])
def test_a_portrait_in_the_wrong_folder_is_refused(tmp_path: Path, moved: bool) -> None:
    make(tmp_path, "folders", n=40)
    before = contents(tmp_path)
    (row,) = [row for row in truth_of(tmp_path) if row["id"] == 30]
    own, other = tmp_path / row["path"], tmp_path / "glasses" / "30.png"
    if own == other:
        other = tmp_path / "no_glasses" / "30.png"
    (shutil.move if moved else shutil.copy)(own, other)
    engine = Inline()
    with pytest.raises(DatasetError) as caught:
        make(tmp_path, "folders", n=40, engine=engine)
    assert str(caught.value).startswith(f"{other} lies in the wrong folder")
    assert f"label is {row['given']}: remove it" in str(caught.value)
    assert not engine.items
    other.unlink()
    make(tmp_path, "folders", n=40, engine=engine)
    assert engine.drawn == moved
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "corrections.csv", "truth.parquet"])
@pytest.mark.parametrize("damage", ["cut", "changed", "link"])
def test_a_table_that_is_not_what_was_written_is_written_anew(
    tmp_path: Path, name: str, damage: str
) -> None:
    make(tmp_path, images=False)
    before = contents(tmp_path)
    table = tmp_path / name
    data = before[name]
    if damage == "link":
        table.unlink()
        table.symlink_to(tmp_path / "nowhere")
    else:
        table.write_bytes(data[:-1] if damage == "cut" else data[:-1] + b"?")
    make(tmp_path, images=False)
    assert contents(tmp_path) == before
    assert not table.is_symlink()


def test_a_large_table_is_read_again_only_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_SMALL", 0)
    make(tmp_path)
    table = tmp_path / "train.csv"
    data = table.read_bytes()
    table.write_bytes(data[:-1] + b"?")
    make(tmp_path)
    assert table.read_bytes() != data  # the size is right, and more is not looked at
    plan = tmp_path / "portraits.json"
    plan.write_text(plan.read_text().replace('"complete": true', '"complete": false'))
    make(tmp_path)
    assert table.read_bytes() == data


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "a directory, and '' names none"),
        ("{}/file", "{}/file is a file: give a directory"),
        ("{}/file/below/it", "{}/file/below/it cannot be made, because {}/file is a file: give"),
        ("{}/link", "{}/link is a link that leads to no directory: give"),
        ("~nobody-of-this-name/out", "~nobody-of-this-name/out names no directory"),
    ],
)
def test_a_place_that_is_none_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    place, message = (text.replace("{}", str(tmp_path)) for text in (place, message))
    for fill in (
        lambda: write_portraits(place, n=2, size=16, engine=Inline()),
        lambda: fetch("glasses", place),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            fill()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_a_disk_that_is_clearly_too_small_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, n=20, size=64)
    before = contents(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=200_000))
        make(tmp_path, n=20, size=64)  # needs none
        (tmp_path / FACES / "face-1.png").unlink()
        make(tmp_path, n=20, size=64)
        assert contents(tmp_path) == before
        message = r"still to be written needs 4\d\d\.\d kB of space, .* has 200\.0 kB free"
        with pytest.raises(StorageError, match=message):
            make(tmp_path, n=60, size=64)
    assert contents(tmp_path) == before
    assert not unfinished(str(tmp_path))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_space_that_is_asked_for_is_nearly_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: LayoutName
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(write, "ensure_space", lambda _, needed, __: asked.append(needed))
    make(tmp_path, layout, n=12, size=512)
    taken = sum(map(len, contents(tmp_path).values()))
    assert 0.4 * taken < asked[0] < taken
