"""Where a study's trials are kept: SQLite, PostgreSQL, or a chief that stands before either.

Optuna's own storages. Its journal storage is not among them: behind the proxy it loses trials
(https://github.com/optuna/optuna/issues/6084).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage, run_grpc_proxy_server

from lorgnette.errors import ConfigError, EngineError, MissingDependencyError

PATIENCE = 600.0
"""Seconds that a worker waits for a chief, or a database, that does not answer."""
FIRST_PAUSE, LAST_PAUSE = 0.2, 5.0
SQLITE_PATIENCE = 120
"""Seconds that a process waits for another one that writes to the file."""
CHIEF = "grpc://"


def open_storage(location: str, patience: float = PATIENCE) -> BaseStorage:
    """The storage at a location, patient with one that is away for a while.

    Args:
        location: `sqlite:///PATH`, `postgresql://…`, or `grpc://HOST:PORT`, a chief.
        patience: seconds to wait for one that does not answer.

    Raises:
        ConfigError: there is no such kind of storage.
        MissingDependencyError: what is needed to reach it is not installed.
        EngineError: nobody answers there.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if location.startswith(CHIEF):
        return _patient(_proxy(location), location, patience)
    if location.startswith("sqlite:///"):
        return _database(location, connect_args={"timeout": SQLITE_PATIENCE})
    if location.startswith(("postgresql://", "postgres://")):
        try:
            import psycopg  # noqa: F401 - the driver, named in the address
        except ImportError as error:
            raise MissingDependencyError(
                "A study in PostgreSQL needs its driver: pip install 'lorgnette[workers]'."
            ) from error
        place = location.partition("://")[2]
        storage = _database(f"postgresql+psycopg://{place}", pool_pre_ping=True)
        return _patient(storage, without_password(location), patience)
    raise ConfigError(
        "A study is kept in sqlite:///PATH or postgresql://USER@HOST/NAME, or asked for at a chief "
        f"(grpc://HOST:PORT), not in '{without_password(location)}'."
    )


@contextlib.contextmanager
def storage_at(location: str, patience: float = PATIENCE) -> Iterator[BaseStorage]:
    """`open_storage`, closed at the end."""
    storage = open_storage(location, patience)
    try:
        yield storage
    finally:
        close(storage)


def close(storage: BaseStorage) -> None:
    """Let go of a storage's connections."""
    inner = getattr(storage, "inner", storage)  # a patient one
    inner = getattr(inner, "_backend", inner)  # Optuna's cache before a database
    if isinstance(inner, GrpcStorageProxy):
        inner.close()
    elif isinstance(inner, RDBStorage):
        inner.remove_session()
        inner.engine.dispose()


def without_password(location: str) -> str:
    """A location that may be shown."""
    kind, _, place = location.partition("://")
    who, at, where = place.rpartition("@")
    return f"{kind}://{who.partition(':')[0]}{at}{where}"


def _database(url: str, **options: Any) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=options))
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise EngineError(
            f"The study's database {without_password(url)} cannot be opened ({reason}): check that "
            "it is there and that you may write to it."
        ) from error


def _proxy(location: str) -> BaseStorage:
    host, port = address(location.removeprefix(CHIEF))
    try:
        # Else it remarks on every process that is started beside it.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        import grpc  # noqa: F401 - what the proxy is made of
    except ImportError as error:
        raise MissingDependencyError(
            "Workers and chiefs on several machines need gRPC: pip install 'lorgnette[workers]'."
        ) from error
    with _experimental():
        return GrpcStorageProxy(host=host, port=port)


def address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`.

    Raises:
        ConfigError: it is not of this form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ConfigError(f"An address is HOST:PORT, such as 127.0.0.1:13000, not '{text}'.")
    return host.strip("[]") or "127.0.0.1", int(port)


def answers(location: str, seconds: float = 3.0) -> bool:
    """Whether a chief answers at `grpc://HOST:PORT`; of other storages this is not asked."""
    if not location.startswith(CHIEF):
        return True
    proxy = _proxy(location)
    assert isinstance(proxy, GrpcStorageProxy)
    try:
        proxy.wait_server_ready(timeout=seconds)
    except ConnectionError:
        return False
    finally:
        proxy.close()
    return True


def serve(storage: BaseStorage, host: str, port: int) -> int:
    """Let workers elsewhere use a storage; ends with the process.

    Args:
        storage: this process's own.
        host: an address of this machine.
        port: 0 for any that is free.

    Returns:
        The port.

    Raises:
        EngineError: the address is taken, or is none of this machine.
        MissingDependencyError: gRPC is not installed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            port = probe.getsockname()[1]
    except OSError as error:
        raise EngineError(
            f"A chief listens on an address of this machine, and {host}:{port} cannot be had "
            f"({error.strerror}): choose another --bind, or end what listens there."
        ) from error
    proxy = _proxy(f"{CHIEF}{host}:{port}")
    shown = f"[{host}]" if ":" in host else host

    def listen() -> None:
        with _experimental():
            run_grpc_proxy_server(storage, host=shown, port=port)

    threading.Thread(target=listen, name="chief", daemon=True).start()
    assert isinstance(proxy, GrpcStorageProxy)
    try:
        proxy.wait_server_ready(timeout=30)
    except ConnectionError as error:
        raise EngineError(
            f"The chief does not answer on {host}:{port}, 30 seconds after it began to listen."
        ) from error
    finally:
        proxy.close()
    return port


@dataclass(frozen=True)
class _Patience:
    """Calls a storage that may be away for a while: what fails for that reason is asked again.

    Asking twice does no harm: trials are made by the chief alone, beside its database; whether a
    trial was taken, and its result, are of one answer however often they are said.
    """

    storage: BaseStorage
    name: str
    seconds: float

    def ask(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the storage until it answers.

        Raises:
            EngineError: it has not answered for too long.
        """
        started, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return getattr(self.storage, method)(*args, **options)
            except Exception as error:
                if not _is_away(error):
                    raise
                if time.monotonic() - started > self.seconds:
                    raise EngineError(
                        f"{self.name} has not answered for {self.seconds:.0f} seconds: start the "
                        "chief (or the database) again with the command that began it, then the "
                        "workers; nothing that was finished is lost."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)


def _patient(storage: BaseStorage, name: str, seconds: float) -> BaseStorage:
    """A storage whose every method asks patiently; see `_Patience`."""
    patience = _Patience(storage, name, seconds)

    def asking(method: str) -> Callable[..., Any]:
        return lambda _, *args, **options: patience.ask(method, *args, **options)

    methods = [name for name in vars(BaseStorage) if not name.startswith("_")]
    members = {**{name: asking(name) for name in methods}, "inner": storage}
    kind = type("PatientStorage", (BaseStorage,), members)
    made: BaseStorage = kind()
    return made


def _is_away(error: Exception) -> bool:
    """Whether an error says that nobody answered, rather than that the answer was no."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, OperationalError | InterfaceError):
        return True
    try:
        import grpc
    except ImportError:
        return False
    away = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    return isinstance(error, grpc.RpcError) and error.code() in away


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """Optuna calls its proxy experimental at every start; its version is pinned by ours."""
    logging.getLogger("grpc").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
