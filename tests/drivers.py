"""A driver that is killed in the middle of its work, and what becomes of who worked for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def worker_ends_with_its_driver(folder: Path, engine: str, seconds: float) -> None:
    """Kill a script that maps without end, and wait for the process that worked for it.

    Args:
        folder: where the script is written.
        engine: an expression that makes the engine.
        seconds: how long the worker may live on.
    """
    script = folder / "driver.py"
    script.write_text(
        "import time\n"
        "from lorgnette.config import EngineConfig\n"
        "from lorgnette.engines import Task, open_engine\n"
        "from lorgnette.testing import worker_id\n"
        f"outcomes = {engine}.map(Task.of(worker_id), iter(int, 1))\n"
        "print(next(outcomes).value, flush=True)\n"
        "time.sleep(60)\n"
    )
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    gone_in(worker, seconds)


def gone_in(worker: int, seconds: float) -> None:
    """Fail the test where a process is still there after so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"the worker outlived its driver by {seconds:g} seconds")
