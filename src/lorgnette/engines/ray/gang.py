"""Gangs on Ray: Ray Train starts the members, and an actor beside the driver watches over it."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lorgnette.config import EngineConfig
from lorgnette.engines.attempt import Report, death
from lorgnette.engines.base import ATTEMPTS, Task
from lorgnette.engines.member import SERVED, MemberError, failed, member, values
from lorgnette.engines.ray.session import needs, places, room
from lorgnette.engines.ray.workers import sentence
from lorgnette.errors import EngineError

TICK_SECONDS = 0.5
"""How often the driver, and Ray Train, look whether the members live."""
STARTING_SECONDS = 60.0
"""How long the processes of a gang may take to start, beside the wait for their places."""
NO_ROOM = "WorkerGroupStartupTimeoutError"
"""What Ray Train calls it, in no public module, when the cluster gives no places."""
ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(TICK_SECONDS),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # where nodes are drained, members die like others
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # members that wait for a dead one do not end in peace; let Ray Train not wait for that
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "1",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a gang ended.

    Attributes:
        reports: of all members by rank, or the verdict alone; None if every start failed.
        reason: what ended the last start, in a few words.
        starts: how often the members began.
        final: whether another start makes no sense.
    """

    reports: list[Report] | None = None
    reason: str = ""
    starts: int = 0
    final: bool = False


def run(task: Task[int, Any], members: int, settings: EngineConfig) -> list[Any]:
    """Run a gang to its end; Ray Train starts it again where a member was lost.

    Returns:
        What the members returned, by rank.

    Raises:
        LorgnetteError: the verdict on which the gang ended.
        EngineError: every start failed, or the cluster had no room for the gang.
    """
    tried = 0
    while True:
        ending = _start(task, members, settings, ATTEMPTS - tried)
        tried += max(1, ending.starts)
        if ending.reports is not None:
            return values(ending.reports)
        if ending.final:
            raise EngineError(f"A gang of {members} could not be started on Ray: {ending.reason}")
        if tried >= ATTEMPTS:
            raise failed(members, ending.reason, tried)


def _start(task: Task[int, Any], members: int, settings: EngineConfig, attempts: int) -> Ending:
    """Run Ray Train once; it starts the members as often as it is told."""
    patience, limit = settings.patience_seconds, 60 * settings.limit_minutes
    crowd = Crowd(members, settings)
    while not crowd.fits():
        time.sleep(TICK_SECONDS)
    watch = _watch(members, patience)
    # so long nobody may hear of the watch, and of its members at first; then they may take time
    quiet = ATTEMPTS * patience + 2 * STARTING_SECONDS
    starts, since = 0, time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lorgnette-", ignore_cleanup_errors=True) as folder:
            answer = watch.fit.remote(
                pickle.dumps(task), members, limit, patience, settings.gpus, folder, attempts
            )
            count = watch.count.remote()
            while not ray.wait([answer], timeout=TICK_SECONDS)[0]:
                crowd.fits()
                if ray.wait([count], timeout=0)[0]:
                    if (now := ray.get(count)) != starts:
                        starts, since = now, time.monotonic()
                    count = watch.count.remote()
                if time.monotonic() - since > quiet + (limit if starts else 0):
                    return Ending(reason="Ray Train fell silent", starts=starts)
            ending: Ending = pickle.loads(ray.get(answer))
            return ending
    except RayError as error:
        # a part of Ray Train is gone, or it was to start on a node that died
        return Ending(reason=f"Ray Train ended: {sentence(error)}", starts=starts)
    finally:
        with contextlib.suppress(Exception):  # Ray itself may be gone
            ray.kill(watch)


def _watch(members: int, patience: float) -> Any:
    """Start the actor that runs Ray Train."""
    environment = {
        **ENVIRONMENT,
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(patience),
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(max(patience, STARTING_SECONDS)),
    }
    made: Any = ray.remote(Watch).options(
        num_cpus=0,
        max_restarts=0,
        max_concurrency=members + 3,
        runtime_env={"env_vars": environment},
        # the driver's own node: if that is lost, so is the driver
        scheduling_strategy=NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        ),
    )
    return made.remote()


