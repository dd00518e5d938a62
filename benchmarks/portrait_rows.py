"""Peak memory and time of the glasses tables without images: what a row costs.

    python benchmarks/portrait_rows.py     # 100,000 and 1,000,000 rows; Linux, 5 GB of disk

`write_portraits(..., images=False)` runs in a process of its own for each number of rows, with
picture-dependent label noise, and writes train.csv, test.csv, corrections.csv and truth.parquet.
Memory is measured as in `memory.py`: PSS over the whole tree of processes, every 50 ms. The slope
between the two numbers of rows is what a row costs. The lines of the tables are counted afterwards.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
from rich.table import Table

from memory import CONSOLE, MIB, SAMPLE_SECONDS, tree_memory
from record import RESULTS, save

COLUMNS = (
    "rows", "gib", "peak_mib", "anonymous_mib", "seconds", "rows_per_second", "bytes_per_row",
)  # fmt: skip

PROGRAM = """
import sys
from lorgnette.engines.local import LocalEngine
from lorgnette.sources.portraits.write import write_portraits
out, n, workers = sys.argv[1:]
engine = LocalEngine(int(workers))
write_portraits(out, n=int(n), label_noise=0.1, images=False, engine=engine)
"""


@dataclass(frozen=True)
class Row:
    """One number of rows.

    Attributes:
        rows: how many.
        size: bytes of all files.
        peak: bytes, PSS over the tree of processes.
        anonymous: bytes, the largest sum of what is not backed by files.
        seconds: wall time, the start of Python included.
    """

    rows: int
    size: int
    peak: int
    anonymous: int
    seconds: float


def measure(rows: int, workers: int, out: Path) -> Row:
    """Write the tables into `out` and watch the memory."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(out), str(rows), str(workers)])
    root = psutil.Process(process.pid)
    peak = anonymous = 0
    while process.poll() is None:
        total, own = tree_memory(root)
        peak, anonymous = max(peak, total), max(anonymous, own)
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{rows:,} rows failed")
    written = lines(out / "train.csv") + lines(out / "test.csv")
    if not rows == written - 2 == lines(out / "corrections.csv") - 1:
        raise SystemExit(f"{rows:,} rows were asked for, {written - 2:,} are there")
    size = sum(path.stat().st_size for path in out.iterdir())
    return Row(rows, size, peak, anonymous, seconds)


def lines(path: Path) -> int:
    """Lines of a file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(MIB), b""))


def slopes(rows: Sequence[Row]) -> dict[Row, float]:
    """Bytes of memory a row, between a number of rows and the one before it."""
    return {many: (many.peak - few.peak) / (many.rows - few.rows) for few, many in pairwise(rows)}


def show(rows: Sequence[Row]) -> None:
    table = Table(title="Glasses tables without images")
    for header in ("rows", "GiB", "peak MiB", "anonymous", "seconds", "rows/s", "bytes/row"):
        table.add_column(header, justify="right", no_wrap=True)
    found = slopes(rows)
    for row in rows:
        table.add_row(
            f"{row.rows:,}", f"{row.size / 2**30:.2f}", f"{row.peak / MIB:,.0f}",
            f"{row.anonymous / MIB:,.0f}", f"{row.seconds:.1f}", f"{row.rows / row.seconds:,.0f}",
            f"{found[row]:,.0f}" if row in found else "",
        )  # fmt: skip
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="numbers, rising"
    )
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="threads that compute"
    )
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument(
        "--csv", type=Path, default=RESULTS / "portrait_rows.csv", help="where the figures go"
    )
    options = parser.parse_args()
    rows = []
    for number in options.rows:
        with (
            tempfile.TemporaryDirectory(dir=options.folder) as folder,
            CONSOLE.status(f"{number:,} rows"),
        ):
            rows.append(measure(number, options.workers, Path(folder, "out")))
    show(rows)
    found = slopes(rows)
    save(
        options.csv,
        COLUMNS,
        [
            [
                row.rows, round(row.size / 2**30, 3), round(row.peak / MIB, 1),
                round(row.anonymous / MIB, 1), round(row.seconds, 1),
                round(row.rows / row.seconds), round(found[row], 1) if row in found else None,
            ]
            for row in rows
        ],
        packages=("numpy", "pyarrow"),
        remark=f"peak: PSS over all processes, sampled every {SAMPLE_SECONDS * 1000:.0f} ms; bytes "
        "per row: slope to the row before",
    )  # fmt: skip


if __name__ == "__main__":
    main()
