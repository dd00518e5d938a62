"""Files, wherever they are: a local path or an object store, through one small class.

A location is a string: a path, or a URL such as `s3://bucket/folder` (credentials, region and
`AWS_ENDPOINT_URL` come from the environment, as with every AWS client). Everything above this
module handles strings and never asks which of the two it has. Keys in a URL are taken literally:
`s3://bucket/my folder/a#1` needs no escaping.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from lorgnette.errors import StorageError

_URL = re.compile(r"^[a-z][a-z0-9+.-]+://")

_CONNECT_SECONDS = 5
_REQUEST_SECONDS = 20
_ATTEMPTS = 3

_CLOUD_REFUSALS = (
    (
        re.compile(r"NO_SUCH_BUCKET|Bucket '.*' not found"),
        "there is no such bucket: check its name and AWS_ENDPOINT_URL",
    ),
    (
        re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT|TOKEN|HTTP status 403"),
        "the credentials were refused: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what "
        "they may do",
    ),
    (
        re.compile(r"NETWORK_CONNECTION|curlCode"),
        "the server cannot be reached: check the network and AWS_ENDPOINT_URL",
    ),
)
"""What pyarrow's messages about an object store come down to for the person who reads them."""


def is_url(location: str) -> bool:
    """Whether a location is a URL rather than a local path."""
    return bool(_URL.match(location)) and not location.startswith("file://")


def readable(name: str) -> str:
    r"""A local file name as text: bytes that are not UTF-8 are written `\xNN`.

    Arrow, JSON and terminals take nothing but Unicode. `Storage` finds the file by either name.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name


def _native(name: str) -> str:
    """The inverse of `readable`: the name as the operating system has it."""
    return re.sub(r"\\x([89a-f][0-9a-f])", lambda m: chr(0xDC00 + int(m[1], 16)), name)


@contextlib.contextmanager
def refusals(location: str) -> Iterator[None]:
    """Turn what a disk or an object store refuses into one sentence.

    Raises:
        StorageError: in place of an OSError other than "not found", which callers handle.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"No space left to write {location}: free some, or choose another place; "
                "what was finished stays, and the same command continues from there."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(
                f"No permission to use {location} ({error.strerror}): check its owner and mode, "
                "or choose another place."
            ) from error
        text = str(error)
        verdict = next((fix for pattern, fix in _CLOUD_REFUSALS if pattern.search(text)), None)
        reason = verdict or error.strerror or (text.splitlines() or [type(error).__name__])[0]
        raise StorageError(f"{location} could not be read or written: {reason}") from error


