"""Twenty random kills on three engines, and whether anything is lost.

    python benchmarks/engine_kills.py --work FOLDER

2,000 portraits of 1024 x 1024 pixels are prepared, and a network is trained on them by two members
in step (`train.members=2`, sync), on this machine's processes, on a standalone Spark master with
two workers, and on a Ray cluster of a head without processors and two nodes, each first
undisturbed. Then both are done again and again while every few seconds something is killed with
SIGKILL: the command itself (the driver), a process that does the work (a worker or a member), a
Spark executor, or a node (a Spark worker, a Ray node). What is a service of the cluster is started
again after three seconds, as its supervisor would; a command that was killed or that gave up is
started again as it was.

Nothing is lost when the dataset has the bytes of the undisturbed one, and the training the same
number of epochs and the same curve (the largest difference of a training loss is shown).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from record import RESULTS, Cell, save

COLUMNS = (
    "engine", "job", "kills", "killed", "commands", "gave_up", "starts", "seconds",
    "undisturbed_seconds", "same", "largest_loss_difference",
)  # fmt: skip
DOING = {
    "local": ("LokyProcess", "multiprocessing.spawn"),
    "spark": ("pyspark.daemon", "pyspark/daemon", "torchrun", "torch.distributed.run"),
    "ray": ("ray::",),
}
"""What the command lines of processes that do an engine's work hold."""
EXECUTOR = "CoarseGrainedExecutorBackend"
QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # no token in the home directory
}
PAUSE = 3.0
CLOSE = 1e-3
"""Sums that are added up in another order differ by so much in a loss, at most."""


@dataclass
class Service:
    """A process of a cluster that its supervisor starts again."""

    words: Sequence[str]
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    due: float = 0.0

    def look(self) -> None:
        """Start it if it is not there."""
        if self.process is not None and self.process.poll() is not None:
            self.process, self.due = None, time.monotonic() + PAUSE
        if self.process is None and time.monotonic() >= self.due:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.words, env=self.env, stdout=log, stderr=log, start_new_session=True
                )

    def kill(self) -> bool:
        """Kill it and all below it, as a machine that goes dark."""
        if self.process is None or self.process.poll() is not None:
            return False
        end(self.process.pid)
        self.process.wait()
        self.process, self.due = None, time.monotonic() + PAUSE
        return True


@dataclass
class Cluster:
    """The services of an engine, and how commands name it."""

    options: list[str]
    services: list[Service] = field(default_factory=list)
    nodes: list[Service] = field(default_factory=list)

    def look(self) -> None:
        """Start what is missing."""
        for each in [*self.services, *self.nodes]:
            each.look()

    def stop(self) -> None:
        """End it all."""
        for each in [*self.nodes, *self.services]:
            each.kill()


