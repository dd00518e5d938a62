"""Zips as they come, and zips as an attacker makes them."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorgnette.errors import SourceError, StorageError
from lorgnette.sources import unpack as unpacking
from lorgnette.sources.unpack import unpack

Member = tuple[str | zipfile.ZipInfo, bytes]


def zip_of(*members: Member, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def link(name: str, target: str, kind: int = stat.S_IFLNK) -> Member:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info, target.encode()


def renamed(name: bytes, *members: Member) -> bytes:
    """An archive whose member `placeholder` (as long as `name`) got a name that Python avoids."""
    placeholder = b"p" * len(name)
    data = zip_of((placeholder.decode(), b"data"), *members)
    assert data.count(placeholder) == 2
    return data.replace(placeholder, name)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def unpacked(data: bytes, root: Path) -> unpacking.Unpacked:
    archive = root / "archive.zip"
    archive.write_bytes(data)
    return unpack(archive, root / "inside" / "into")


def test_files_and_directories_come_out_whole(tmp_path: Path) -> None:
    done = unpacked(
        zip_of(("a/", b""), ("a/b/1.png", b"one"), ("ä.csv", b"2" * 5000), ("empty", b"")),
        tmp_path,
    )
    into = tmp_path / "inside" / "into"
    assert tree(into) == {"a/b/1.png": b"one", "empty": b"", "ä.csv": b"2" * 5000}
    assert (done.files, done.bytes, done.before) == (3, 5003, 0)
    assert sorted(path.name for path in into.parent.iterdir()) == ["into"]


def test_modes_of_the_archive_are_not_taken_over(tmp_path: Path) -> None:
    info, data = link("tool", "x", stat.S_IFREG | stat.S_ISUID)
    unpacked(zip_of((info, data)), tmp_path)
    assert not (tmp_path / "inside/into/tool").stat().st_mode & (stat.S_ISUID | 0o111)


def test_started_again_it_writes_only_what_is_missing(tmp_path: Path) -> None:
    data = zip_of(*((f"{i}.png", b"%d" % i) for i in range(10)))
    unpacked(data, tmp_path)
    into = tmp_path / "inside" / "into"
    kept = {path: path.stat().st_mtime_ns for path in into.iterdir()}
    (into / "3.png").unlink()
    (into / "4.png").write_bytes(b"")  # what a power failure leaves
    assert unpacked(data, tmp_path).before == 8
    assert tree(into) == {f"{i}.png": b"%d" % i for i in range(10)}
    assert all(
        path.stat().st_mtime_ns == time
        for path, time in kept.items()
        if path.name not in ("3.png", "4.png")
    )


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent": (lambda: zip_of(("good", b"1"), ("../evil", b"2")), "leads out"),
    "deep parent": (lambda: zip_of(("a/../../evil", b"2")), "leads out"),
    "absolute": (lambda: zip_of(("/tmp/evil", b"2")), "absolute"),
    "drive": (lambda: zip_of(("C:/evil", b"2")), "absolute"),
    "drive, relative": (lambda: zip_of(("c:evil", b"2")), "absolute"),
    "share": (lambda: renamed(rb"\\server\share\evil"), "absolute"),
    "backslash parent": (lambda: renamed(rb"..\evil"), "leads out"),
    "backslash": (lambda: renamed(rb"a\evil"), "not one on every system"),
    "NUL": (lambda: renamed(b"good.png\0.exe"), "not one on every system"),
    "stream": (lambda: zip_of(("file:stream", b"2")), "not one on every system"),
    "newline": (lambda: zip_of(("a\nb", b"2")), "not one on every system"),
    "here": (lambda: zip_of(("./a", b"2")), "not one on every system"),
    "empty part": (lambda: zip_of(("a//b", b"2")), "not one on every system"),
    "trailing dot": (lambda: zip_of(("a./b", b"2")), "not one on every system"),
    "long part": (lambda: zip_of(("a" * 256, b"2")), "too long"),
    "long path": (lambda: zip_of(("a/" * 1500 + "b", b"2")), "too long"),
    "symlink": (lambda: zip_of(link("here", "/etc/passwd")), "a link or a device"),
    "directory link": (lambda: zip_of(link("d", ".."), ("d/evil", b"2")), "a link or a device"),
    "pipe": (lambda: zip_of(link("pipe", "", stat.S_IFIFO)), "a link or a device"),
    "device": (lambda: zip_of(link("null", "", stat.S_IFCHR)), "a link or a device"),
    "case": (lambda: zip_of(("A.png", b"1"), ("a.png", b"2")), "upper and lower case"),
    "case above": (lambda: zip_of(("A/1", b"1"), ("a/2", b"2")), "upper and lower case"),
    "composition": (lambda: zip_of(("ä", b"1"), ("a\u0308", b"2")), "upper and lower case"),
    "file as directory": (lambda: zip_of(("a", b"1"), ("a/b", b"2")), "a file and a directory"),
    "directory as file": (lambda: zip_of(("a/b", b"1"), ("a", b"2")), "a file and a directory"),
    "bomb": (lambda: zip_of(("0", bytes(10**6)), method=zipfile.ZIP_DEFLATED), "for a bomb"),
    "bzip2": (lambda: zip_of(("0", b"1"), method=zipfile.ZIP_BZIP2), "packed with method 12"),
    "not a zip": (lambda: b"<html>Please log in</html>", "damaged"),
    "nothing": (lambda: b"", "damaged"),
    "truncated": (lambda: zip_of(("a", b"1" * 100), ("b", b"2" * 100))[:-40], "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_before_a_file_is_written(name: str, tmp_path: Path) -> None:
    make, reason = HOSTILE[name]
    with pytest.raises(SourceError, match=reason) as refused:
        unpacked(make(), tmp_path)
    assert "\n" not in str(refused.value)
    assert set(tree(tmp_path)) == {"archive.zip"}
    assert not Path("/tmp/evil").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'a', which is there twice"):
        unpacked(zip_of(("a", b"1"), ("a", b"2")), tmp_path)
    assert set(tree(tmp_path)) == {"archive.zip"}


def test_encrypted(tmp_path: Path) -> None:
    data = bytearray(zip_of(("a", b"1")))
    data[data.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(SourceError, match="encrypted"):
        unpacked(bytes(data), tmp_path)


def test_a_flipped_bit_is_found_by_the_crc(tmp_path: Path) -> None:
    data = zip_of(("1.png", b"first"), ("2.png", b"second"), ("3.png", b"third"))
    with pytest.raises(SourceError, match=r"damaged \(Bad CRC-32 for file '2.png'\)"):
        unpacked(data.replace(b"second", b"sEcond"), tmp_path)
    assert tree(tmp_path / "inside") == {"into/1.png": b"first"}


@pytest.mark.parametrize("declared", [10, 5000])
def test_a_member_never_gives_other_than_it_declares(tmp_path: Path, declared: int) -> None:
    """1,000 bytes that call themselves 10, or 5,000, in both headers."""
    content = bytes(range(250)) * 4
    data = zip_of(("a", content))
    data = data.replace(struct.pack("<II", 1000, 1000), struct.pack("<II", 1000, declared))
    with pytest.raises(SourceError, match="damaged"):
        unpacked(data, tmp_path)
    assert set(tree(tmp_path)) == {"archive.zip"}


def test_overlapping_members_are_counted_as_what_they_declare(tmp_path: Path) -> None:
    """The bomb of one block that many members share."""
    data = zip_of(*((f"{i:04d}", b"") for i in range(200)), ("last", bytes(1000)))
    directory = data.index(b"PK\1\2")
    last = data.rindex(b"PK\1\2")
    sizes, offset = data[last + 16 : last + 28], data[last + 42 : last + 46]
    head, body = data[:directory], bytearray(data[directory:])
    at = 0
    while (at := body.find(b"PK\1\2", at)) >= 0:
        body[at + 16 : at + 28], body[at + 42 : at + 46] = sizes, offset
        at += 4
    with pytest.raises(SourceError, match=r"a bomb|damaged"):
        unpacked(head + bytes(body), tmp_path)
    assert set(tree(tmp_path)) == {"archive.zip"}


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FILES", 3)
    with pytest.raises(SourceError, match="declares 4 files of 4 bytes in"):
        unpacked(zip_of(*((str(i), b"1") for i in range(4))), tmp_path)


def test_the_disk_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2_000_000))
    with pytest.raises(StorageError, match=r"Unpacking needs 2\.5 MB of space.* has 2\.0 MB free"):
        unpacked(zip_of(("a", bytes(2_500_000))), tmp_path)
    assert set(tree(tmp_path)) == {"archive.zip"}
    unpacked(zip_of(("a", bytes(1_500_000))), tmp_path)


VALID = zip_of(
    ("a/1.png", bytes(range(256))), ("b.csv", b"id,v1\n" * 50), method=zipfile.ZIP_DEFLATED
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(flips=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6))
def test_damage_anywhere_is_a_sentence_or_no_damage(
    tmp_path: Path, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(VALID)
    for place, value in flips:
        data[place] = value
    shutil.rmtree(tmp_path / "inside", ignore_errors=True)
    try:
        done = unpacked(bytes(data), tmp_path)
    except SourceError:
        pass
    else:
        written = tree(tmp_path / "inside" / "into")
        assert done.files == len(written)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "inside") == [
        "archive.zip"
    ]
