from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import worker_ends_with_its_driver
from lorgnette.config import EngineConfig
from lorgnette.engines import open_engine
from lorgnette.engines.base import Engine, Outcome, Task
from lorgnette.errors import EngineError, MissingDependencyError
from lorgnette.testing import LIMIT_SECONDS, EngineContract, hang, square
from ray_cluster import NODE, QUIET

pytestmark = pytest.mark.ray


def engine_of(**settings: Any) -> Engine:
    return open_engine(EngineConfig(name="ray", **settings))


class TestRayEngine(EngineContract):
    @pytest.fixture
    def engine(self, ray_cluster: Any) -> Engine:
        return engine_of(workers=2)

    @pytest.fixture
    def impatient(self, ray_cluster: Any) -> Engine:
        return engine_of(workers=2, limit_minutes=LIMIT_SECONDS / 60)


def test_workers_are_counted_in_the_cluster(ray_cluster: Any) -> None:
    assert engine_of().workers == 2


def test_arrays_arrive_as_on_other_engines(ray_cluster: Any) -> None:
    large = np.zeros(200_000)
    task: Task[Any, Any] = Task("copy:copy")
    (outcome,) = engine_of(workers=1).map(task, [large])
    value = outcome.value
    assert value is not None, outcome.traceback
    value += 1
    assert value.sum() == 200_000


def test_what_cannot_travel_is_an_error_of_its_item(ray_cluster: Any) -> None:
    task: Task[Any, Any] = Task("builtins:memoryview")
    (outcome,) = engine_of(workers=1).map(task, [b"item"])
    assert "pickle" in (outcome.error or "")


def test_nodes_that_die_take_no_item_with_them(ray_cluster: Any) -> None:
    doomed = [ray_cluster.add_node(**NODE, num_cpus=1) for _ in range(2)]
    items = [0.3 + index / 1000 for index in range(30)]
    task: Task[float, None] = Task.of(time.sleep)
    done: list[Outcome[float, None]] = []
    for outcome in engine_of(workers=4).map(task, items):
        done.append(outcome)
        if len(done) == 6:
            doomed[0].kill_raylet()
        if len(done) == 12:
            ray_cluster.remove_node(doomed[1])
    ray_cluster.remove_node(doomed[0])
    assert sorted(outcome.item for outcome in done) == items
    assert [outcome.error for outcome in done] == [None] * len(items)
    assert 1 <= sum(outcome.attempts > 1 for outcome in done) <= 2


def test_a_gang_whose_node_dies_starts_again_on_those_that_are_left(
    ray_cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    doomed = ray_cluster.add_node(**NODE, num_cpus=1)
    guest = guest_here()  # so that both other nodes have a member

    def kill() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.1)
        leave(guest)
        doomed.kill_raylet()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    task = Task.of(hang, folder=str(tmp_path), victim=1)
    assert engine_of(patience_seconds=60).gang(task, 2) == [0, 1]
    killer.join()
    ray_cluster.remove_node(doomed)
    assert len((tmp_path / "1").read_text()) == 2
    assert capfd.readouterr() == ("", "")


def test_a_cluster_without_such_workers_is_an_error(ray_cluster: Any) -> None:
    impatient = engine_of(workers=2, gpus=1, patience_seconds=1)
    with pytest.raises(EngineError, match=r"1 CPU and 1 GPU, and the cluster has .* 0 of 0 GPUs"):
        list(impatient.map(Task.of(square), range(3)))


def test_a_gang_that_is_larger_than_the_cluster_is_an_error(ray_cluster: Any) -> None:
    with pytest.raises(EngineError, match=r"room for 5 members .* room for 2 for 1 s"):
        engine_of(patience_seconds=1).gang(Task.of(square), 5)


def test_a_gang_for_which_others_leave_no_place_is_an_error(ray_cluster: Any) -> None:
    guest = guest_here()
    try:
        with pytest.raises(EngineError, match="others have had the places"):
            engine_of(patience_seconds=1).gang(Task.of(square), 2)
    finally:
        leave(guest)


def test_an_address_without_a_cluster_is_an_error_in_time(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        socket.create_server(("127.0.0.1", 0)) as s,
    ):
        free = s.getsockname()[1]
        s.close()
        for port in (mute.getsockname()[1], free):
            begun = time.monotonic()
            done = script(
                tmp_path,
                "from lorgnette.errors import EngineError\n"
                f"engine = open_engine(EngineConfig(name='ray', address='127.0.0.1:{port}', "
                "patience_seconds=3))\n"
                "try:\n"
                "    engine.workers\n"
                "except EngineError as error:\n"
                "    print(error)\n",
            )
            assert time.monotonic() - begun < 40
            assert f"No Ray cluster answered at '127.0.0.1:{port}' within 3 s" in done.stdout
            assert done.stderr == ""


def test_workers_end_when_the_driver_is_killed(ray_cluster: Any, tmp_path: Path) -> None:
    settings = f"EngineConfig(name='ray', workers=1, address={ray_cluster.address!r})"
    worker_ends_with_its_driver(tmp_path, f"open_engine({settings})", 30)


def test_without_an_address_ray_starts_here_and_is_quiet(
    missing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    for name in QUIET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = script(
        tmp_path,
        "from lorgnette.testing import reduce_ranks, square\n"
        "engine = open_engine(EngineConfig(name='ray', workers=2))\n"
        "print(sorted(o.value for o in engine.map(Task.of(square), range(4))))\n"
        "print(engine.gang(Task.of(reduce_ranks), 2))\n",
    )
    assert done.stdout == "[0, 1, 4, 9]\n[10, 11]\n", done.stderr
    assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ray", "script.py"]


def test_ray_that_is_absent_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lorgnette\[ray\]'"):
        engine_of()


def guest_here() -> Any:
    """An actor of somebody else, which holds the CPU of the driver's node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from lorgnette.engines.ray.workers import Runner

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    guest: Any = ray.remote(Runner).options(num_cpus=1, scheduling_strategy=here)
    guest = guest.remote()
    ray.get(guest.ready.remote())
    return guest


def leave(guest: Any) -> None:
    import ray

    ray.kill(guest)


def script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(
        "from lorgnette.config import EngineConfig\n"
        "from lorgnette.engines import Task, open_engine\n" + text
    )
    return subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
