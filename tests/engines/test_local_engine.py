import subprocess
import sys
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
        "from lorgnette.testing import square\n"
        "print(sorted(o.value for o in LocalEngine(2).map(Task.of(square), range(4))))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[0, 1, 4, 9]\n", done.stderr
    assert done.stderr == ""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    worker_ends_with_its_driver(tmp_path, "open_engine(EngineConfig(workers=1))", 20)
