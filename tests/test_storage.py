"""Files on a disk and in an object store: the same calls, and one sentence where they refuse."""

from __future__ import annotations

import os
import pickle
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorgnette.errors import StorageError
from lorgnette.storage import Storage, readable


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage.at(tmp_path / "store")
    return Storage.at(f"{request.getfixturevalue('s3_bucket')}/some/place")


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write("a/b.bin", b"12345")
    assert storage.read("a/b.bin") == b"12345"
    storage.write("a/b.bin", memoryview(b"6"))
    assert storage.read("a/b.bin") == b"6"
    with storage.open("a/b.bin") as file:
        assert file.read() == b"6"


def test_names_with_odd_characters(storage: Storage) -> None:
    for name in ("a b/ü #1?.png", "100%/x%20y+z.png"):
        storage.write(name, b"x")
        assert storage.read(name) == b"x"
        assert Storage.at(f"{storage.root}/{name.split('/')[0]}").read(name.split("/")[1]) == b"x"


def test_bytes_stay_as_they_are_whatever_the_name(storage: Storage) -> None:
    storage.write("a.gz", b"12345")
    assert storage.read("a.gz") == b"12345"
    assert storage.open("a.gz").size() == 5


def test_exists_and_is_directory(storage: Storage) -> None:
    assert not storage.exists("a")
    storage.write("a/b.bin", b"1")
    assert storage.exists()
    assert storage.exists("a")
    assert storage.exists("a/b.bin")
    assert storage.is_directory("a")
    assert not storage.is_directory("a/b.bin")
    assert not storage.is_directory("b")


def test_names_are_the_sorted_files_directly_below(storage: Storage) -> None:
    assert storage.names("shards") == []
    for name in ("shards/b", "shards/a", "shards/deep/c", "d"):
        storage.write(name, b"1")
    assert storage.names("shards") == ["a", "b"]
    assert storage.names() == ["d"]


def test_remove(storage: Storage) -> None:
    storage.write("a", b"1")
    storage.remove("a")
    assert not storage.exists("a")
    storage.remove("a")


def test_a_file_that_is_not_there(storage: Storage) -> None:
    for call in (storage.read, storage.open):
        with pytest.raises(FileNotFoundError):
            call("nothing")


def test_writing_that_fails_leaves_no_file(storage: Storage) -> None:
    def write_half() -> None:
        with storage.writing("a") as path, storage.filesystem.open_output_stream(path) as stream:
            stream.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert storage.names() == []


def test_it_travels_as_its_root(storage: Storage) -> None:
    storage.write("a", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"1"


def test_a_failed_local_write_keeps_the_file_before(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    storage.write("a", b"before")

    def write_half() -> None:
        with storage.writing("a") as path:
            Path(path).write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert storage.read("a") == b"before"
    assert storage.names() == ["a"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"1")
    (tmp_path / r"a\x41\xe9.png").write_bytes(b"2")  # a name that has a backslash of its own
    storage = Storage.at(tmp_path)
    assert readable(os.fsdecode(b"caf\xe9.png")) == r"caf\xe9.png"
    assert readable("café.png") == "café.png"
    assert storage.read(r"caf\xe9.png") == b"1"
    assert storage.open(r"caf\xe9.png").read() == b"1"
    assert storage.read(r"a\x41\xe9.png") == b"2"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "a").chmod(0)
    with pytest.raises(StorageError, match="No permission"):
        Storage.at(tmp_path).read("a")


def test_a_directory_in_place_of_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="could not be read"):
        Storage.at(tmp_path).read("a")


def test_unknown_schemes_and_empty_urls() -> None:
    with pytest.raises(StorageError, match="s3://, gs://"):
        Storage.at("ftp://host/folder").exists()
    with pytest.raises(StorageError, match="names no place"):
        Storage.at("s3://")


@pytest.mark.s3
@pytest.mark.usefixtures("s3_endpoint")
def test_a_bucket_that_does_not_exist() -> None:
    storage = Storage.at("s3://no-such-bucket/folder")
    assert not storage.exists()
    with pytest.raises(StorageError, match="no such bucket") as caught:
        storage.write("a", b"1")
    assert "\n" not in str(caught.value)


@pytest.fixture
def authentication(s3_endpoint: str, s3_bucket: str) -> Iterator[None]:
    """Let the server check credentials, once the bucket is there."""
    del s3_bucket

    def unchecked_requests(count: str) -> None:
        request = urllib.request.Request(
            f"{s3_endpoint}/moto-api/reset-auth",
            data=count.encode(),
            headers={"Content-Type": "text/plain"},
            method="POST",
        )
        urllib.request.urlopen(request, timeout=10).close()

    unchecked_requests("0")
    yield
    unchecked_requests("inf")


@pytest.mark.s3
@pytest.mark.usefixtures("authentication")
def test_refused_credentials(s3_bucket: str) -> None:
    storage = Storage.at(s3_bucket)
    for call in (
        lambda: storage.read("a"),
        lambda: storage.names(),
        lambda: storage.exists("a"),
        lambda: storage.write("a", b"1"),
    ):
        with pytest.raises(StorageError, match="credentials were refused"):
            call()


@pytest.mark.s3
@pytest.mark.usefixtures("s3_endpoint")
def test_an_endpoint_that_nobody_listens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(StorageError, match="cannot be reached"):
            Storage.at("s3://bucket/folder").exists("a")
    assert time.monotonic() - start < 20


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.usefixtures("s3_endpoint")
def test_an_endpoint_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("lorgnette.storage._REQUEST_SECONDS", 2)  # and is tried three times
        start = time.monotonic()
        with pytest.raises(StorageError, match="cannot be reached"):
            Storage.at("s3://bucket/folder").exists("a")
    assert time.monotonic() - start < 30
