from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from lorgnette.config import EngineConfig
from lorgnette.engines import Engine, Task, open_engine
from lorgnette.errors import ConfigError, EngineError, MissingDependencyError
from lorgnette.testing import LIMIT_SECONDS, EngineContract, hang, square, where
from spark_session import check

pytestmark = [pytest.mark.spark, pytest.mark.slow]

EXECUTOR = "CoarseGrainedExecutorBackend"
SLEEP: Task[float, None] = Task("time:sleep")


def settings(**given: Any) -> EngineConfig:
    return EngineConfig(name="spark", **given)


def eventually(true: Callable[[], object], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds:g} seconds not: {what}"
        time.sleep(0.1)


def processes(word: str, root: int | None = None) -> list[psutil.Process]:
    """The descendants of a process whose command line has a word in it."""
    found = []
    for process in psutil.Process(root).children(recursive=True):
        try:
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


class TestSparkEngine(EngineContract):
    @pytest.fixture
    def engine(self, spark_session: Any) -> Engine:
        return open_engine(settings(workers=2))

    @pytest.fixture
    def impatient(self, spark_session: Any) -> Engine:
        return open_engine(settings(workers=2, limit_minutes=LIMIT_SECONDS / 60))


def test_workers_are_the_slots_of_the_cluster(spark_session: Any) -> None:
    assert open_engine(settings()).workers == 2


def test_workers_have_one_thread_and_are_used_again(spark_session: Any) -> None:
    seen = [o.value for o in open_engine(settings()).map(Task.of(where), range(8))]
    assert {value[0] for value in seen if value} == {1}
    assert len({value[1] for value in seen if value}) <= 2 * 2  # a worker may be idle for too long


def test_an_executor_that_is_killed_loses_no_item(spark_session: Any) -> None:
    def kill() -> None:
        eventually(lambda: processes("sleep 2."), "an item runs")
        at_work = {process.pid for process in processes("sleep 2.")[0].parents()}
        next(process for process in processes(EXECUTOR) if process.pid in at_work).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    items = [["sleep", f"{2 + number / 1000}"] for number in range(8)]
    task: Task[list[str], int] = Task("subprocess:call")
    found = list(open_engine(settings(workers=2)).map(task, items))
    killer.join()
    assert sorted(outcome.item for outcome in found) == items
    assert [outcome.error for outcome in found] == [None] * len(items)
    assert max(outcome.attempts for outcome in found) == 2


def test_a_gang_outlives_an_executor_quietly(
    spark_session: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def kill() -> None:
        eventually((tmp_path / "1").exists, "the first start")
        processes(EXECUTOR)[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    task = Task.of(hang, folder=str(tmp_path), victim=1)
    assert open_engine(settings()).gang(task, 2) == [0, 1]
    killer.join()
    assert len((tmp_path / "1").read_text()) == 2
    written = capfd.readouterr()
    assert written.out == ""
    # the one line is that of Spark's own log, for a session that the engine has not opened
    assert [line for line in written.err.splitlines() if "Lost executor" not in line] == []
    eventually(lambda: not processes("train.py"), "the members of the first start have ended")


def test_a_map_that_is_left_early_leaves_nothing_running(spark_session: Any) -> None:
    engine = open_engine(settings(workers=2))
    outcomes = engine.map(SLEEP, [0.0, 600.0, 601.0, 602.0])
    assert next(outcomes).item == 0.0
    outcomes.close()  # type: ignore[attr-defined]
    tracker = spark_session.sparkContext.statusTracker()
    eventually(lambda: not tracker.getActiveJobsIds(), "no job is active", 10)
    begun = time.monotonic()
    assert len(list(engine.map(Task.of(square), range(4)))) == 4
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Stage failed because barrier task ResultTask(3, 0) finished unsuccessfully.\n"
            "lorgnette.engines.spark.remote.MemberFailure: "
            "lorgnette: a member failed: member 0: ValueError: no\n SQLSTATE: 38000",
            "member 0: ValueError: no",
        ),
        (
            "Stage failed because barrier task ResultTask(3, 1) finished unsuccessfully.\n"
            "RuntimeError: TorchDistributor failed during training.View stdout logs",
            "member 1: its process died",
        ),
        (
            "barrier task ResultTask(3, 1) finished unsuccessfully.\n"
            "ExecutorLostFailure (executor 1 exited caused by one of the running tasks)",
            "an executor died",
        ),
        (
            "An error occurred while calling o1.collect.\n: org.apache.spark.SparkException: x\n"
            "ModuleNotFoundError: No module named 'torch'\n\tat org.apache.spark.X",
            "ModuleNotFoundError: No module named 'torch'",
        ),
    ],
)
def test_the_reason_of_a_gang_is_found_in_what_spark_says(text: str, reason: str) -> None:
    why = pytest.importorskip("lorgnette.engines.spark.gang").why
    assert why(text) == reason


def test_a_cluster_without_the_package_is_told_at_once() -> None:
    from lorgnette.engines.spark.jobs import check_installed

    check_installed("ModuleNotFoundError: No module named 'mine'")
    with pytest.raises(EngineError, match="PYSPARK_PYTHON"):
        check_installed("org.apache…PythonException: No module named 'lorgnette'\n  at …")


def test_a_gang_that_the_cluster_cannot_hold(spark_session: Any) -> None:
    with pytest.raises(EngineError, match="must run 3 tasks at once") as error:
        open_engine(settings(patience_seconds=1)).gang(Task.of(where), 3)
    assert "not brought it beyond 2" in str(error.value)


