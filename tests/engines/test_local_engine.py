import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from drivers import gone_in, worker_ends_with_its_driver
from lorgnette.engines.base import Task
from lorgnette.engines.local import LocalEngine, _reason
from lorgnette.testing import LIMIT_SECONDS, EngineContract, square, where, worker_id

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


@pytest.mark.slow
@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM])
def test_members_end_when_their_driver_is_killed(tmp_path: Path, deadly: int) -> None:
    driver = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "from lorgnette.engines.base import Task\n"
            "from lorgnette.engines.local import LocalEngine\n"
            "from lorgnette.testing import hang\n"
            f"LocalEngine().gang(Task.of(hang, folder={str(tmp_path)!r}, victim=1), 2)\n",
        ]
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "1").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    members = psutil.Process(driver.pid).children(recursive=True)
    assert len(members) >= 2
    driver.send_signal(deadly)
    driver.wait(timeout=30)
    for member in members:
        gone_in(member.pid, 20)


def test_a_worker_that_dies_with_nothing_to_do_costs_nothing() -> None:
    outcomes = LocalEngine(1).map(Task.of(worker_id), range(3))
    first = next(outcomes)
    assert first.value is not None
    os.kill(first.value, signal.SIGKILL)
    time.sleep(1)  # for loky to notice
    rest = list(outcomes)
    assert [outcome.attempts for outcome in rest] == [1, 1]
    assert first.value not in [outcome.value for outcome in rest]


def test_members_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("lorgnette.engines.local.processors", lambda: 2)
    threads = [value[0] for value in LocalEngine().gang(Task.of(where), 2)]
    assert threads == [1, 1]
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_gang_that_takes_too_long_is_told_of_the_limit(tmp_path: Path) -> None:
    sentence = _reason(1, Silent(), 61, 60)
    assert sentence == (
        "member 1: it took longer than 1 minutes (engine.limit_minutes) and was ended"
    )
    assert _reason(1, Silent(), 10, 60) == "member 1: its process died"


class Silent:
    """What the launcher knows of a member that left no word."""

    message = "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"
