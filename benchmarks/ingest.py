"""How fast image files become small arrays: Lorgnette against Pillow, OpenCV and tf.data.

    pip install 'lorgnette[benchmarks]'    # OpenCV, TensorFlow: without them their rows are missing
    python benchmarks/ingest.py            # everything, some minutes

The first table decodes 1024×1024 PNG and JPEG files (generated: soft shapes, texture that falls off
as 1/frequency, sensor noise) that lie in memory to 64×64 RGB. Every contender runs on the same one
core, which the process is pinned to; they take turns, round by round, and the figures are medians
over rounds. What is compared is the same work: Pillow is its full decode and antialiased bicubic
resize, OpenCV `imdecode` and `INTER_AREA`, tf.data a `map` of `decode_png` or `decode_jpeg` and
`tf.image.resize` with `antialias=True`. The difference is the mean over pixels to Pillow's result,
in grey levels.

The second table is the whole `prepare`, reading, hashing and writing included, on a folder of such
files, half of each kind, with one worker process and with two, taking turns likewise; the start of
the processes is included.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

Kind = Literal["PNG", "JPEG"]
Pixels = NDArray[np.uint8]
Ingest = Callable[[Sequence[bytes]], Pixels]
"""Files to an array (files, size, size, 3)."""

EDGE = 1024
RESULTS = Path(__file__).parent / "results" / "ingest.csv"
CONSOLE = Console()


@dataclass(frozen=True)
class Row:
    """One line of the result: a contender on a kind of file, or why it did not take part."""

    task: str
    contender: str
    images_per_second: float | None = None
    ratio: float | None = None
    difference: float | None = None
    note: str = ""


def portrait(seed: int, edge: int = EDGE) -> Image.Image:
    """A soft head and shoulders before a soft background, with a photograph's texture and grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:edge, 0:edge] / edge
    frequency = np.hypot(np.fft.rfftfreq(edge)[None], np.fft.fftfreq(edge)[:, None])
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    texture = np.fft.irfft2(phase / np.maximum(frequency, 1 / edge), s=(edge, edge))
    pixels = np.full((edge, edge, 3), rng.uniform(60, 200, 3))
    head = np.hypot((x - 0.5) / 0.22, (y - 0.42) / 0.28)
    shoulders = np.hypot((x - 0.5) / 0.45, (y - 1.05) / 0.38)
    eyes = np.minimum(np.hypot(x - 0.42, y - 0.4), np.hypot(x - 0.58, y - 0.4)) / 0.03
    for distance, sharpness in ((shoulders, 40), (head, 60), (eyes, 20)):
        share = 1 / (1 + np.exp((distance - 1).clip(-9, 9) * sharpness))
        pixels += (rng.uniform(20, 235, 3) - pixels) * share[:, :, None]
    subject = np.minimum(head, shoulders) < 1  # in focus; what is behind is not
    texture *= np.where(subject, 7.0, 1.5) / texture.std()
    pixels += texture[:, :, None]
    pixels += rng.normal(0, 0.9, (edge, edge, 1)) + rng.normal(0, 0.3, (edge, edge, 3))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: Kind) -> bytes:
    """The image as a file, as a camera or an exporter would write it."""
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind == "JPEG" else {}))
    return buffer.getvalue()


def with_lorgnette(size: int) -> Ingest:
    from lorgnette.dataset.decode import decode

    return lambda files: np.stack(
        [decode(data, (size,), "rgb", "crop", 178_956_970).pixels[0] for data in files]
    )


def with_pillow(size: int) -> Ingest:
    def one(data: bytes) -> Pixels:
        image = Image.open(BytesIO(data)).convert("RGB")
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))

    return lambda files: np.stack([one(data) for data in files])


def with_opencv(size: int) -> Ingest:
    import cv2

    cv2.setNumThreads(1)

    def one(data: bytes) -> Pixels:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)

    return lambda files: np.stack([one(data) for data in files])


def with_tensorflow(size: int) -> Ingest:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1

    def load(data: Any, decode: Any) -> Any:
        image = tf.image.resize(decode(data, channels=3), (size, size), "bicubic", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)

    # One pipeline per kind of file, built once: its construction is not what is measured.
    pipelines: dict[tuple[bytes, ...], Any] = {}

    def ingest(files: Sequence[bytes]) -> Pixels:
        key = tuple(files)
        if key not in pipelines:
            decode = tf.io.decode_png if files[0][:4] == b"\x89PNG" else tf.io.decode_jpeg
            pipelines[key] = (
                tf.data.Dataset.from_tensor_slices(list(files))
                .map(lambda data: load(data, decode))
                .batch(len(files))
                .with_options(options)
            )
        return np.asarray(next(iter(pipelines[key])))

    return ingest


CONTENDERS: dict[str, Callable[[int], Ingest]] = {
    "lorgnette": with_lorgnette,
    "pillow": with_pillow,
    "opencv": with_opencv,
    "tf.data": with_tensorflow,
}


