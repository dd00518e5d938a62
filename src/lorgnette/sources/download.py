"""The archive of a Kaggle data set: downloaded, continued where it stopped, verified.

The official client's own download is not used: it unpacks what comes without looking, and appends
an error page to a half-finished archive.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorgnette.errors import SourceError
from lorgnette.progress import progress
from lorgnette.sources.kaggle_client import LostError, Release, ask, patiently
from lorgnette.storage import refusals

_MEGABYTE = 10**6
_LOSS = 1 << 16
"""Bytes that are received at a time: as many as a lost connection may take along."""


@dataclass(frozen=True)
class Archive:
    """What a server offers, as far as it can be told from the headers.

    Attributes:
        version: of the data set.
        size: in bytes; None if it is not said.
        validator: an ETag or a date that changes with the content; None if there is none, and then
            a download cannot be resumed.
        md5: in base64; None if it is not said.
    """

    version: int
    size: int | None
    validator: str | None
    md5: str | None


def download(
    client: Any,
    wanted: Release,
    path: Path,
    begun: Archive | None,
    ready: Callable[[Archive, int], None],
) -> Archive:
    """Download the archive of a version, or the rest of it, and verify it.

    Args:
        client: from `connected`.
        wanted: the version.
        path: where the archive goes; a part of it may be there.
        begun: what that part is of; None if nobody knows.
        ready: called with the archive and the bytes of it that are there, before any more are
            written. It keeps the archive in mind, for `begun` of the next attempt.

    Raises:
        SourceError: Kaggle refused, or what arrived is not what was sent.
        StorageError: the connection was lost for good, or the disk refused; what arrived stays.
    """
    known = begun

    def note(archive: Archive, have: int) -> None:
        nonlocal known
        known = archive
        ready(archive, have)

    def attempt() -> Archive:
        return _transfer(client, wanted, path, known, note)

    def arrived() -> float:
        whole = known.size if known and known.size else 0
        return _size(path) / whole if whole else 0.0

    with refusals(str(path)):
        archive = patiently(attempt, arrived)
        _verify(path, archive)
    return archive


def _transfer(
    client: Any,
    wanted: Release,
    path: Path,
    begun: Archive | None,
    ready: Callable[[Archive, int], None],
) -> Archive:
    """One attempt: ask Kaggle for the archive, then for what is missing of it."""
    types = importlib.import_module("kagglesdk.datasets.types.dataset_api_service")
    request = types.ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = wanted.dataset.split("/")
    request.dataset_version_number = wanted.version or None  # 0: Kaggle did not say
    with contextlib.ExitStack() as open_responses:
        response = ask(
            lambda: client.datasets.dataset_api_client.download_dataset(request), wanted.dataset
        )
        open_responses.callback(response.close)
        offered = _archive(response, wanted.version)
        have = _size(path) if offered.validator and offered == begun else 0
        if have and have == offered.size:
            return offered
        if have and have < (offered.size or 0):
            session = client.http_client()._session
            response = ask(lambda: _rest(session, response, have, offered), wanted.dataset)
            open_responses.callback(response.close)
        if response.status_code != 206:  # from the start: nothing to go on with, or it has changed
            offered, have = _archive(response, wanted.version), 0
        ready(offered, have)
        _receive(response, path, have, offered.size)
    return offered


def _rest(session: Any, response: Any, have: int, offered: Archive) -> Any:
    """Ask again for what a response is of, from byte `have` on.

    The request is the one that got the response, which after a redirect is for the file server.
    """
    request = response.request.copy()
    request.headers["Range"] = f"bytes={have}-"
    request.headers["If-Range"] = offered.validator
    settings = session.merge_environment_settings(request.url, {}, True, None, None)
    again = session.send(request, **settings)
    if again.status_code == 206 and not re.match(
        rf"bytes {have}-\d+/{offered.size}$", again.headers.get("Content-Range", "")
    ):
        again.close()
        raise LostError("Kaggle's file server sent another part than was asked for")
    again.raise_for_status()
    return again


def _receive(response: Any, path: Path, have: int, size: int | None) -> None:
    """Append what a response brings to the first `have` bytes of a file."""
    requests = importlib.import_module("requests")
    whole = None if size is None else size // _MEGABYTE
    with (
        open(path, "ab" if have else "wb") as file,
        progress("Downloading", whole, "MB", done=have // _MEGABYTE) as meter,
    ):
        try:
            for chunk in response.iter_content(_LOSS):
                file.write(chunk)
                have += len(chunk)
                meter.advance(have // _MEGABYTE - (have - len(chunk)) // _MEGABYTE)
        except requests.RequestException as error:
            raise LostError(f"The connection was lost ({type(error).__name__})") from None
    if size is not None and have < size:
        raise LostError("The connection was closed early")


def _verify(path: Path, archive: Archive) -> None:
    """Compare an archive with the size and the checksum that the server gave.

    Raises:
        SourceError: they differ; the archive is removed.
    """
    wrong = None if archive.size in (None, _size(path)) else "size"
    if archive.md5 and not wrong:
        digest = hashlib.md5(usedforsecurity=False)
        with (
            open(path, "rb") as file,
            progress("Verifying", _size(path) // _MEGABYTE, "MB") as meter,
        ):
            while chunk := file.read(_MEGABYTE):
                digest.update(chunk)
                meter.advance(len(chunk) // _MEGABYTE)
        encode = importlib.import_module("kagglehub.integrity").to_b64_digest
        wrong = None if encode(digest) == archive.md5 else "MD5"
    if wrong:
        path.unlink()
        raise SourceError(
            f"The archive did not arrive as it was sent (its {wrong} differs): it was removed, and "
            "the same command downloads it again."
        )


def _archive(response: Any, version: int) -> Archive:
    """What a response with status 200 offers."""
    integrity = importlib.import_module("kagglehub.integrity")
    headers = response.headers
    length = headers.get("Content-Length")
    resumable = headers.get("Accept-Ranges") == "bytes" and length is not None
    etag = headers.get("ETag")
    strong = None if etag is None or etag.startswith("W/") else etag
    return Archive(
        version=version,
        size=None if length is None else int(length),
        validator=(strong or headers.get("Last-Modified")) if resumable else None,
        md5=integrity.get_md5_checksum_from_response(response),
    )


def _size(path: Path) -> int:
    """The size of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
