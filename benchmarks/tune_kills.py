"""A chief and two workers that are killed again and again, and the same study undisturbed.

A mode of `benchmarks/tune.py`, which tells how it is measured.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from optuna.trial import FrozenTrial, TrialState

from lorgnette.tuning.leases import TAKEN_UP
from lorgnette.tuning.study import DATABASE, StudyDir, trials_of
from tune_data import Row, command, remembered

COLUMNS = (
    "run", "seed", "kills", "killed", "planned", "trials", "complete", "lost", "done_twice",
    "begun_anew", "taken_up", "commands_failed", "best_trial", "best", "same_trials",
    "same_weights", "compute_seconds", "wall_seconds",
)  # fmt: skip
TARGETS = ("chief", "worker", "child", "child")
"""What a kill hits, each as likely; children are the processes that train."""
POLL_SECONDS = 0.1
LOOK_SECONDS = 0.5
PATIENCE = 10
"""A study that takes so many times as long as the undisturbed one is given up."""


@dataclass
class Command:
    """A command that is started again after every kill.

    Attributes:
        words: the command.
        log: where what it says goes.
        process: None while it is dead.
        due: when it is to be started.
    """

    words: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    due: float = 0.0

    def look(self) -> None:
        """Start it if it is due."""
        if self.process is None and time.monotonic() >= self.due:
            with self.log.open("ab") as log:
                # Two worker commands do not know of each other: each would take all processors.
                self.process = subprocess.Popen(
                    self.words,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    start_new_session=True,
                )

    def kill(self, pause: float) -> bool:
        """Kill it, to be started again after a pause; False where it is not alive."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process, self.due = None, time.monotonic() + pause
        return True

    def kill_child(self) -> bool:
        """Kill the process that trains for it; False where there is none."""
        found = children(self.process.pid) if self.process else []
        with contextlib.suppress(ProcessLookupError):
            for each in found[:1]:
                os.kill(each.pid, signal.SIGKILL)
                return True
        return False

    @property
    def failed(self) -> bool:
        """Whether it ended by itself, with an error."""
        return self.process is not None and self.process.poll() not in (None, 0)


