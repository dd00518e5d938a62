"""Peak memory of `prepare` and `train` on few and on many images: what an item costs.

    python benchmarks/memory.py            # 20,000 and 200,000 images; Linux only

Small pictures of two classes are generated first, half PNG and half JPEG, a thousand a directory.
Then each command runs in a process of its own:

- `lorgnette prepare` of the folder, and of a table that lists the same files, with two workers;
- `lorgnette train`, the default recipe for one epoch, with evaluation and report: with pixels
  streamed (`--set train.memory_gib=0.01`, which neither number of images fits) and, for comparison,
  with all pixels held in memory, which is meant to grow by the bytes of a picture for each.

Every 50 ms the memory of the whole tree of processes is added up from `/proc/PID/smaps_rollup`.
What counts is PSS, the resident memory with each shared page divided among those who share it:
adding up RSS would count torch's libraries once for each process. PSS includes files that are
mapped (libraries, shards being read), which the system can take back at any time and which other
programs may share, so the anonymous part is shown by itself. As a check that no short peak fell
between two samples, the kernel's own high-water mark of the largest single process stands beside
it (`ru_maxrss`, which counts shared pages in full).

The slope between the two numbers of images is what an item costs: the index. The test accuracies
tell whether streaming learns as well as holding everything does.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from record import RESULTS, Cell, save

CONSOLE = Console(width=None if sys.stdout.isatty() else 120)
CLASSES = ("round", "square")
MIB = 2**20
SAMPLE_SECONDS = 0.05
PICTURES = 500
"""Different pictures; their files differ all the same."""
COLUMNS = (
    "task", "images", "peak_mib", "anonymous_mib", "largest_process_mib", "seconds",
    "test_accuracy", "bytes_per_item", "anonymous_bytes_per_item",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One command on one number of images.

    Attributes:
        task: the command.
        images: how many.
        peak: bytes, PSS over the tree of processes.
        anonymous: bytes, the largest sum of what is not backed by files.
        largest: bytes, the kernel's high-water mark of the RSS of one process.
        seconds: wall time.
        accuracy: of a training, on its test part.
    """

    task: str
    images: int
    peak: int
    anonymous: int
    largest: int
    seconds: float
    accuracy: float | None = None


def generate(folder: Path, images: int, edge: int) -> None:
    """A folder `images/<class>/<thousand>/` and a table `images.csv` of the same files."""
    files = [_encode(index, edge) for index in range(PICTURES)]
    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "label"])
        for index in range(images):
            name = CLASSES[index % 2]
            path = f"images/{name}/{index // 2000:05d}/{index:07d}"
            place = folder / path
            if index % 2000 < 2:
                place.parent.mkdir(parents=True)
            # Bytes after the end make every copy a file of its own, not a duplicate.
            place.write_bytes(files[index % PICTURES] + index.to_bytes(4, "big"))
            writer.writerow([path, name])


def _encode(index: int, edge: int) -> bytes:
    """A bright disc or square somewhere on noise, as a file."""
    rng = np.random.default_rng(index)
    pixels = rng.integers(0, 96, (edge, edge, 3), dtype=np.uint8)
    y, x = np.abs(np.mgrid[0:edge, 0:edge] - rng.uniform(0.4, 0.6, (2, 1, 1)) * edge)
    distance = np.hypot(x, y) if CLASSES[index % 2] == "round" else np.maximum(x, y)
    pixels[distance < 0.25 * edge] += 128
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG" if index % 4 < 2 else "JPEG")
    return buffer.getvalue()