def end(pid: int) -> None:
    """Kill a process and everything below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for each in [*root.children(recursive=True), root]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def cluster(engine: str, work: Path) -> Cluster:
    """Start an engine's cluster on loopback."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if engine == "local":
        return Cluster(["--engine", "local"])
    if engine == "spark":
        import pyspark

        home = Path(pyspark.__file__).parent
        run = str(home / "bin" / "spark-class")
        env |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        env |= {"SPARK_HOME": str(home), "SPARK_WORKER_DIR": str(work / "spark")}
        url = "spark://127.0.0.1:17077"
        deploy = "org.apache.spark.deploy"
        address = ["--host", "127.0.0.1"]
        master = [run, f"{deploy}.master.Master", *address, "--port", "17077"]
        node = [run, f"{deploy}.worker.Worker", *address, "--cores", "1", "--memory", "2g", url]
        found = Cluster(["--engine", "spark", "--master", url])
        found.services = [Service([*master, "--webui-port", "0"], env, work / "master.log")]
        found.nodes = [
            Service([*node, "--webui-port", "0"], env, work / f"node{i}.log") for i in (0, 1)
        ]
    else:
        ray = str(Path(sys.executable).with_name("ray"))
        env |= QUIET_RAY
        common = ["--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
        head = [ray, "start", "--head", "--port=6399", "--num-cpus=0", "--include-dashboard=false"]
        node = [ray, "start", "--address=127.0.0.1:6399", "--num-cpus=1"]
        found = Cluster(["--engine", "ray", "--address", "127.0.0.1:6399"])
        found.services = [Service([*head, *common], env, work / "head.log")]
        found.nodes = [Service([*node, *common], env, work / f"ray{i}.log") for i in (0, 1)]
    for each in found.services:
        each.look()
    time.sleep(8)
    found.look()
    time.sleep(8)
    return found


def found_below(roots: Sequence[int], marks: Sequence[str]) -> list[psutil.Process]:
    """Busy processes below others whose command lines hold one of some words."""
    found = []
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(root).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    line = " ".join(process.cmdline())
                    if any(mark in line for mark in marks) and process.cpu_times().user > 1.0:
                        found.append(process)
    return found


def strike(
    engine: str, kind: str, driver: subprocess.Popen[bytes], where: Cluster, rng: random.Random
) -> bool:
    """Kill one thing of a kind; False where there is none."""
    if kind == "driver":
        end(driver.pid)
        driver.wait()
        return True
    if kind == "node":
        return bool(where.nodes) and rng.choice(where.nodes).kill()
    roots = [each.process.pid for each in where.nodes if each.process] or [driver.pid]
    found = found_below(roots, DOING[engine] if kind == "worker" else [EXECUTOR])
    if not found:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        rng.choice(found).send_signal(signal.SIGKILL)
        return True
    return False


@dataclass
class Done:
    """What became of one job."""

    seconds: float
    commands: int
    gave_up: int
    killed: Counter[str]


@dataclass
class Total:
    """What became of all disturbed jobs of a kind."""

    killed: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    gave_up: int = 0
    starts: int = 0
    seconds: float = 0.0
    apart: float = 0.0
    same: bool = True

    def add(self, done: Done) -> None:
        """Count one more."""
        self.killed += done.killed
        self.commands += done.commands
        self.gave_up += done.gave_up
        self.seconds += done.seconds

    @property
    def kinds(self) -> str:
        """What was killed how often."""
        return " ".join(f"{kind}:{times}" for kind, times in sorted(self.killed.items()))


def work_through(
    words: list[str], engine: str, where: Cluster, kinds: Sequence[str], quota: int,
    rng: random.Random, log: Path, patience: float,
) -> Done:  # fmt: skip
    """Run a command until it succeeds, killing something every few seconds."""
    start = time.monotonic()
    commands = gave_up = 0
    killed: Counter[str] = Counter()
    while True:
        if time.monotonic() - start > patience:
            raise SystemExit(f"{engine}: {' '.join(words)} did not end; see {log}")
        commands += 1
        with log.open("ab") as file:
            driver = subprocess.Popen(
                words, stdout=file, stderr=file, start_new_session=True,
                env={**os.environ, **QUIET_RAY, "OMP_NUM_THREADS": "1",
                     "PYSPARK_PYTHON": sys.executable},
            )  # fmt: skip
        due = time.monotonic() + rng.uniform(5, 14)
        while driver.poll() is None and time.monotonic() - start < patience:
            where.look()
            if killed.total() < quota and time.monotonic() >= due:
                kind = rng.choice(kinds)
                if strike(engine, kind, driver, where, rng):
                    killed[kind] += 1
                    print(engine, words[3], "killed", kind, flush=True)
                due = time.monotonic() + rng.uniform(5, 14)
            time.sleep(0.2)
        if driver.returncode == 0:
            return Done(time.monotonic() - start, commands, gave_up, killed)
        gave_up += driver.returncode is not None and driver.returncode > 0
        end(driver.pid)
        time.sleep(PAUSE)


def digest(dataset: Path) -> str:
    """Of all bytes of a dataset's shards."""
    found = hashlib.sha256()
    for file in sorted((dataset / "shards").iterdir()):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def losses(run: Path) -> list[float]:
    """The training loss of each epoch."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train_loss"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where portraits and logs stay")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--kills", type=int, nargs=3, default=[6, 7, 7], help="local, Spark, Ray")
    parser.add_argument("--engine", action="append", choices=tuple(DOING))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    work: Path = args.work
    if not (work / "portraits" / "train.csv").is_file():
        from engines import drawn

        drawn(work, args.n)
    lines: list[list[Cell]] = []
    quotas = dict(zip(DOING, args.kills, strict=True))
    for engine in args.engine or tuple(DOING):
        rng = random.Random(args.seed)
        place = work / f"kills-{engine}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        kinds = ["driver", "worker", "worker"]
        kinds += {"local": [], "spark": ["executor", "node"], "ray": ["node", "node"]}[engine]
        where = cluster(engine, place)
        log = place / "commands.log"

        def job(name: str, out: Path, dataset: Path, where: Cluster = where) -> list[str]:
            base = [sys.executable, "-m", "lorgnette"]
            if name == "prepare":
                words = ["prepare", str(work / "portraits"), "--size", "64", "--out", str(out)]
                words += ["--set", "prepare.shard_items=40", "--source", "kaggle"]
            else:
                words = ["train", str(dataset), "--recipe", "furia-cnn", "--out", str(out)]
                words += ["--members", "2", "--epochs", str(args.epochs)]
                words += ["--set", "train.precision=float32", "--set", "train.stopping.patience=0"]
            return [*base, *words, *where.options, "--quiet"]

        try:
            plain: dict[str, Done] = {}
            for name in ("prepare", "train"):
                words = job(name, place / name, place / "prepare")
                plain[name] = work_through(words, engine, where, kinds, 0, rng, log, 600)
            left, rounds = quotas[engine], 0
            total = {name: Total() for name in plain}
            while left > 0:
                for name, sums in total.items():
                    out = place / f"{name}-{rounds}"
                    words = job(name, out, place / "prepare")
                    done = work_through(words, engine, where, kinds, min(left, 2), rng, log, 900)
                    left -= done.killed.total()
                    sums.add(done)
                    if name == "prepare":
                        sums.same &= digest(out) == digest(place / name)
                    else:
                        was, now = losses(place / name), losses(out)
                        apart = max(abs(a - b) for a, b in zip(was, now, strict=False))
                        sums.apart = max(sums.apart, apart)
                        sums.same &= len(was) == len(now) and apart < CLOSE
                        told = json.loads((out / "run.json").read_text())["training"]
                        sums.starts += len(told.get("starts", []))
                rounds += 1
        finally:
            where.stop()
        for name, sums in total.items():
            training = name == "train"
            lines.append(
                [
                    engine, name, sums.killed.total(), sums.kinds, sums.commands, sums.gave_up,
                    sums.starts if training else None, round(sums.seconds / rounds, 1),
                    round(plain[name].seconds, 1), str(sums.same),
                    float(f"{sums.apart:.2g}") if training else None,
                ]
            )  # fmt: skip
            print(lines[-1], flush=True)
        save(
            RESULTS / "engine_kills.csv", COLUMNS, lines, packages=("pyspark", "ray"),
            remark="seconds: mean of the disturbed jobs; starts: of the training's gangs, all jobs",
        )  # fmt: skip


if __name__ == "__main__":
    main()