@dataclass(frozen=True)
class Storage:
    """A directory on a disk or under a URL, and the files below it by relative name.

    It travels to workers as its root string and connects again where it is used.
    """

    root: str

    @classmethod
    def at(cls, location: str | os.PathLike[str]) -> Storage:
        """The storage rooted at `location`; a local path is made absolute.

        Raises:
            StorageError: a URL without a bucket.
        """
        text = os.fspath(location)
        if is_url(text):
            if text.endswith("://"):
                raise StorageError(f"{text} names no place: write {text}bucket/folder.")
            return cls(text.rstrip("/"))
        return cls(str(Path(text.removeprefix("file://")).expanduser().absolute()))

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    @property
    def is_local(self) -> bool:
        """Whether this is a directory of this machine's file system."""
        return not is_url(self.root)

    @cached_property
    def _connection(self) -> tuple[Any, str]:
        if self.is_local:
            return pafs.LocalFileSystem(), self.root
        scheme, _, rest = self.root.partition("://")
        if scheme == "s3":
            with refusals(self.root):
                return _s3(rest.split("/")[0]), rest
        try:
            filesystem, base = pafs.FileSystem.from_uri(f"{scheme}://{quote(rest, safe='/:@')}")
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"{self.root} cannot be reached: local paths and the URLs that pyarrow knows "
                f"(s3://, gs://, hdfs://) are supported ({error})"
            ) from error
        return filesystem, base

    @property
    def filesystem(self) -> Any:
        """The `pyarrow.fs.FileSystem` behind this storage."""
        return self._connection[0]

    def resolve(self, name: str) -> str:
        """The path of a file as `filesystem` wants it; absolute local names stay as they are."""
        base: str = self._connection[1]
        if not name:
            return base
        if self.is_local and name.startswith("/"):
            return name
        return f"{base}/{name}"

    def locate(self, name: str) -> str:
        """The location of a file as a person would write it."""
        if name.startswith("/") and self.is_local:
            return name
        return f"{self.root}/{name}" if name else self.root

    def local(self, name: str) -> str:
        """The path of a local file for `open` and `os`, also where its name is not UTF-8."""
        path = self.resolve(name)
        return path if "\\x" not in path or os.path.lexists(path) else _native(path)

    def read(self, name: str) -> bytes:
        """All the bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: it cannot be read.
        """
        with refusals(self.locate(name)):
            if self.is_local:
                with open(self.local(name), "rb") as file:
                    return file.read()
            with self.filesystem.open_input_stream(self.resolve(name), None) as stream:
                data: bytes = stream.read()
                return data

    def open(self, name: str) -> Any:
        """A seekable, read-only pyarrow file."""
        with refusals(self.locate(name)):
            path = os.fsencode(self.local(name)) if self.is_local else self.resolve(name)
            return self.filesystem.open_input_file(path)

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a file whole or not at all: under a temporary name, then renamed.

        On an object store a single put is already atomic.
        """
        with self.writing(name) as path, refusals(self.locate(name)):
            if self.is_local:
                with open(path, "wb") as file:
                    file.write(data)
            else:
                # None: bytes as they are, where pyarrow would compress a name ending in .gz.
                with self.filesystem.open_output_stream(path, None) as stream:
                    stream.write(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[str]:
        """A path for `filesystem` to write a file to; it takes its name when the block ends well.

        On an object store the file appears when its stream is closed, and is removed again when
        the block fails.
        """
        final = self.resolve(name)
        if not self.is_local:
            try:
                yield final
            except BaseException:
                with contextlib.suppress(OSError):
                    self.filesystem.delete_file(final)
                raise
            return
        temporary = f"{final}.{uuid.uuid4().hex[:8]}.tmp"
        with refusals(self.locate(name)):
            Path(final).parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with refusals(self.locate(name)):
                os.replace(temporary, final)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or a directory of this name."""
        with refusals(self.locate(name)):
            info = self.filesystem.get_file_info(self.resolve(name))
        return bool(info.type != pafs.FileType.NotFound)

    def is_directory(self, name: str = "") -> bool:
        """Whether there is a directory (or a key prefix) of this name."""
        with refusals(self.locate(name)):
            info = self.filesystem.get_file_info(self.resolve(name))
        return bool(info.type == pafs.FileType.Directory)

    def names(self, directory: str = "") -> list[str]:
        """The sorted names of the files directly in a directory; none if there is no such one."""
        selector = pafs.FileSelector(self.resolve(directory), allow_not_found=True)
        with refusals(self.locate(directory)):
            infos = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.File)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens if there is none."""
        with refusals(self.locate(name)), contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.resolve(name))


def _s3(bucket: str) -> Any:
    """A connection that gives up in about a minute; pyarrow's own takes some 100 s and more.

    `FileSystem.from_uri` reads the environment but cannot be given timeouts, and the constructor
    takes timeouts but does not read the endpoint from the environment.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    parts = urlsplit(endpoint if "//" in endpoint else f"https://{endpoint}")
    return pafs.S3FileSystem(
        endpoint_override=parts.netloc or None,
        scheme=parts.scheme,
        region=None if endpoint else pafs.resolve_s3_region(bucket),
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )
