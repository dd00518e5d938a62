"""A million tiny pictures through `prepare` on two processes: time, memory, and the index.

    python benchmarks/million.py

Pictures of 8 x 8 pixels, all different, lie as PNGs in Parquet files of 100,000 rows (a column
`image` of bytes, a label, an id), as a cluster would write them. Each number of rows is one command
in a process of its own, whose memory, with that of its workers, is sampled as in `memory.py`. What
is left is the index: bytes of the tables beside the pixels. Then a process of its own opens the
dataset, reads every label and divides the items as a training does: seconds, and the most memory
that it had above what the packages take.
"""

from __future__ import annotations

import argparse
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from memory import CONSOLE, MIB, measure
from record import RESULTS, Cell, save

EDGE = 8
FILE_ROWS = 100_000
COLUMNS = (
    "rows", "workers", "seconds", "rows_per_second", "peak_mib", "anonymous_mib",
    "source_bytes_per_row", "pixel_bytes_per_row", "index_bytes_per_row", "divide_seconds",
    "divide_bytes_per_row",
)  # fmt: skip


def png(pixels: bytes) -> bytes:
    """A grey picture of 8 x 8 pixels; written here, as an encoder's call takes longer."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + pixels[at : at + EDGE] for at in range(0, EDGE * EDGE, EDGE))
    head = struct.pack(">IIBBBBB", EDGE, EDGE, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows, 1))
        + chunk(b"IEND", b"")
    )


def generate(folder: Path, rows: int) -> int:
    """Write the Parquet files; returns their bytes."""
    folder.mkdir()
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        count = min(FILE_ROWS, rows - start)
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (count, EDGE * EDGE), dtype=np.uint8)
        labels = rng.integers(0, 2, count)
        pixels[:, :32] //= 1 + labels[:, None].astype(np.uint8)
        table = pa.table(
            {
                "id": [f"{start + row:09d}" for row in range(count)],
                "image": pa.array([png(each.tobytes()) for each in pixels], pa.binary()),
                "label": pa.array([("dark", "bright")[1 - label] for label in labels]),
            }
        )
        pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=10_000)
    return sum(file.stat().st_size for file in folder.iterdir())


def divided(dataset: Path) -> tuple[float, int]:
    """Seconds and bytes that it takes to open a dataset, read its labels and divide it."""
    done = subprocess.run(
        [sys.executable, __file__, "--divide", str(dataset)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, held = done.stdout.split()
    return float(seconds), int(held)


def divide(dataset: str) -> None:
    """Do that in this process, and print it."""
    from lorgnette.config import SplitConfig
    from lorgnette.dataset.split import split
    from lorgnette.dataset.store import Dataset

    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    parts = split(Dataset.load(dataset), SplitConfig(), 0, "decided")
    seconds = time.perf_counter() - start
    assert len(parts.indices("train"))
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--divide", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.divide:
        divide(args.divide)
        return
    lines: list[list[Cell]] = []
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            source, dataset = place / "source", place / "dataset"
            with CONSOLE.status(f"generating {rows:,} pictures"):
                given = generate(source, rows)
            command = ["prepare", str(source), "--size", str(EDGE), "--color", "gray"]
            command += ["--workers", str(args.workers), "--out", str(dataset), "--quiet"]
            with CONSOLE.status(f"preparing {rows:,} pictures"):
                row = measure("prepare", rows, command)
            shards = list((dataset / "shards").iterdir())
            pixels = sum(file.stat().st_size for file in shards if file.suffix == ".npy")
            index = sum(file.stat().st_size for file in shards if file.suffix == ".parquet")
            index += (dataset / "dataset.json").stat().st_size
            seconds, held = divided(dataset)
        lines.append(
            [
                rows, args.workers, round(row.seconds, 1), round(rows / row.seconds),
                round(row.peak / MIB), round(row.anonymous / MIB), round(given / rows, 1),
                round(pixels / rows, 1), round(index / rows, 1), round(seconds, 2),
                round(held / rows, 1),
            ]
        )  # fmt: skip
        CONSOLE.print(dict(zip(COLUMNS, lines[-1], strict=True)))
        save(RESULTS / "million.csv", COLUMNS, lines, remark="pictures of 8 x 8 pixels in Parquet")


if __name__ == "__main__":
    main()
