"""What the benchmarks leave: a CSV file whose comment lines say what made it, when and where."""

from __future__ import annotations

import csv
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lorgnette.rundir import environment

RESULTS = Path(__file__).parent / "results"

Cell = str | int | float | None


def save(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    packages: Sequence[str] = (),
    remark: str = "",
) -> None:
    """Write rows as CSV under comment lines with the command, the date, the machine and versions.

    Args:
        path: the file; its folder is made where there is none.
        columns: the header.
        rows: one cell per column; None stays empty.
        packages: distributions to name besides Lorgnette and torch, where they are installed.
        remark: how to read the figures.
    """
    facts = environment()
    versions = {"lorgnette": facts["lorgnette"], "torch": facts["torch"]}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    threads = os.environ.get("OMP_NUM_THREADS")
    command = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    comments = [
        (f"OMP_NUM_THREADS={threads} " if threads else "") + shlex.join(command),
        f"{facts['started']}; {facts['processor']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB, GPU: {facts['gpu'] or 'none'}",
        f"Python {facts['python']}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items()),
    ]
    if remark:
        comments.append(remark)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {comment}\n" for comment in comments)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if cell is None else cell for cell in row])
