"""Fetching from Kaggle: the real official client against a server on loopback."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kaggle_server import SIGNATURE, TOKEN, Kaggle, Refusal

from lorgnette.errors import (
    ConfigError,
    LockedError,
    MissingDependencyError,
    SourceError,
    StorageError,
)
from lorgnette.lock import locked
from lorgnette.progress import console
from lorgnette.sources import fetch as fetching
from lorgnette.sources import kaggle_client, unpack
from lorgnette.sources.fetch import INFO, SETS, KaggleSet, fetch, remarks
from lorgnette.storage import Storage

BLOCK = 1 << 16
"""What a lost connection may take along of what arrived."""

FACES = "faces-spring-2020/faces-spring-2020"
SMALL = KaggleSet("owner/small", {"train.csv": 3, "test.csv": 1}, {f"{FACES}/*.png": 4})


def glasses(rows: int = 3, test: int = 1, pictures: int = 4, size: int = 60_000) -> bytes:
    """A zip in the layout of the glasses set; pictures that do not shrink, `size` bytes each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train.csv", "id,v1,glasses\n" + "".join(f"{i},1,0\n" for i in range(rows)))
        file.writestr("test.csv", "id,v1\n" + "".join(f"{i},1\n" for i in range(test)))
        noise = os.urandom(size)
        for i in range(pictures):
            file.writestr(f"{FACES}/face-{i + 1}.png", b"%06d" % i + noise)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def nobodys_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, proxies or settings of whoever runs the tests; no waiting."""
    for name in os.environ:
        if name.startswith("KAGGLE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home" / ".kaggle"))
    monkeypatch.setattr(kaggle_client, "PAUSES", (0, 0))
    monkeypatch.setattr(kaggle_client, "TIMEOUTS", (2, 2))
    monkeypatch.setitem(SETS, "small", SMALL)


@pytest.fixture
def client(missing: Callable[[str, str], Any]) -> Any:
    """The module of the official client that knows where Kaggle is."""
    try:
        importlib.import_module("kagglehub")
        return importlib.import_module("kagglesdk.kaggle_env")
    except ImportError as error:
        missing("fetch", f"the extra fetch is not installed ({error})")


@pytest.fixture
def kaggle(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    """A Kaggle that has the small set, and a user with a token."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    with Kaggle(glasses()) as server:
        monkeypatch.setitem(client._env_to_endpoint, client.KaggleEnv.PROD, server.endpoint)
        yield server


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def expected(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def assert_complete(out: Path, archive: bytes) -> None:
    found = contents(out)
    found.pop(INFO)
    assert found == expected(archive)
    assert not (out / ".fetch").exists()


def test_a_set_arrives_and_nothing_of_the_archive_stays(
    kaggle: Kaggle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    found = fetch("small", out)
    assert_complete(out, kaggle.archive)
    assert (found.version, found.license, found.files) == (3, "CC-BY-SA-4.0", 6)
    assert found.counts == {"train.csv": 3, "test.csv": 1, f"{FACES}/*.png": 4}
    assert remarks(found) == []
    assert [body.get("datasetVersionNumber") for body in kaggle.bodies] == [None, 3]
    assert all(body["ownerSlug"] == "owner" for body in kaggle.bodies)
    size = f"{len(kaggle.archive) / 1000:.1f} kB"
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(
        rf"Fetching small, version 3 \(CC-BY-SA-4\.0\): {size}; with what is unpacked .* are "
        r"needed, and .* are free\.\nsmall is in .*: 6 files, .* kB\.\n",
        said.err,
    )


def test_the_token_goes_to_kaggle_alone_and_is_kept_nowhere(
    kaggle: Kaggle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cuts in ([BLOCK, 0, 0], [0, 0, 0], []):
        kaggle.cuts = [*cuts]
        shown = ""
        try:
            fetch("small", tmp_path / "out")
        except StorageError as lost:
            shown = "".join(traceback.format_exception(lost))  # what --debug shows
        assert bool(shown) == bool(cuts)
        kept = b"".join(contents(tmp_path).values()) + "".join(capsys.readouterr()).encode()
        for secret in (TOKEN, SIGNATURE):
            assert secret not in shown
            assert secret.encode() not in kept
    tokens = {(method, headers.get("Authorization")) for method, _, headers in kaggle.asked}
    assert tokens == {("POST", f"Bearer {TOKEN}"), ("GET", None)}


def test_a_finished_fetch_says_so_and_asks_nobody(
    kaggle: Kaggle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = fetch("small", tmp_path / "out")
    before = contents(tmp_path / "out")
    kaggle.asked.clear()
    capsys.readouterr()
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (tmp_path / "out" / ".fetch").mkdir()  # killed while it was removed
    assert fetch("small", tmp_path / "out") == first
    assert "small is already in" in capsys.readouterr().err
    assert not kaggle.asked
    assert contents(tmp_path / "out") == before
    assert not (tmp_path / "out" / ".fetch").exists()
    (tmp_path / "out" / FACES / "face-1.png").unlink()
    fetch("small", tmp_path / "out")
    assert f"Of {FACES}/*.png, 3 are there and 4 came" in capsys.readouterr().err


@pytest.mark.parametrize("md5", [True, False])
def test_a_lost_connection_is_taken_up_where_it_broke(
    kaggle: Kaggle, tmp_path: Path, md5: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if not md5:
        kaggle.md5 = None
    kaggle.cuts = [BLOCK, BLOCK + 9, BLOCK, 100]  # more often than it is patient without gain
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)
    asked = [each for each in kaggle.ranges_asked() if each]
    assert asked == [f"bytes={BLOCK * blocks}-" for blocks in (1, 2, 3, 3)]
    assert capsys.readouterr().err.count("The connection was lost") == 4


def test_a_connection_that_stays_lost_is_one_sentence_and_goes_on_later(
    kaggle: Kaggle, tmp_path: Path
) -> None:
    kaggle.cuts = [2 * BLOCK, 0, 0, 0]
    with pytest.raises(
        StorageError, match=r"connection was lost .* 3 times in a row.*stays"
    ) as lost:
        fetch("small", tmp_path / "out")
    assert "\n" not in str(lost.value)
    assert (tmp_path / "out/.fetch/archive.zip").stat().st_size == 2 * BLOCK
    kaggle.cuts.clear()
    fetch("small", tmp_path / "out")
    assert kaggle.ranges_asked()[-1] == f"bytes={2 * BLOCK}-"
    assert_complete(tmp_path / "out", kaggle.archive)


SCRIPT = """
import sys
from pathlib import Path
from kagglesdk import kaggle_env
from lorgnette.sources import fetch, unpack

kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv[1]
fetch.SETS["small"] = fetch.KaggleSet(
    "owner/small", {"train.csv": 3, "test.csv": 1}, {sys.argv[3]: 4}
)
exec(sys.argv[4])
fetch.fetch("small", Path(sys.argv[2]))
"""


def start(kaggle: Kaggle, out: Path, first: str = "") -> subprocess.Popen[str]:
    """`fetch` in a process of its own, after the statements `first`."""
    command = [sys.executable, "-c", SCRIPT, kaggle.endpoint, str(out), f"{FACES}/*.png", first]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_killed_download_goes_on_with_a_range(kaggle: Kaggle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kaggle.archive = glasses(size=2_000_000)
    kaggle.cuts, kaggle.stall = [5_000_000], threading.Event()
    process = start(kaggle, out)
    archive = out / ".fetch" / "archive.zip"
    deadline = time.monotonic() + 30
    while not (archive.exists() and archive.stat().st_size > 3_000_000):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr
        time.sleep(0.02)
    with pytest.raises(LockedError):  # a second process, meanwhile
        fetch("small", out)
    process.kill()
    process.communicate()
    kaggle.stall.set()
    kept = archive.stat().st_size
    fetch("small", out)
    assert kaggle.ranges_asked()[-1] == f"bytes={kept}-"
    assert_complete(out, kaggle.archive)


def test_a_killed_unpacking_goes_on_without_kaggle(
    kaggle: Kaggle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    die = """
import os, signal
extract, left = unpack._extract, [3]
def dying(*arguments):
    extract(*arguments)
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
unpack._extract = dying
"""
    process = start(kaggle, out, die)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert len(contents(out / ".fetch" / "unpacked")) == 3
    assert not (out / "train.csv").exists()
    kaggle.asked.clear()
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    fetch("small", out)
    assert_complete(out, kaggle.archive)
    assert not kaggle.asked
    assert "3 of 6 files were there" in capsys.readouterr().err


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_killed_while_moving(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    rename, left = Path.rename, [moved]

    def dying(self: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        if moved < 3:
            with pytest.raises(KeyboardInterrupt):
                fetch("small", tmp_path / "out")
        else:
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            fetch("small", tmp_path / "out")
    kaggle.asked.clear()
    fetch("small", tmp_path / "out")
    assert not kaggle.asked
    assert_complete(tmp_path / "out", kaggle.archive)


@pytest.mark.parametrize("what", ["version", "content", "no ranges"])
def test_what_has_changed_is_downloaded_anew(kaggle: Kaggle, tmp_path: Path, what: str) -> None:
    kaggle.cuts = [2 * BLOCK, 0, 0, 0]
    with pytest.raises(StorageError):
        fetch("small", tmp_path / "out")
    kaggle.cuts.clear()
    if what == "version":
        kaggle.version = 4
    elif what == "content":
        kaggle.archive = glasses()
    else:
        kaggle.ranges = False
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)


def test_a_changed_archive_with_the_old_etag_is_found_by_its_md5(
    kaggle: Kaggle, tmp_path: Path
) -> None:
    kaggle.etag, kaggle.md5 = '"same"', "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(SourceError, match=r"its MD5 differs.*removed.*downloads it again"):
        fetch("small", tmp_path / "out")
    assert not (tmp_path / "out/.fetch/archive.zip").exists()
    kaggle.md5 = ""
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)


def test_a_whole_archive_is_not_downloaded_again(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lorgnette.sources.download._verify", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch("small", tmp_path / "out")
    deadline = time.monotonic() + 10  # the server's thread counts after it has sent
    while kaggle.sent < len(kaggle.archive) and time.monotonic() < deadline:
        time.sleep(0.01)
    before = kaggle.sent
    kaggle.cuts = [0]  # nothing of the body comes
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)
    assert kaggle.ranges_asked() == [None, None]
    assert before == len(kaggle.archive)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


REFUSED = {
    401: r"did not accept the credentials \(401\).*get a new one at https://www\.kaggle\.com/",
    403: r"does not let this account download owner/small \(403\): open https://.* accept",
    404: r"has no data set owner/small \(404\)",
    429: r"too many requests .*\(429\): repeat the command in 77 seconds",
    400: r"refused to give owner/small \(400\)",
}


@pytest.mark.parametrize("call", ["GetDataset", "DownloadDataset"])
@pytest.mark.parametrize("status", REFUSED)
def test_refusals_are_one_sentence_each_and_lose_nothing(
    kaggle: Kaggle,
    tmp_path: Path,
    status: int,
    call: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kaggle.cuts = [2 * BLOCK, 0, 0, 0]
    with pytest.raises(StorageError):
        fetch("small", tmp_path / "out")
    kept = contents(tmp_path / "out")
    kaggle.cuts.clear()
    capsys.readouterr()
    kaggle.refusals[call] = [Refusal(status, {"Retry-After": "77"})]
    with pytest.raises(SourceError, match=REFUSED[status]) as refused:
        fetch("small", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert capsys.readouterr() == ("", "")
    assert contents(tmp_path / "out") == kept
    fetch("small", tmp_path / "out")
    assert kaggle.ranges_asked()[-1] == f"bytes={2 * BLOCK}-"


def test_an_error_page_and_an_error_without_a_page(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.refusals["GetDataset"] = [Refusal(200, body=b"<html>Log in to the Wi-Fi</html>")]
    with pytest.raises(SourceError, match="could not be understood"):
        fetch("small", tmp_path / "out")
    kaggle.refusals["GetDataset"] = [Refusal(503), Refusal(0), Refusal(502)]
    with pytest.raises(StorageError, match=r"Kaggle's server failed \(502\), 3 times in a row"):
        fetch("small", tmp_path / "out")
    kaggle.refusals["GetDataset"] = [Refusal(503), Refusal(0)]
    kaggle.refusals["file"] = [Refusal(403, body=b"<Error>ExpiredToken</Error>"), Refusal(500)]
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)


@pytest.mark.parametrize("status", [403, 416, 500])
def test_an_error_page_is_not_appended_to_the_archive(
    kaggle: Kaggle, tmp_path: Path, status: int
) -> None:
    kaggle.cuts = [2 * BLOCK]
    kaggle.refusals["rest of file"] = [Refusal(status, body=b"<Error>Expired</Error>")]
    fetch("small", tmp_path / "out")
    assert kaggle.ranges_asked().count(f"bytes={2 * BLOCK}-") == 2
    assert_complete(tmp_path / "out", kaggle.archive)


def test_a_server_that_does_not_say_how_much_it_sends(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.length, kaggle.cuts = False, [2 * BLOCK]
    with pytest.raises(SourceError, match="its MD5 differs"):
        fetch("small", tmp_path / "out")
    fetch("small", tmp_path / "out")
    assert kaggle.ranges_asked() == [None, None]
    assert_complete(tmp_path / "out", kaggle.archive)


def test_a_server_that_is_not_there(
    kaggle: Kaggle, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(client._env_to_endpoint, client.KaggleEnv.PROD, "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"cannot be reached \(ConnectionError\), 3 times"):
        fetch("small", tmp_path / "out")


def test_a_server_that_falls_silent(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_client, "TIMEOUTS", (0.3, 0.3))
    kaggle.cuts, kaggle.stall = [2 * BLOCK], threading.Event()
    fetch("small", tmp_path / "out")
    assert f"bytes={2 * BLOCK}-" in kaggle.ranges_asked()
    assert_complete(tmp_path / "out", kaggle.archive)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub.clients", None)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lorgnette\[fetch\]'"):
        fetch("small", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_credentials(kaggle: Kaggle, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(
        SourceError, match=r"get a token at https://.* into ~/\.kaggle/access_token"
    ):
        fetch("small", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text('{"username": "me"')
    with pytest.raises(SourceError, match="in a file that cannot be read"):
        fetch("small", tmp_path / "out")
    (folder / "kaggle.json").unlink()
    (folder / "access_token").write_text(TOKEN + "\n")
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)


@pytest.mark.parametrize("place", ["file", "environment"])
def test_the_older_pair_of_name_and_key(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    if place == "file":
        folder = tmp_path / "home" / ".kaggle"
        folder.mkdir()
        (folder / "kaggle.json").write_text('{"username": "me", "key": "secret"}')
    else:
        monkeypatch.setenv("KAGGLE_USERNAME", "me")
        monkeypatch.setenv("KAGGLE_KEY", "secret")
    kaggle.authorization = "Basic bWU6c2VjcmV0"
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)


def test_an_unknown_set_and_places_that_cannot_take_one(kaggle: Kaggle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no set 'glases' to fetch: did you mean 'glasses'"):
        fetch("glases", tmp_path / "out")
    with pytest.raises(ConfigError, match="not to s3://bucket/faces"):
        fetch("small", "s3://bucket/faces")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file: give a directory"):
        fetch("small", tmp_path / "file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"has something in it already \(train\.csv\)"):
        fetch("small", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["train.csv"]
    fetch("small", tmp_path / "out")
    with pytest.raises(ConfigError, match="has the set 'small': choose another directory for"):
        fetch("comics", tmp_path / "out")
    (tmp_path / "out" / INFO).write_text("{}")
    with pytest.raises(SourceError, match="is not what a fetch writes"):
        fetch("small", tmp_path / "out")


def test_an_unfinished_fetch_of_another_set(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.cuts = [2 * BLOCK, 0, 0, 0]
    with pytest.raises(StorageError):
        fetch("small", tmp_path / "out")
    with pytest.raises(ConfigError, match="unfinished fetch of 'small'"):
        fetch("glasses", tmp_path / "out")
    kaggle.cuts.clear()
    (tmp_path / "out/.fetch/state.json").write_text('{"name": 1}')  # nobody can tell what is there
    fetch("small", tmp_path / "out")
    assert kaggle.ranges_asked()[-1] is None
    assert_complete(tmp_path / "out", kaggle.archive)


def test_what_somebody_put_there_meanwhile_stays(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.cuts = [2 * BLOCK, 0, 0, 0]
    with pytest.raises(StorageError):
        fetch("small", tmp_path / "out")
    kaggle.cuts.clear()
    (tmp_path / "out" / "train.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"train\.csv was put there while small was fetched"):
        fetch("small", tmp_path / "out")
    assert (tmp_path / "out" / "train.csv").read_text() == "mine"
    (tmp_path / "out" / "train.csv").unlink()
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", kaggle.archive)


def test_a_hostile_archive_is_removed_and_touches_nothing(kaggle: Kaggle, tmp_path: Path) -> None:
    good = kaggle.archive
    for name in ("../evil", "/evil", "Fetch.json", ".LOCK"):
        buffer = io.BytesIO(good)
        with zipfile.ZipFile(buffer, "a") as file:
            file.writestr(name, b"evil")
        kaggle.archive = buffer.getvalue()
        with pytest.raises(SourceError, match=r"The archive has .* removed.*downloads it anew\.$"):
            fetch("small", tmp_path / "out")
        assert contents(tmp_path) == {}
    kaggle.archive = good
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", good)


def test_a_crc_error_in_what_the_server_has(kaggle: Kaggle, tmp_path: Path) -> None:
    good = kaggle.archive
    kaggle.archive = good.replace(b"000002", b"000003", 1)
    damaged = kaggle.archive != good
    if not damaged:  # it was deflated after all
        middle = len(good) // 2
        kaggle.archive = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    with pytest.raises(SourceError, match=r"damaged .*removed.*downloads it anew"):
        fetch("small", tmp_path / "out")
    kaggle.archive = good
    fetch("small", tmp_path / "out")
    assert_complete(tmp_path / "out", good)


def test_too_little_space_is_said_before_the_download(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(kaggle.archive)))
        with pytest.raises(
            StorageError, match=r"Fetching small needs .* kB of space, and the disk"
        ):
            fetch("small", tmp_path / "out")
        assert not (tmp_path / "out/.fetch/archive.zip").exists()
    fetch("small", tmp_path / "out")


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (%d, resource.RLIM_INFINITY))
"""


def test_a_full_disk_is_a_sentence_and_loses_nothing(kaggle: Kaggle, tmp_path: Path) -> None:
    """The system refuses files above a limit, which is met in the middle of the download."""
    process = start(kaggle, tmp_path / "out", FULL % (2 * BLOCK))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "StorageError: No space left to write" in said.splitlines()[-1]
    assert (tmp_path / "out/.fetch/archive.zip").stat().st_size == 2 * BLOCK
    fetch("small", tmp_path / "out")
    assert kaggle.ranges_asked()[-1] == f"bytes={2 * BLOCK}-"
    assert_complete(tmp_path / "out", kaggle.archive)


def test_a_disk_that_fills_while_unpacking(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, left = unpack._extract, [2]

    def filling(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        extract(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(unpack, "_extract", filling)
        with pytest.raises(StorageError, match="No space left"):
            fetch("small", tmp_path / "out")
    kaggle.asked.clear()
    fetch("small", tmp_path / "out")
    assert not kaggle.asked
    assert_complete(tmp_path / "out", kaggle.archive)


def test_the_published_counts_of_the_glasses(
    kaggle: Kaggle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle.archive = glasses(4500, 500, 5000, size=10)
    assert remarks(fetch("glasses", tmp_path / "out")) == []
    assert kaggle.bodies[0]["datasetSlug"] == "glasses-or-no-glasses"
    assert "were published" not in capsys.readouterr().err


def test_what_is_not_as_published_is_said(
    kaggle: Kaggle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fetch("glasses", tmp_path / "out")
    assert [re.sub(", and .*", "", each) for each in remarks(found)] == [
        "train.csv has 3 rows",
        "test.csv has 1 rows",
        f"{FACES}/*.png has 4 files",
    ]
    assert "train.csv has 3 rows, and 4,500 were published" in capsys.readouterr().err
    comics = fetch("comics", tmp_path / "comics")
    assert set(comics.counts.values()) == {0}
    assert len(remarks(comics)) == 2


def test_the_two_sets_are_the_published_ones() -> None:
    published = {name: each for name, each in SETS.items() if name != "small"}
    assert {name: each.dataset for name, each in published.items()} == {
        "glasses": "jeffheaton/glasses-or-no-glasses",
        "comics": "defileroff/comic-faces-paired-synthetic-v2",
    }
    assert published["comics"].pictures == {
        f"face2comics_v2.0.0_by_Sxela/face2comics_v2.0.0_by_Sxela/{kind}/*.jpg": 10_000
        for kind in ("faces", "comics")
    }


def test_the_client_is_silent(
    kaggle: Kaggle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    clients = importlib.import_module("kagglehub.clients")
    build = clients.build_kaggle_client

    def noisy() -> Any:
        print("noise")
        clients.logger.warning("noise")
        return build()

    monkeypatch.setattr(clients, "build_kaggle_client", noisy)
    monkeypatch.setattr(clients, "already_printed_version_warning", False)
    monkeypatch.setattr(console, "quiet", True)
    kaggle.refusals["DownloadDataset"] = [Refusal(503, {"X-Kaggle-HubVersion": "99.0"})]
    fetch("small", tmp_path / "out")
    assert capsys.readouterr() == ("", "")


def test_progress_adds_up(kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, list[int | None]] = {}

    @contextlib.contextmanager
    def recorded(what: str, total: int | None, unit: str, done: int = 0) -> Iterator[Any]:
        counts = shown.setdefault(f"{what} {unit}", [total, done])
        counts[:] = [total, done]

        class Meter:
            def advance(self, count: int, note: str = "") -> None:
                counts[1] = (counts[1] or 0) + count

        yield Meter()

    monkeypatch.setattr("lorgnette.sources.download.progress", recorded)
    monkeypatch.setattr("lorgnette.sources.unpack.progress", recorded)
    kaggle.archive = glasses(size=600_000)  # 2.4 MB
    kaggle.cuts = [20 * BLOCK]
    fetch("small", tmp_path / "out")
    assert shown == {"Downloading MB": [2, 2], "Verifying MB": [2, 2], "Unpacking files": [6, 6]}


def test_one_directory_has_one_writer(kaggle: Kaggle, tmp_path: Path) -> None:
    with locked(Storage.at(tmp_path / "out")), pytest.raises(LockedError):
        fetch("small", tmp_path / "out")
    fetch("small", tmp_path / "out")


def test_what_is_recorded(kaggle: Kaggle, tmp_path: Path) -> None:
    found = fetch("small", tmp_path / "out")
    recorded = json.loads((tmp_path / "out" / INFO).read_text())
    assert fetching.Fetched(**recorded) == found
    assert recorded["bytes"] == sum(map(len, expected(kaggle.archive).values()))
