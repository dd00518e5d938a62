"""What this machine has to give: processors and memory, as far as a container leaves them."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def processors() -> int:
    """How many this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, or of its container if that is less.

    Containers are limited by control groups, of which the machine's own figures know nothing
    (https://docs.kernel.org/admin-guide/cgroup-v2.html, and v1's memory controller).
    """
    import psutil

    return max(min([int(psutil.virtual_memory().available), *_free_in_groups()]), 0)


def _free_in_groups() -> list[int]:
    """Bytes that are free in each of the control groups around this process that have a limit."""
    found = []
    for line in MEMBERSHIP.read_text().splitlines() if MEMBERSHIP.is_file() else ():
        _, controllers, name = line.split(":", 2)
        unified = controllers == ""
        if not unified and "memory" not in controllers.split(","):
            continue
        root = CGROUPS if unified else CGROUPS / "memory"
        limit, used = (
            ("memory.max", "memory.current")
            if unified
            else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        # Inside a container the path may be that of the host, and its own group is the root.
        groups = [root, *(root / str(part).lstrip("/") for part in _and_above(name))]
        for group in dict.fromkeys(groups):
            most, taken = _number(group / limit), _number(group / used)
            if most is not None and taken is not None:
                found.append(most - taken + _reclaimable(group))
    return found


def _and_above(name: str) -> list[PurePosixPath]:
    path = PurePosixPath(name)
    return [path, *path.parents]


def _number(file: Path) -> int | None:
    """What the file says; None where it is absent or says `max`."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _reclaimable(group: Path) -> int:
    """Bytes of files that are only cached, and count as used."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    stat = dict(line.split() for line in lines)
    return int(stat.get("total_inactive_file", stat.get("inactive_file", "0")))
