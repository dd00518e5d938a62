import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivers import worker_ends_with_its_driver
from lorgnette.engines.base import Task
from lorgnette.engines.local import LocalEngine
from lorgnette.testing import LIMIT_SECONDS, EngineContract, square

pytestmark = pytest.mark.filterwarnings(
    # loky tells of a worker that died; the outcome does too
    "ignore:A worker stopped while some jobs were given:UserWarning"
)


class TestLocalEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> LocalEngine:
        return LocalEngine(workers=2)

    @pytest.fixture
    def impatient(self) -> LocalEngine:
        return LocalEngine(workers=2, limit=LIMIT_SECONDS)


def test_a_task_is_a_function_by_name() -> None:
    task = Task.of(square)
    assert task.function == "lorgnette.testing:square"
    assert task(3) == 9


def test_a_task_cannot_be_a_closure() -> None:
    def local(item: int) -> int:
        return item

    with pytest.raises(TypeError, match="top level"):
        Task.of(local)


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from lorgnette.engines.base import Task\n"
        "from lorgnette.engines.local import LocalEngine\n"
        "from lorgnette.testing import fail_in_gang, square\n"
        "engine = LocalEngine(2)\n"
        "print(sorted(o.value for o in engine.map(Task.of(square), range(4))))\n"
        "try:\n"
        "    engine.gang(Task.of(fail_in_gang), 2)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "[0, 1, 4, 9]\nEngineError\n", done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_ctrl_c_ends_a_gang_quietly(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "from lorgnette.engines.base import Task\n"
        "from lorgnette.engines.local import LocalEngine\n"
        "from lorgnette.testing import hang\n"
        "try:\n"
        f"    LocalEngine().gang(Task.of(hang, folder={str(tmp_path)!r}, victim=1), 2)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of its processes
    assert process.communicate(timeout=60) == ("interrupted\nTrue\n", "")
    assert process.returncode == 0


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    worker_ends_with_its_driver(tmp_path, "open_engine(EngineConfig(workers=1))", 20)
