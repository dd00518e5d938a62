"""Start the server of the review page, and end it cleanly."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from getpass import getuser
from urllib.parse import quote

from lorgnette.config import SplitConfig
from lorgnette.dataset.split import split
from lorgnette.dataset.store import Dataset
from lorgnette.dataset.yardstick import draw
from lorgnette.dataset.yardstick import load as load_yardstick
from lorgnette.errors import ConfigError, LorgnetteError
from lorgnette.serving.review.board import LONGEST_NAME, Board
from lorgnette.serving.review.findings import load
from lorgnette.serving.review.guard import App, Guard, is_loopback, new_token

PORT = 8765
LAST_PORT = 65_535
TRIED = 20
"""So many ports are tried from the default one on."""
TARGET = 0.01


@dataclass(frozen=True)
class Review:
    """A server that is ready to run.

    Attributes:
        app: the guarded application.
        listener: the socket that it listens on.
        url: what to open, with the token where one is needed.
        board: what it serves.
    """

    app: App
    listener: socket.socket
    url: str
    board: Board

    def serve(self, ready: Callable[[str], None]) -> None:
        """Answer until interrupted.

        Args:
            ready: is called with the URL once the server answers.
        """
        import uvicorn

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready(url)

        url = self.url
        config = uvicorn.Config(
            self.app,
            access_log=False,  # it would hold the token
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        # After an interrupt uvicorn ends in order and then raises it again.
        with self.listener, contextlib.suppress(KeyboardInterrupt):
            Server(config).run([self.listener])


def prepare(
    location: str,
    *,
    audit: str | None = None,
    yardstick: int | None = None,
    division: SplitConfig | None = None,
    seed: int = 0,
    target: float = TARGET,
    who: str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
) -> Review:
    """Load everything, and listen.

    Args:
        location: a prepared dataset.
        audit: where its audit is; default: the directory `audit` in it.
        yardstick: draw so many items of the test part to be judged blind, and begin with them.
        division: what the test part is, for the yardstick.
        seed: likewise.
        target: the share of wrong labels that is good enough.
        who: the reviewer; default: the name that the person logged in with.
        host: the address to listen on.
        port: default: the first free one from 8765 on.
        token: to be demanded; where it is not given and the address is not loopback, a new one.

    Raises:
        ConfigError: the target is no share, the name no name, or the token no text.
        LorgnetteError: the port is taken, or this machine does not have that address.
        DatasetError: the dataset, its ledger, its audit or its yardstick cannot be used.
    """
    if not 0 <= target < 1:
        raise ConfigError(f"--target is a share of labels from 0 to below 1, not {target:g}.")
    who = (who or _login()).strip()
    if not 1 <= len(who) <= LONGEST_NAME or not who.isprintable():
        raise ConfigError(
            f"--who is a name of 1 to {LONGEST_NAME} printable characters, not {who[:100]!r}."
        )
    if token is not None and not (token.strip() and token.isprintable()):
        raise ConfigError("--token is a text that can be typed: give one, or leave it out.")
    dataset = Dataset.load(location)
    if yardstick is None:
        measure = load_yardstick(dataset)
    else:
        parts = split(
            dataset, division or SplitConfig(), seed, "given"
        )  # no decision is in its way
        measure = draw(dataset, yardstick, seed, parts)
    board = Board(dataset, load(dataset, audit), measure, target)
    listener = listen(host, port)
    where, actual = host, listener.getsockname()[1]
    loopback = is_loopback(host)
    if not loopback:
        token = token or new_token()
        where = socket.gethostname() if host in ("", "0.0.0.0", "::") else host
    from lorgnette.serving.review.app import build

    app = build(board, who, blind=yardstick is not None, shared=not loopback)
    guard = Guard(app, token, loopback, f"lorgnette-{actual}")
    where = f"[{where}]" if ":" in where else where
    url = f"http://{where}:{actual}/" + (f"?token={quote(token, '')}" if token else "")
    return Review(guard, listener, url, board)


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket.

    Args:
        host: a name or an address.
        port: None for the first free one from the default on.

    Raises:
        ConfigError: there is no such port.
        LorgnetteError: the port is taken, or this machine does not have that address.
    """
    if port is not None and not 0 <= port <= LAST_PORT:
        raise ConfigError(f"--port is a number from 0 to {LAST_PORT}, not {port}.")
    tried = range(PORT, PORT + TRIED) if port is None else [port]
    for each in tried:
        with contextlib.suppress(OSError, UnicodeError):
            return _bound(host, each)
    try:
        return _bound(host, tried[-1])
    except (OSError, UnicodeError) as error:  # the latter: no name can be written so
        why = getattr(error, "strerror", None) or error
        raise LorgnetteError(
            f"{host}:{tried[0]} cannot be listened on ({why}): choose another "
            "--port (0 takes any free one) or --host."
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    return listener


def _login() -> str:
    try:
        return getuser()
    except (OSError, KeyError):
        return "reviewer"
