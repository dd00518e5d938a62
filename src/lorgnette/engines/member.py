"""One member of a gang, the same on every engine: run the task, and tell all others how it went.

Members meet at a store of torch.distributed, whose address is in the environment. A member that
ends with a verdict (a `LorgnetteError`) leaves it there: the others lose their peer, find the
verdict instead of an accident, and end in peace, so that nobody starts such a gang again. Member 0
waits for the reports of all.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from lorgnette.engines.attempt import Report, attempt
from lorgnette.engines.base import ATTEMPTS, Task
from lorgnette.errors import EngineError

VERDICT = "verdict"
ACCIDENT = "accident"
REPORT = "report/{}"
GRACE_SECONDS = 2.0
"""How long a member whose peer is gone looks for the verdict that would explain it."""
SERVED = "TORCHELASTIC_USE_AGENT_STORE"
"""Tells torch.distributed that somebody serves the store at the gang's address already."""


class MemberError(Exception):
    """A member of a gang failed by accident; the launcher starts the gang again."""


def member(task: Task[int, Any], limit: float | None = None) -> list[Report] | None:
    """Run a gang's task in the process of one member; its rank is in the environment.

    Args:
        task: called with the rank.
        limit: seconds that the member may take; then its process ends.

    Returns:
        For member 0 the reports of all members by rank, or a single one, the verdict on which the
        gang ended; None for the others.

    Raises:
        MemberError: the task failed, and not by a verdict.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = _store(rank, limit)
    report = attempt(task, rank, limit)
    if report.error is not None:
        first = _first(store, f"member {rank}: {report.error}")
        _leave_group()
        if report.final:
            store.set(VERDICT, pickle.dumps(report))
        else:
            report = _explained(store) or report
            if not report.final:
                raise MemberError(f"{first}\n{report.traceback}")
    store.set(REPORT.format(rank), pickle.dumps(report))
    if rank:
        return None
    return _collected(store, size)


def values(reports: Sequence[Report]) -> list[Any]:
    """What the members returned, by rank.

    Raises:
        LorgnetteError: the verdict on which the gang ended.
    """
    for report in reports:
        if report.error is not None:
            raise report.verdict()
    return [report.value for report in reports]


def failed(members: int, reason: str, attempts: int = ATTEMPTS) -> EngineError:
    """The error of a gang that was started for the last time."""
    return EngineError(
        f"A gang of {members} was started {attempts} times and failed each time; last, {reason}. "
        "What was written is kept: mend the cause and start the same command again."
    )


def _store(rank: int, limit: float | None) -> Any:
    """The store at the gang's address, with a prefix for each start.

    Where the launcher serves none, member 0 does, and process groups that the task opens are told
    to use it rather than to serve one of their own.
    """
    import torch.distributed as dist

    served = os.environ.get(SERVED) == "True"
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=not served and rank == 0,
        wait_for_workers=False,
        timeout=timedelta(seconds=limit or 86400),
    )
    os.environ[SERVED] = "True"
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"lorgnette/start/{start}", store)


def _first(store: Any, reason: str) -> str:
    """The reason of the member that failed first: the others only lost their peer."""
    with contextlib.suppress(Exception):
        told: bytes = store.compare_set(ACCIDENT, "", reason)
        return told.decode()
    return reason


def _leave_group() -> None:
    """Close the connections to the other members, so that they stop waiting for this one."""
    import torch.distributed as dist

    with contextlib.suppress(Exception):
        if dist.is_initialized():
            dist.destroy_process_group()


def _explained(store: Any) -> Report | None:
    """The verdict of another member, if that is why this one failed."""
    deadline = time.monotonic() + GRACE_SECONDS
    with contextlib.suppress(Exception):
        while time.monotonic() < deadline:
            if store.check([VERDICT]):
                report: Report = pickle.loads(store.get(VERDICT))
                return report
            time.sleep(0.1)
    return None


def _collected(store: Any, size: int) -> list[Report]:
    """All reports by rank, or the verdict alone."""
    reports: list[Report] = [pickle.loads(store.get(REPORT.format(rank))) for rank in range(size)]
    return next(([report] for report in reports if report.error is not None), reports)
