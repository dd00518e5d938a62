"""The connection of this process to Ray: the one it has, a cluster's, or Ray started here."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from lorgnette.config import EngineConfig
from lorgnette.engines.environment import variable
from lorgnette.errors import EngineError, MissingDependencyError
from lorgnette.machine import processors

ADDRESS = "RAY_ADDRESS"
"""Ray's own variable for the address of the cluster; jobs that a cluster starts have it."""
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray reads it once, when it is imported; "0" makes its services listen on loopback alone."""
PROBE = """
import logging, sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
ray.shutdown()
"""


def require() -> None:
    """See that Ray is installed, without importing it.

    Raises:
        MissingDependencyError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError(
            "The engine ray needs Ray, which is not installed: pip install 'lorgnette[ray]'"
        )


SLOW_START = "timed out during startup"


def connect(settings: EngineConfig) -> None:
    """Connect to Ray, if this process is not connected already.

    Without an address (here or in `RAY_ADDRESS`) Ray is started on this machine, for this process
    alone, and ends with it.

    Args:
        settings: `address`, `workers` and `patience_seconds` are read.

    Raises:
        EngineError: no cluster answered within `patience_seconds`, or it refused.
        MissingDependencyError: Ray is not installed.
    """
    require()
    address = settings.address or os.environ.get(ADDRESS) or "local"
    with variable(LOOPBACK, "0") if address == "local" else contextlib.nullcontext():
        import ray

        if not ray.is_initialized():
            _init(address, settings)


def _init(address: str, settings: EngineConfig) -> None:
    import ray

    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": max(settings.workers or 0, processors()), "include_dashboard": False}
    else:
        _await_cluster(address, settings.patience_seconds)
    deadline = time.monotonic() + settings.patience_seconds
    while not ray.is_initialized():
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:
            # A machine that is busy may need longer than the 30 s that Ray gives its own start.
            slow = address == "local" and SLOW_START in str(error)
            if slow and time.monotonic() < deadline:
                ray.shutdown()
                continue
            reason = f"{type(error).__name__}: {_last_line(str(error))}"
            raise EngineError(f"Ray at '{address}' cannot be used: {reason}") from error
    # What Ray itself has to tell, of nodes that died and the like, it prints to standard output,
    # whatever it was told above; there it would stand amid predictions. Outcomes tell of deaths.
    worker: Any = importlib.import_module("ray._private.worker")
    worker._worker_logs_enabled = False


def _await_cluster(address: str, patience: float) -> None:
    """Wait until a cluster answers.

    Ray itself waits for minutes, inside C code that cannot be interrupted. So the port is knocked
    at first, and then another process connects, which can be ended.
    """
    deadline = time.monotonic() + patience
    silent = (
        f"No Ray cluster answered at '{address}' within {patience:g} s "
        "(engine.patience_seconds): give engine.address as host:6379, ray://host:10001 or auto, "
        "and see with `ray status` that the cluster runs"
    )
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port
    except ValueError as error:
        raise EngineError(f"'{address}' is not the address of a Ray cluster: {error}") from error
    while host and port:
        try:
            socket.create_connection((host, port), max(0.1, deadline - time.monotonic())).close()
            break
        except OSError as error:
            if time.monotonic() + 0.5 > deadline:
                raise EngineError(f"{silent} ({error})") from error
            time.sleep(0.5)
    try:
        subprocess.run(
            [sys.executable, "-c", PROBE, address],
            timeout=max(1.0, deadline - time.monotonic()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(silent) from error
    except subprocess.CalledProcessError as error:
        raise EngineError(
            f"Ray at '{address}' cannot be used: {_last_line(error.stderr)}"
        ) from error


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it gave no reason"


def places(gpus: float) -> int:
    """How many workers the cluster's living nodes have room for, busy or not.

    Args:
        gpus: for each worker, beside one CPU.
    """
    import ray

    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            room = has.get("CPU", 0.0)
            if gpus:
                room = min(room, has.get("GPU", 0.0) / gpus)
            total += int(room)
    return total


def room(gpus: float) -> str:
    """What the cluster has, for a message: "2 of 4 CPUs free, on 2 nodes"."""
    import ray

    has, free = ray.cluster_resources(), ray.available_resources()
    kinds = ["CPU", "GPU"] if gpus else ["CPU"]
    parts = [f"{free.get(kind, 0):g} of {has.get(kind, 0):g} {kind}s" for kind in kinds]
    nodes = sum(node["Alive"] for node in ray.nodes())
    return f"{' and '.join(parts)} free, on {nodes} {'node' if nodes == 1 else 'nodes'}"


def needs(gpus: float) -> str:
    """What one worker needs, for a message."""
    return f"1 CPU and {gpus:g} GPU" if gpus else "1 CPU"