def measure(task: str, images: int, command: Sequence[str]) -> Row:
    """Run `lorgnette` with these arguments and watch its memory."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lorgnette", *command], stdout=output, stderr=output
        )
        root = psutil.Process(process.pid)
        peak = anonymous = 0
        while True:
            # wait4 rather than Popen.wait: it tells the high-water mark of this very tree.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            total, own = tree_memory(root)
            peak, anonymous = max(peak, total), max(anonymous, own)
            time.sleep(SAMPLE_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{task} failed:\n{output.read().decode()[-3000:]}")
    return Row(task, images, peak, anonymous, usage.ru_maxrss * 1024, seconds)


def tree_memory(root: psutil.Process) -> tuple[int, int]:
    """PSS of a process and all below it, and the anonymous part of it; bytes."""
    total = anonymous = 0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        facts = {name: value for name, _, value in (line.partition(":") for line in lines)}
        # A process without memory (it is ending) has none of these lines.
        total += int(facts.get("Pss", "0 kB").split()[0]) * 1024
        anonymous += int(facts.get("Pss_Anon", "0 kB").split()[0]) * 1024
    return total, anonymous


def compare(numbers: Sequence[int], edge: int, place: Path) -> list[Row]:
    """Every command on every number of images."""
    rows: list[Row] = []
    for images in numbers:
        folder = place / str(images)
        folder.mkdir()
        with CONSOLE.status(f"generating {images:,} images"):
            generate(folder, images, edge)
        dataset, streamed, held = (str(folder / name) for name in ("dataset", "run-1", "run-2"))
        preparing = ["--size", str(edge), "--workers", "2", "--out"]
        training = ["train", dataset, "--epochs", "1", "--out"]
        commands = {
            "prepare a folder": ["prepare", str(folder / "images"), *preparing, dataset],
            "prepare a table": [
                "prepare", str(folder / "images.csv"), *preparing, str(folder / "dataset-2"),
            ],
            "train, streamed": [*training, streamed, "--set", "train.memory_gib=0.01"],
            "train, in memory": [*training, held],
        }  # fmt: skip
        for task, command in commands.items():
            with CONSOLE.status(f"{task}, {images:,} images"):
                row = measure(task, images, command)
            if command[0] == "train":
                out = command[command.index("--out") + 1]
                figures = json.loads(Path(out, "evaluation.json").read_text())
                row = replace(row, accuracy=figures["test"]["accuracy"]["value"])
            rows.append(row)
    return rows


def slopes(rows: Sequence[Row]) -> dict[Row, tuple[float, float]]:
    """Bytes an item, all and anonymous, between a row and the one of fewer images before it."""
    found = {}
    for task in {row.task for row in rows}:
        for few, many in pairwise(row for row in rows if row.task == task):
            more = many.images - few.images
            found[many] = ((many.peak - few.peak) / more, (many.anonymous - few.anonymous) / more)
    return found


def show(rows: Sequence[Row]) -> None:
    table = Table(title="Peak memory, MiB, all processes together")
    headers = ("task", "images", "peak", "anonymous", "largest", "seconds",
               "accuracy", "bytes/item", "anonymous")  # fmt: skip
    for header in headers:
        table.add_column(header, justify="left" if header == "task" else "right", no_wrap=True)
    found = slopes(rows)
    for row in sorted(rows, key=lambda row: [each.task for each in rows].index(row.task)):
        memory = [f"{value / MIB:,.0f}" for value in (row.peak, row.anonymous, row.largest)]
        slope = [f"{value:,.0f}" for value in found.get(row, ())] or ["", ""]
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.4f}"
        table.add_row(row.task, f"{row.images:,}", *memory, f"{row.seconds:.1f}", accuracy, *slope)
    CONSOLE.print(table)


def cells(row: Row, slope: tuple[float, float] | None) -> list[Cell]:
    """A row for the CSV."""
    memory = [round(value / MIB, 1) for value in (row.peak, row.anonymous, row.largest)]
    costs = [round(value, 1) for value in slope] if slope else [None, None]
    return [row.task, row.images, *memory, round(row.seconds, 1), row.accuracy, *costs]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--images", type=int, nargs="+", default=[20_000, 200_000], help="numbers, rising"
    )
    parser.add_argument("--edge", type=int, default=32, help="edge of the pictures in pixels")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument(
        "--csv", type=Path, default=RESULTS / "memory.csv", help="where the figures go"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = compare(options.images, options.edge, Path(folder))
    show(rows)
    found = slopes(rows)
    save(
        options.csv,
        COLUMNS,
        [cells(row, found.get(row)) for row in rows],
        packages=("pyarrow", "kornia-rs"),
        remark=f"{options.edge}×{options.edge} pictures; peak: PSS over all processes, sampled "
        f"every {SAMPLE_SECONDS * 1000:.0f} ms; bytes per item: slope to the row of fewer images",
    )


if __name__ == "__main__":
    main()