def compare_decoders(images: int, rounds: int, size: int) -> list[Row]:
    """Every contender on every kind of file, on one core, taking turns."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # before TensorFlow starts its threads
    try:
        rows: list[Row] = []
        ready: dict[str, Ingest] = {}
        for name, build in CONTENDERS.items():
            try:
                ready[name] = build(size)
            except ImportError as error:
                rows.append(Row("decode", name, note=f"left out: {error}"))
        pictures = [portrait(seed) for seed in range(images)]
        for kind in ("PNG", "JPEG"):
            rows += _take_turns(kind, [encode(image, kind) for image in pictures], ready, rounds)
        return rows
    finally:
        os.sched_setaffinity(0, cores)


def _take_turns(kind: Kind, files: list[bytes], ready: dict[str, Ingest], rounds: int) -> list[Row]:
    results = {name: ingest(files).astype(int) for name, ingest in ready.items()}  # warms up, too
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for index in range(rounds):
        names = list(ready)
        for name in names[index % len(names) :] + names[: index % len(names)]:
            start = time.perf_counter()
            ready[name](files)
            seconds[name].append(time.perf_counter() - start)
    size = sum(map(len, files)) / len(files) / 1e6
    return [
        Row(
            f"{EDGE}×{EDGE} {kind}",
            name,
            len(files) / median(seconds[name]),
            median(a / b for a, b in zip(seconds["pillow"], seconds[name], strict=True)),
            float(np.abs(results[name] - results["pillow"]).mean()),
            f"{size:.2f} MB each",
        )
        for name in ready
    ]


def compare_processes(images: int, rounds: int, size: int) -> list[Row]:
    """The whole `prepare` with one and with two worker processes, taking turns."""
    from lorgnette.config import PrepareConfig, SourceConfig
    from lorgnette.dataset.prepare import prepare
    from lorgnette.engines.local import LocalEngine

    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        for name in ("one", "two"):
            (source / name).mkdir(parents=True)
        for index in range(min(images, 40)):
            data = encode(portrait(index), "PNG" if index % 2 else "JPEG")
            for copy in range(index, images, 40):
                # A byte after the end makes every copy a file of its own, not a duplicate.
                path = source / ("one" if copy % 4 < 2 else "two") / f"{copy:05d}"
                path.write_bytes(data + copy.to_bytes(4, "big"))
        settings = PrepareConfig(size=(size,), shard_items=max(1, images // 24))
        config = SourceConfig(location=str(source))
        for index in range(rounds):
            for workers in (1, 2) if index % 2 else (2, 1):
                out = str(Path(folder, f"dataset-{index}-{workers}"))
                start = time.perf_counter()
                prepare(config, out, settings, LocalEngine(workers))
                seconds[workers].append(time.perf_counter() - start)
    return [
        Row(
            f"prepare {images} files",
            f"{workers} process{'es' * (workers > 1)}",
            images / median(seconds[workers]),
            median(a / b for a, b in zip(seconds[1], seconds[workers], strict=True)),
            note="half PNG",
        )
        for workers in seconds
    ]


def show(rows: list[Row]) -> None:
    table = Table(title="Ingest, images per second")
    for column in ("task", "contender", "images/s", "ratio", "difference", "note"):
        text = column in ("task", "contender", "note")
        table.add_column(column, justify="left" if text else "right", no_wrap=column != "note")
    for row in rows:
        table.add_row(
            row.task,
            row.contender,
            "" if row.images_per_second is None else f"{row.images_per_second:,.1f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.difference is None else f"{row.difference:.2f}",
            row.note,
        )
    CONSOLE.print(table)


def save(rows: list[Row], path: Path, rounds: int) -> None:
    """CSV; its comment lines say what made it."""
    versions = ", ".join(
        f"{name} {module.__version__}"
        for name in ("PIL", "kornia_rs", "cv2", "tensorflow")
        if (module := sys.modules.get(name)) is not None
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# python {shlex.join(['benchmarks/ingest.py', *sys.argv[1:]])}\n")
        file.write(f"# {processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, ")
        file.write(f"{versions}; medians of {rounds} rounds\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "contender", "images_per_second", "ratio", "difference", "note"])
        for row in rows:
            figures = (row.images_per_second, row.ratio, row.difference)
            shown = ["" if value is None else f"{value:.4g}" for value in figures]
            writer.writerow([row.task, row.contender, *shown, row.note])


def processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=16, help="files of each kind to decode")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender")
    parser.add_argument("--size", type=int, default=64, help="edge of the result in pixels")
    parser.add_argument("--prepare-images", type=int, default=2400, help="files to prepare")
    parser.add_argument("--prepare-rounds", type=int, default=5, help="turns of prepare; 0: none")
    parser.add_argument("--csv", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args()
    # First the processes: none of the contenders' threads is alive yet.
    processes = (
        compare_processes(options.prepare_images, options.prepare_rounds, options.size)
        if options.prepare_rounds
        else []
    )
    rows = compare_decoders(options.images, options.rounds, options.size) + processes
    show(rows)
    save(rows, options.csv, options.rounds)


if __name__ == "__main__":
    main()
