"""Real workers: processes that are killed, a chief too, and a database of another program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_studies import RATE, TINY, Small, prepared, recipe, told

from conftest import Missing
from lorgnette.config import PrepareConfig, SourceConfig
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.errors import DatasetError, EngineError, ModelError
from lorgnette.tuning.search import search
from lorgnette.tuning.settings import TuneConfig
from lorgnette.tuning.storages import answers, serve
from lorgnette.tuning.study import StudyDir, trials_of
from lorgnette.tuning.worker import work
from pictures import folder_of

pytestmark = pytest.mark.slow

LONGER = ("train.epochs=12", "train.batch_size=4")
"""Long enough to be killed in the middle."""
SEARCH: dict[str, Any] = {"sampler": "random", "trials": 8, "objective": "val_loss"}
LIMIT = 150


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepared(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def undisturbed(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What comes out where nothing is killed, by one worker."""
    place = tmp_path_factory.mktemp("undisturbed")
    found = told(Small(small, place, *LONGER, **SEARCH).finish())
    assert len({value for *_, value in found}) == 8
    return found


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for something, but not forever."""
    end = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A `lorgnette tune …` in a process of its own, its output in a file."""
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lorgnette", "tune", *words],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def said(folder: Path) -> str:
    return (folder / "log.txt").read_text()


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The workers of a command."""
    try:
        found = psutil.Process(process.pid).children(recursive=True)
        return [each for each in found if "resource_tracker" not in " ".join(each.cmdline())]
    except psutil.NoSuchProcess:
        return []


def epochs(folder: Path) -> int:
    """Epochs that trials have finished so far."""
    lines = 0
    for path in (folder / "study" / "trials").glob("*/0/metrics.jsonl"):
        lines += len(path.read_text().splitlines())
    return lines


def options() -> list[str]:
    """The same search, as options of a command."""
    settings = [*TINY, RATE, *LONGER, *(f"tune.{key}={value}" for key, value in SEARCH.items())]
    return ["--recipe", "default", *(word for each in settings for word in ("--set", each))]


def test_two_workers_find_what_one_finds(
    small: Dataset, undisturbed: list[Any], tmp_path: Path
) -> None:
    settings, data = TuneConfig.model_validate(SEARCH), recipe(*LONGER)
    seen: list[int] = []
    facts = search(
        small, data, settings, StudyDir(tmp_path), workers=2,
        shown=lambda facts: seen.append(len(facts.trials)),
    )  # fmt: skip
    assert told(trials_of(StudyDir(tmp_path))) == undisturbed
    assert len(facts.workers) == 2
    assert seen
    assert facts.best is not None
    assert facts.optimism is not None
    assert facts.optimism.trials == 8


def test_killed_workers_and_a_killed_command_lose_nothing(
    small: Dataset, undisturbed: list[Any], tmp_path: Path
) -> None:
    words = (small.location, *options(), "--out", "study", "--workers", "2")
    command = start(tmp_path, *words)
    for reached in (3, 20):
        until(lambda: epochs(tmp_path) >= reached and len(children(command)) >= 2, "epochs")  # noqa: B023
        children(command)[0].kill()
    until(lambda: epochs(tmp_path) >= 35, "epochs after two kills")
    command.kill()
    command.wait()
    again = start(tmp_path, *words, "--json")
    assert again.wait(LIMIT) == 0, said(tmp_path)
    assert told(trials_of(StudyDir(tmp_path / "study"))) == undisturbed
    printed = json.loads(said(tmp_path).splitlines()[-1])["stages"][0]
    assert printed["trials"] == {"complete": 8}
    assert (tmp_path / "study" / "study.html").is_file()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_chief_and_workers_that_are_killed_end_as_if_undisturbed(
    small: Dataset, undisturbed: list[Any], tmp_path: Path
) -> None:
    where = f"127.0.0.1:{free_port()}"
    words = ("chief", small.location, *options(), "--out", "study", "--bind", where)
    work_ = ("worker", "--chief", where, "--dataset", small.location, "--workers", "1")
    chief = start(tmp_path, *words)
    workers = [start(tmp_path, *work_)]
    until(lambda: epochs(tmp_path) >= 5, "the first epochs")
    workers.append(start(tmp_path, *work_))  # joins late
    until(lambda: bool(children(workers[1])) and epochs(tmp_path) >= 20, "more epochs")
    chief.kill()
    chief.wait()
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    before = epochs(tmp_path)
    chief = start(tmp_path, *words)
    until(lambda: epochs(tmp_path) > before + 3, "work after the chief came back")
    assert chief.wait(LIMIT) == 0, said(tmp_path)
    assert workers[1].wait(LIMIT) == 0, said(tmp_path)
    assert "The study is over" in said(tmp_path)
    assert told(trials_of(StudyDir(tmp_path / "study"))) == undisturbed


def test_workers_learn_the_dataset_that_the_chief_has(small: Dataset, tmp_path: Path) -> None:
    study = Small(small, tmp_path / "study")
    source = SourceConfig(location=str(folder_of(tmp_path / "other", 20)))
    other = prepare(source, str(tmp_path / "out"), PrepareConfig(size=(8,)), LocalEngine(1))
    location = study.place.location
    with pytest.raises(DatasetError, match="is not the one that the chief has"):
        work(0, location=location, name=None, dataset=other.location, directory=None, threads=1)


def test_what_every_worker_stumbles_over_ends_the_search_with_it(
    small: Dataset, tmp_path: Path
) -> None:
    place = StudyDir(tmp_path)
    (tmp_path / "trials").write_text("in the way")
    settings = TuneConfig(sampler="random", trials=2)
    with pytest.raises((EngineError, ModelError), match=r"trials"):
        search(small, recipe(), settings, place, workers=1)


def test_a_chief_that_is_not_there() -> None:
    assert not answers(f"grpc://127.0.0.1:{free_port()}", 0.3)
    assert answers("postgresql://somewhere/else")


def test_an_address_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match="choose another --bind"):
            serve(None, "127.0.0.1", port)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory, missing: Missing) -> Iterator[str]:
    """The location of a database on loopback."""
    programs = [shutil.which(name) for name in ("initdb", "pg_ctl", "createdb")]
    if None in programs:
        missing("postgres", "PostgreSQL's initdb, pg_ctl and createdb are not installed")
    folder = tmp_path_factory.mktemp("postgres")
    port = free_port()
    user: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        if shutil.which("setpriv") is None:
            missing("postgres", "PostgreSQL does not run as root, and setpriv is not installed")
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for path in [folder, *folder.parents]:
            if path == Path(path.anchor):
                break
            path.chmod(path.stat().st_mode | 0o011)
        os.chown(folder, 65534, 65534)

    def call(*words: str) -> None:
        done = subprocess.run([*user, *words], cwd=folder, capture_output=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr.decode()

    call("initdb", "-D", "data", "-A", "trust", "-U", "postgres")
    options = f"-p {port} -k {folder} -h 127.0.0.1"
    # Its own log: the server would hold on to the pipes of this process.
    call("pg_ctl", "-D", "data", "-o", options, "-l", "log", "-w", "start")
    call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "studies")
    yield f"postgresql://postgres@127.0.0.1:{port}/studies"
    call("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")


def test_a_study_in_postgresql(
    small: Dataset, undisturbed: list[Any], postgres: str, tmp_path: Path
) -> None:
    settings, data = TuneConfig.model_validate(SEARCH), recipe(*LONGER)
    search(small, data, settings, StudyDir(tmp_path), workers=2, storage=postgres)
    assert told(trials_of(StudyDir(tmp_path))) == undisturbed
    assert not (tmp_path / "study.db").exists()