def children(pid: int) -> list[psutil.Process]:
    """The processes in which a command does its work."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "LokyProcess" in " ".join(process.cmdline()):
                    found.append(process)
    return found


@dataclass
class Witness:
    """Looks at a study from outside, and notices what is done a second time.

    Attributes:
        root: the study's directory.
        ended: when each trial ended, as its database said first.
        epochs: the most passes that each trial was seen to have.
        twice: trials that ended again at another time, or were gone.
        anew: trials that were seen with fewer passes than before.
    """

    root: Path
    ended: dict[int, str] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    twice: set[int] = field(default_factory=set)
    anew: set[int] = field(default_factory=set)

    def look(self) -> int:
        """Look once; how many trials are complete."""
        # Read-only, and over when the chief is just killed with the file half written.
        with contextlib.suppress(sqlite3.Error):
            address = f"file:{self.root / DATABASE}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=1)) as database:
                rows = database.execute(
                    "SELECT number, datetime_complete FROM trials WHERE state = 'COMPLETE'"
                ).fetchall()
            for number, moment in rows:
                if self.ended.setdefault(number, moment) != moment:
                    self.twice.add(number)
            self.twice |= self.ended.keys() - {number for number, _ in rows}
        for path in self.root.glob("trials/*/0/metrics.jsonl"):
            number, seen = int(path.parts[-3]), len(path.read_text().splitlines())
            if seen < self.epochs.get(number, 0):
                self.anew.add(number)
            self.epochs[number] = max(seen, self.epochs.get(number, 0))
        return len(self.ended)


def rows(
    work: Path, dataset: str, kills: int, trials: int, epochs: int, seeds: Sequence[int]
) -> Iterator[Row]:
    """For each seed the study undisturbed, and killed at moments that the seed decides."""
    for seed in seeds:
        name = f"kills-{Path(dataset).name}-{seed}-{trials}x{epochs}"
        calm, killed = work / f"{name}-0", work / f"{name}-{kills}"

        def undisturbed(seed: int = seed, calm: Path = calm) -> Row:
            return study(calm, dataset, trials, epochs, seed, [], None)

        first = remembered(calm.with_suffix(".json"), undisturbed)
        yield first

        def disturbed(
            seed: int = seed, killed: Path = killed, calm: Path = calm, first: Row = first
        ) -> Row:
            chance, whole = random.Random(seed), float(first["wall_seconds"] or 0)
            moments = sorted(chance.uniform(0.05, 0.85) * whole for _ in range(kills))
            return study(killed, dataset, trials, epochs, seed, moments, calm)

        yield remembered(killed.with_suffix(".json"), disturbed)


def study(
    out: Path,
    dataset: str,
    trials: int,
    epochs: int,
    seed: int,
    moments: Sequence[float],
    beside: Path | None,
) -> Row:
    """Run a study with a chief and two workers; kill one of its processes at every moment.

    Args:
        out: the study's directory; what is there is removed.
        dataset: what is learnt.
        trials: of a random search over the recipe `quick`.
        epochs: of each.
        seed: of the study, of what is killed, and of how long that stays dead.
        moments: seconds from the start, rising.
        beside: the same study, undisturbed.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    here = f"127.0.0.1:{free_port()}"
    chief = Command(
        command(
            "tune", "chief", dataset, "--sampler", "random", "--trials", trials, "--epochs", epochs,
            "--keep", trials, "--seed", seed, "--bind", here, "--out", out,
        ),
        out.with_suffix(".chief.log"),
    )  # fmt: skip
    working = command("tune", "worker", "--chief", here, "--dataset", dataset, "--workers", 1)
    workers = [Command(working, out.with_suffix(f".worker{i}.log")) for i in range(2)]
    chance, witness = random.Random(seed + 1), Witness(out)
    waiting, hit = list(moments), Counter[str]()
    start = looked = time.monotonic()
    longest = PATIENCE * max(moments) + 600 if moments else float("inf")
    everyone = [chief, *workers]
    try:
        while chief.process is None or chief.process.poll() is None:
            for each in everyone:
                each.look()
            if waiting and time.monotonic() - start >= waiting[0]:
                target = strike(chief, workers, chance)
                if target:  # what is dead just now is hit a moment later
                    hit[target] += 1
                    del waiting[0]
            if time.monotonic() - looked >= LOOK_SECONDS:
                witness.look()
                looked = time.monotonic()
            if time.monotonic() - start > longest:
                raise SystemExit(f"{out} did not end in {longest:.0f} seconds; see the logs there.")
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - start
        if chief.failed:
            raise SystemExit(f"The chief failed:\n{chief.log.read_text()[-3000:]}")
        failed = sum(each.failed for each in workers)
    finally:
        for each in everyone:
            each.kill(0)
    witness.look()
    return account(out, trials, witness, beside) | {
        "run": f"{len(moments)} kills" if moments else "undisturbed",
        "seed": seed,
        "kills": sum(hit.values()),
        "killed": ", ".join(f"{count} {target}" for target, count in sorted(hit.items())),
        "commands_failed": failed,
        "wall_seconds": round(seconds, 1),
    }


def strike(chief: Command, workers: Sequence[Command], chance: random.Random) -> str:
    """Kill something at random; what it was, empty where that is not alive."""
    target, worker = chance.choice(TARGETS), chance.choice(workers)
    pause = chance.uniform(0, 3)
    if target == "child":
        return target if worker.kill_child() else ""
    return target if (chief if target == "chief" else worker).kill(pause) else ""


def account(out: Path, planned: int, witness: Witness, beside: Path | None) -> Row:
    """What became of every trial."""
    trials = trials_of(StudyDir.load(out))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    ended = [trial for trial in trials if trial.state.is_finished()]
    settings = Counter(str(trial.user_attrs.get("values")) for trial in complete)
    again = sum(count - 1 for count in settings.values()) + max(len(trials) - planned, 0)
    best = best_of(trials)
    found: Row = {
        "planned": planned,
        "trials": len(trials),
        "complete": len(complete),
        "lost": planned - len(ended),
        "done_twice": len(witness.twice) + again,
        "begun_anew": len(witness.anew),
        "taken_up": sum(trial.user_attrs.get(TAKEN_UP, 0) for trial in trials),
        "best_trial": best.number,
        "best": best.value,
        "compute_seconds": round(sum(trial.user_attrs.get("seconds", 0) for trial in trials), 1),
    }
    if beside is not None:
        others = trials_of(StudyDir.load(beside))
        found["same_trials"] = "yes" if told(trials) == told(others) else "no"
        same = weights(out, best.number) == weights(beside, best_of(others).number)
        found["same_weights"] = "yes" if same else "no"
    return found


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """The complete trial with the highest value, the first of equals."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number))


def told(trials: Sequence[FrozenTrial]) -> list[tuple[object, ...]]:
    """What kills must not change: number, state, settings, value, and the value of every epoch."""
    return [
        (trial.number, trial.state, trial.params, trial.value, trial.intermediate_values)
        for trial in trials
    ]


def weights(out: Path, number: int) -> str:
    """What tells the weights of a trial's model from others."""
    path = StudyDir.load(out).run(number).root / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