def test_a_gang_with_gpus_where_there_are_none(spark_session: Any) -> None:
    with pytest.raises(EngineError, match=r"spark\.task\.resource\.gpu\.amount"):
        open_engine(settings(gpus=1)).gang(Task.of(where), 2)


def test_another_master_than_that_of_the_open_session(spark_session: Any) -> None:
    engine = open_engine(settings(master="spark://127.0.0.1:7077"))
    with pytest.raises(ConfigError, match="One process has one Spark session"):
        list(engine.map(Task.of(square), [1]))


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lorgnette\[spark\]'"):
        open_engine(settings())


# A standalone cluster. Its drivers are processes of their own: this one has a session.

PRELUDE = """
import os, sys, threading, time
from pathlib import Path
from lorgnette.config import EngineConfig
from lorgnette.engines import Task, open_engine
from lorgnette.errors import EngineError
from lorgnette.testing import hang
url, folder = sys.argv[1], Path(sys.argv[2])
def engine_with(**given):
    return open_engine(EngineConfig(name="spark", **{"master": url, **given}))
"""

SURVIVOR = """
import subprocess
from lorgnette.engines.spark.session import wait_for_slots
first, second = int(sys.argv[3]), int(sys.argv[4])
try:
    engine_with(master="spark://127.0.0.1:1", patience_seconds=5).workers
except EngineError as error:
    print("silent:", error)
engine = engine_with()
wait_for_slots(engine.session, 4, 60)
print("workers:", engine.workers)

def kill():
    while not (folder / "1").exists():
        time.sleep(0.1)
    os.kill(first, 9)
threading.Thread(target=kill).start()
print("gang:", engine.gang(Task.of(hang, folder=str(folder), victim=1), 2))

third = subprocess.Popen(sys.argv[5:])
try:
    wait_for_slots(engine.session, 4, 60)
    items = [0.5 + number / 1000 for number in range(16)]
    outcomes = engine.map(Task("time:sleep"), items)
    found = [next(outcomes)]
    third.kill()
    found += outcomes
    print("map:", sorted(o.item for o in found) == items, [o.error for o in found if o.error])
finally:
    third.kill()
    third.wait()

outcomes = engine_with(patience_seconds=5).map(Task("time:sleep"), [0.1] + [1.0] * 1000)
next(outcomes)
os.kill(second, 9)
try:
    list(outcomes)
except EngineError as error:
    print("alone:", error)
"""

VICTIM = """
engine = engine_with()
outcomes = engine.map(Task("time:sleep"), [0.1, 600.0, 600.0, 600.0])
next(outcomes)
print("running", flush=True)
next(outcomes)
"""


class Standalone:
    """A master and two workers with two slots each."""

    def __init__(self, folder: Path) -> None:
        from pyspark.find_spark_home import _find_spark_home

        self.folder = folder
        self.command = [str(Path(_find_spark_home()) / "bin" / "spark-class")]
        self.environment = {
            **os.environ,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(folder),
            "PYSPARK_PYTHON": sys.executable,
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"spark://127.0.0.1:{port}"
        self.log = (folder / "log").open("w")
        self.master = self.start(
            *("org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"),
            *("--port", str(port), "--webui-port", "0"),
        )
        self.workers = [self.start(*self.worker()) for _ in range(2)]

    def worker(self) -> list[str]:
        return [
            *("org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "2"),
            *("--memory", "1g", "--webui-port", "0", "--work-dir", str(self.folder), self.url),
        ]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return self.popen([*self.command, *arguments], stdout=self.log, stderr=self.log)

    def popen(self, command: list[str], **given: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(command, env=self.environment, text=True, **given)

    def driver(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        script = self.folder / "driver.py"
        script.write_text(PRELUDE + code)
        shared = self.folder / "shared"
        shared.mkdir(exist_ok=True)
        return self.popen(
            [sys.executable, str(script), self.url, str(shared), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def stop(self) -> None:
        for process in [self.master, *self.workers]:
            process.kill()
            process.wait()
        self.log.close()


@pytest.fixture
def standalone(missing: Callable[[str, str], NoReturn], tmp_path: Path) -> Iterator[Standalone]:
    check(missing)
    cluster = Standalone(tmp_path)
    yield cluster
    cluster.stop()


def test_a_standalone_cluster_that_loses_its_workers(standalone: Standalone) -> None:
    driver = standalone.driver(
        SURVIVOR,
        *(str(worker.pid) for worker in standalone.workers),
        *(*standalone.command, *standalone.worker()),
    )
    try:
        out, err = driver.communicate(timeout=240)
    finally:
        driver.kill()
    said = dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)
    assert "Spark at spark://127.0.0.1:1 did not answer in 5 seconds" in said["silent"], err
    assert said["workers"] == "4", err
    assert said["gang"] == "[0, 1]", err
    assert said["map"] == "True []", err
    assert "has started no task for 5 seconds" in said["alone"], err
    assert standalone.url in said["alone"]


def test_a_driver_that_is_killed_takes_everything_along(standalone: Standalone) -> None:
    driver = standalone.driver(VICTIM)
    assert driver.stdout is not None
    try:
        said = driver.stdout.readline()
        assert said == "running\n", driver.communicate(timeout=60)
        roots = [driver.pid, *(worker.pid for worker in standalone.workers)]
        executors = [process for root in roots for process in processes(EXECUTOR, root)]
        workers = [process for root in roots for process in processes("pyspark.daemon", root)]
        assert len(executors) == 2
        assert len(workers) >= 2
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate(timeout=60)
    _, alive = psutil.wait_procs([*executors, *workers], timeout=40)
    assert alive == []
