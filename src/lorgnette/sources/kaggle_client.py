"""Kaggle's official client, with the user's credentials; its refusals become sentences of ours.

`kagglehub` finds the credentials and signs the requests. It and everything that it raises stay in
here and in `download`. No message repeats what it or the server said: signed links and tokens would
be among it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from lorgnette.errors import LorgnetteError, MissingDependencyError, SourceError, StorageError
from lorgnette.progress import say

T = TypeVar("T")

TOKENS = "https://www.kaggle.com/settings/api"
"""Where a person gets a token."""

PAUSES = (2, 5, 15, 30)
"""Seconds between attempts to go on with a lost connection; after the last one it is given up."""

TIMEOUTS = (10, 60)
"""Seconds to wait for a connection, and for the next byte; the client itself waits for ever."""

GAIN = 0.01
"""The part of the whole that has to arrive for an attempt to count as progress."""


@dataclass(frozen=True)
class Release:
    """A version of a data set.

    Attributes:
        dataset: `owner/name`.
        version: its number.
        license: as Kaggle names it; may be empty.
    """

    dataset: str
    version: int
    license: str


class LostError(Exception):
    """The connection failed in a way that may pass."""


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """The official client, with the user's credentials.

    Raises:
        MissingDependencyError: it is not installed.
        SourceError: there are no credentials.
    """
    clients, config = _client_modules()
    with _silence():
        try:
            found = config.get_kaggle_credentials()
        except (ValueError, OSError):
            raise SourceError(
                "Kaggle's credentials are in a file that cannot be read (kaggle.json or "
                f"access_token in ~/.kaggle): get a new token at {TOKENS} and put it into "
                "~/.kaggle/access_token."
            ) from None
        if not found:
            raise SourceError(
                "Kaggle wants to know who downloads, and there are no credentials: get a token at "
                f"{TOKENS} and put it into ~/.kaggle/access_token or KAGGLE_API_TOKEN."
            )
        client = clients.build_kaggle_client()
    with client:
        session = client.http_client()._session
        session.send = functools.partial(session.send, timeout=TIMEOUTS)
        # The bytes as they lie on the server: sizes, ranges and checksums are about those.
        session.headers["Accept-Encoding"] = "identity"
        yield client


def release(client: Any, dataset: str) -> Release:
    """The newest version of a data set.

    Raises:
        SourceError: Kaggle refused, or there is no such data set.
        StorageError: the connection was lost for good.
    """
    types = importlib.import_module("kagglesdk.datasets.types.dataset_api_service")
    request = types.ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = dataset.split("/")

    def newest() -> Release:
        found = ask(lambda: client.datasets.dataset_api_client.get_dataset(request), dataset)
        return Release(dataset, found.current_version_number, found.license_name)

    return patiently(newest, lambda: 0.0)


def patiently(action: Callable[[], T], arrived: Callable[[], float]) -> T:
    """Repeat what lost its connection, after a pause; progress begins the counting anew.

    Args:
        action: may raise `LostError`.
        arrived: the part of the whole that is there, 0 to 1.

    Raises:
        StorageError: it was lost once too often.
    """
    failures, before = 0, arrived()
    while True:
        try:
            return action()
        except LostError as lost:
            now = arrived()
            failures = 1 if now - before > GAIN else failures + 1
            before = now
            if failures > len(PAUSES):
                raise StorageError(
                    f"{lost}, {failures} times in a row: check the network (a proxy is named by "
                    "HTTPS_PROXY) and repeat the command later; what arrived stays, and it "
                    "continues from there."
                ) from None
            pause = PAUSES[failures - 1]
            say(f"{lost}; trying again in {pause} s.")
            time.sleep(pause)


def ask(call: Callable[[], T], dataset: str) -> T:
    """Make a call of the client; what it raises becomes a sentence of ours."""
    requests = importlib.import_module("requests")
    try:
        with _silence():
            return call()
    except requests.HTTPError as error:
        raise _refusal(error.response, dataset) from None
    except (requests.ConnectionError, requests.Timeout) as error:
        raise LostError(f"Kaggle cannot be reached ({type(error).__name__})") from None
    except (requests.RequestException, ValueError, TypeError, AttributeError, KeyError) as error:
        raise SourceError(
            f"Kaggle's answer could not be understood ({type(error).__name__}): check the network "
            "(a login page of a Wi-Fi or a proxy answers like that), or "
            "`pip install -U kagglehub`."
        ) from None


def _refusal(response: Any, dataset: str) -> LorgnetteError | LostError:
    """What a status means for the person who reads it."""
    status = response.status_code
    if status < 400:  # an error in a body whose status is none
        status = int(response.json()["code"])
    response.close()
    page = f"https://www.kaggle.com/datasets/{dataset}"
    if response.request.method != "POST":  # a signed link, which ages
        return LostError(f"Kaggle's file server refused ({status})")
    if status in (408, 500, 502, 503, 504):
        return LostError(f"Kaggle's server failed ({status})")
    if status == 401:
        return SourceError(
            "Kaggle did not accept the credentials (401): the token is wrong or has expired, get "
            f"a new one at {TOKENS} and put it into ~/.kaggle/access_token or KAGGLE_API_TOKEN."
        )
    if status == 403:
        return SourceError(
            f"Kaggle does not let this account download {dataset} (403): open {page} in a browser, "
            "log in and accept what it asks for, then repeat the command."
        )
    if status == 404:
        return SourceError(
            f"Kaggle has no data set {dataset} (404): see on {page} whether it was moved or "
            "withdrawn."
        )
    if status == 429:
        after = response.headers.get("Retry-After", "")
        when = f"in {after} seconds" if after.isdigit() else "in a while"
        return SourceError(
            f"Kaggle has had too many requests from this account (429): repeat the command {when}; "
            "it continues where it stopped."
        )
    return SourceError(f"Kaggle refused to give {dataset} ({status}): see {page}, or try later.")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing of the client reaches the terminal: it prints, logs and warns."""
    disabled = logging.root.manager.disable
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


def _client_modules() -> tuple[Any, Any]:
    """The modules of the official client that make a client and find credentials.

    Raises:
        MissingDependencyError: it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return (
                importlib.import_module("kagglehub.clients"),
                importlib.import_module("kagglehub.config"),
            )
        except ImportError as error:
            raise MissingDependencyError(
                "`lorgnette fetch` needs Kaggle's client, which is not installed: run "
                "`pip install 'lorgnette[fetch]'`."
            ) from error