class Crowd:
    """Whether the cluster has room for a gang; it may lack it for a while, and no longer."""

    def __init__(self, members: int, settings: EngineConfig) -> None:
        self.members = members
        self.settings = settings
        self.since: float | None = None  # when room began to lack

    def fits(self) -> bool:
        """Whether there is room now, free or not.

        Raises:
            EngineError: there has been none for longer than `engine.patience_seconds`.
        """
        found = places(self.settings.gpus)
        if found >= self.members:
            self.since = None
            return True
        now = time.monotonic()
        self.since = self.since or now
        if now - self.since > self.settings.patience_seconds:
            gpus = self.settings.gpus
            raise EngineError(
                f"A gang of {self.members} needs room for {self.members} members at once, "
                f"{needs(gpus)} each, and the Ray cluster has had room for {found} for "
                f"{self.settings.patience_seconds:g} s (engine.patience_seconds; {room(gpus)}): "
                "ask for fewer members or add nodes"
            )
        return False


class Watch:
    """Runs Ray Train, and takes what the members have to say.

    An actor rather than a part of the driver: Ray Train takes over the signals of the process that
    calls it, writes to its terminal, and cannot be interrupted.
    """

    def __init__(self) -> None:
        self.start = ""  # what tells one start of the gang from another
        self.starts = 0
        self.begun = 0.0
        self.failures: dict[int, str] = {}
        self.reports: list[Report] | None = None

    def count(self) -> int:
        """How often the members have begun."""
        return self.starts

    def note_start(self, start: str) -> None:
        """A member begins its task."""
        if start != self.start:
            self.start = start
            self.starts += 1
            self.begun = time.monotonic()
            self.failures = {}

    def note_failure(self, rank: int, reason: str) -> None:
        """A member failed by accident."""
        self.failures.setdefault(rank, reason)

    def note_reports(self, reports: bytes) -> None:
        """Member 0 has the reports of all."""
        self.reports = pickle.loads(reports)

    def fit(
        self,
        task: bytes,
        members: int,
        limit: float,
        patience: float,
        gpus: float,
        folder: str,
        attempts: int,
    ) -> bytes:
        """How the gang ended, pickled."""
        import ray.train
        from ray.train.torch import TorchConfig, TorchTrainer

        trainer = TorchTrainer(
            train_in_member,
            train_loop_config={
                "task": task,
                "limit": limit,
                "watch": ray.get_runtime_context().current_actor,
            },
            torch_config=TorchConfig(
                backend="gloo", timeout_s=int(max(patience, STARTING_SECONDS))
            ),
            scaling_config=ray.train.ScalingConfig(
                num_workers=members,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1},
            ),
            run_config=ray.train.RunConfig(
                name="gang",
                storage_path=folder,
                failure_config=ray.train.FailureConfig(
                    max_failures=attempts - 1,
                    controller_failure_limit=attempts - 1,
                    max_preemption_failures=attempts - 1,
                ),
            ),
        )
        reason, final = "member 0 ended without a report", False
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            reason = self._reason(error, limit)
            if type(getattr(error, "controller_failure", None)).__name__ == NO_ROOM:
                final = True
                reason = (
                    f"others have had the places that its members need for {attempts} times "
                    f"{patience:g} s (engine.patience_seconds)"
                )
        return pickle.dumps(Ending(self.reports, reason, self.starts, final))

    def _reason(self, error: Exception, limit: float) -> str:
        """A death explains what the others say, which lost a peer; so it comes first."""
        lost: dict[int, Exception] = getattr(error, "worker_failures", {})
        silent = sorted(set(lost) - set(self.failures))
        if silent and self.begun:
            said = death(time.monotonic() - self.begun, limit).error or ""
            return f"member {silent[0]}: {said.removesuffix(' while it ran this item')}"
        return next(iter(self.failures.values()), sentence(error))


def train_in_member(config: dict[str, Any]) -> None:
    """What each member runs: the training loop, as Ray Train calls it."""
    watch = config["watch"]
    rank = int(os.environ["RANK"])
    _meet_anew(rank)
    ray.get(watch.note_start.remote(f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"))
    try:
        reports = member(pickle.loads(config["task"]), config["limit"])
    except Exception as error:
        said = str(error) if isinstance(error, MemberError) else f"member {rank}: {error}"
        ray.get(watch.note_failure.remote(rank, said.splitlines()[0]))
        raise
    if reports is not None:
        ray.get(watch.note_reports.remote(pickle.dumps(reports)))


def _meet_anew(rank: int) -> None:
    """Close the group that Ray Train has opened, and agree on a free port for the task's own."""
    import torch.distributed as dist

    port = [0]
    if rank == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            port[0] = free.getsockname()[1]
    dist.broadcast_object_list(port, src=0)
    dist.destroy_process_group()
    os.environ["MASTER_PORT"] = str(port[0])
    for name in (SERVED, "TORCHELASTIC_RESTART_COUNT"):
        os.environ.pop(name, None)
