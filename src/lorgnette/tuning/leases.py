"""Whose trial it is: a worker says that it lives, and the chief takes back what a dead one had.

Optuna's heartbeats work in `optimize` on a database alone
(https://github.com/optuna/optuna/issues/3293), and neither behind its proxy nor for trials that are
asked for. Here a lease is an attribute of the trial with a count that its worker raises. The chief
alone takes trials back, by its own clock: machines need not agree on the time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

LEASE = "lease"
TAKEN_UP = "taken_up"
"""How often another worker went on with the trial, and..."""
STUCK = "stuck"
"""...how often in a row without a further epoch in between."""
REASON, VERDICT = "reason", "verdict"
ATTEMPTS = 3
"""A trial whose workers died so often without getting further is given up: it kills them."""
BEAT_SECONDS = 3.0
GRACE_SECONDS = 30.0
"""A worker of another machine that has not been heard of for so long is taken for dead."""


def worker_name() -> str:
    """A name for this process that no other has: host, process and chance."""
    return f"{_here()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def _here() -> str:
    """Where process numbers mean what they mean here: containers of one name may not share them."""
    with contextlib.suppress(OSError):
        space = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
        return f"{socket.gethostname()}-{space}"
    return socket.gethostname()


def sign(study: Study, trial_id: int, worker: str, beat: int = 0, progress: int = 0) -> None:
    """Note whose a trial is, and that it lives."""
    lease = {"worker": worker, "beat": beat, "progress": progress}
    study._storage.set_trial_user_attr(trial_id, LEASE, lease)


class LeaseLostError(Exception):
    """Another worker has the trial now."""


class Lease:
    """A worker's hold on a trial, renewed by a thread for as long as the block lasts."""

    def __init__(self, study: Study, trial_id: int, worker: str) -> None:
        self.study, self.trial_id, self.worker = study, trial_id, worker
        self.beat = self.progress = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Lease:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self, progress: int = 0) -> None:
        """Make sure that the trial is still this worker's.

        Args:
            progress: rises with every epoch of the trial.

        Raises:
            LeaseLostError: the chief took this worker for dead and gave the trial to another.
        """
        trial = self.study._storage.get_trial(self.trial_id)
        owner = trial.user_attrs.get(LEASE, {}).get("worker")
        if trial.state != TrialState.RUNNING or owner != self.worker:
            raise LeaseLostError
        if progress > self.progress:
            self.progress = progress
            self._write()

    def _renew(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self.beat += 1
            try:
                self.check()
                self._write()
            except (LeaseLostError, UpdateFinishedTrialError):
                return

    def _write(self) -> None:
        sign(self.study, self.trial_id, self.worker, self.beat, self.progress)


@dataclass
class Reaper:
    """Finds trials whose worker is dead and puts them back into the queue.

    Attributes:
        study: with the chief's own storage.
        grace: seconds without a sign of life.
    """

    study: Study
    grace: float = GRACE_SECONDS
    _seen: dict[int, tuple[Any, float]] = field(default_factory=dict)

    def reap(self, trials: list[FrozenTrial]) -> list[int]:
        """Put back the trials of dead workers; their numbers."""
        running = {trial.number: trial for trial in trials if trial.state == TrialState.RUNNING}
        self._seen = {number: seen for number, seen in self._seen.items() if number in running}
        dead = {number: trial for number, trial in running.items() if self._dead(trial)}
        return [number for number, trial in dead.items() if _back(self.study, trial)]

    def _dead(self, trial: FrozenTrial) -> bool:
        lease = trial.user_attrs.get(LEASE, {})
        if _gone(lease.get("worker", "")):
            return True
        sign, now = tuple(lease.values()), time.monotonic()
        before, since = self._seen.setdefault(trial.number, (sign, now))
        if before != sign:
            self._seen[trial.number] = (sign, now)
            return False
        return now - since > self.grace


def _gone(worker: str) -> bool:
    """Whether a worker was a process of this machine and is none any more."""
    host, _, rest = worker.partition(":")
    pid = rest.partition(":")[0]
    if host != _here() or not pid.isdigit():
        return False
    try:
        return bool(psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _back(study: Study, trial: FrozenTrial) -> bool:
    """Put a trial back; given up where it has killed its workers again and again."""
    storage, id_ = study._storage, trial._trial_id
    attributes = trial.user_attrs
    before = attributes.get(STUCK, {"progress": 0, "times": 0})
    progress = max(attributes.get(LEASE, {}).get("progress", 0), before["progress"])
    times = before["times"] + 1 if progress == before["progress"] else 1
    try:
        storage.set_trial_user_attr(id_, STUCK, {"progress": progress, "times": times})
        storage.set_trial_user_attr(id_, LEASE, {})
        if times >= ATTEMPTS:
            storage.set_trial_user_attr(id_, VERDICT, "failed")
            reason = f"Its worker died {times} times at one place: memory may have run out."
            storage.set_trial_user_attr(id_, REASON, reason)
            storage.set_trial_state_values(id_, TrialState.FAIL)
            return True
        storage.set_trial_user_attr(id_, TAKEN_UP, attributes.get(TAKEN_UP, 0) + 1)
        return bool(storage.set_trial_state_values(id_, TrialState.WAITING))
    except UpdateFinishedTrialError:  # it lives after all, and was faster
        return False
