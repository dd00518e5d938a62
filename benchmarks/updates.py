"""The four ways in which several processes train one network, with Elephas beside them.

    python benchmarks/updates.py --elephas PYTHON

2,000 portraits without wrong labels, at 64 pixels in grey levels; Furia's CNN (`furia-cnn`), as
many passes for all, two members of one thread each, and one process alone for comparison. A third
of the portraits is kept for the test. Accuracy is on the test part, by the weights of the best
epoch on validation (Elephas: of the last epoch, as it keeps no others). Seconds are those of the
training command from start to end (`wall`) and of the epochs alone.

PYTHON is an interpreter with Elephas, TensorFlow and Java: `pip install elephas`. Its three modes
train the same network on the same standardised pixels, with the same optimizer and batch size, on
Spark's `local[2]`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from record import RESULTS, Cell, save

WAYS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("alone", 1, {}),
    ("sync, batch", 2, {"mode": "sync"}),
    ("sync, 4 batches added", 2, {"mode": "sync", "accumulate": 4}),
    ("periodic, batch", 2, {"mode": "periodic", "every": "batch"}),
    ("periodic, 8 batches", 2, {"mode": "periodic", "every": 8}),
    ("periodic, epoch", 2, {"mode": "periodic", "every": "epoch"}),
    ("async, batch", 2, {"mode": "async", "every": "batch"}),
    ("async, epoch", 2, {"mode": "async", "every": "epoch"}),
    ("hogwild, batch", 2, {"mode": "hogwild", "every": "batch"}),
)
ELEPHAS = tuple(
    (mode, every)
    for mode in ("synchronous", "asynchronous", "hogwild")
    for every in ("batch", "epoch")
)
COLUMNS = (
    "what", "members", "epochs", "seed", "accuracy", "low", "high", "n", "validation",
    "wall_seconds", "epoch_seconds", "error",
)  # fmt: skip
SPLIT = {"split.train": 0.5, "split.val": 0.17, "split.test": 0.33}


def own(data: Path, members: int, way: dict[str, Any], epochs: int, seed: int) -> dict[str, Cell]:
    """One way of Lorgnette, through its command."""
    import lorgnette

    told = [f"train.update.{key}={value}" for key, value in way.items()]
    told += [f"{key}={value}" for key, value in SPLIT.items()]
    told += ["train.stopping.patience=0", "train.precision=float32"]
    with tempfile.TemporaryDirectory() as folder:
        options = [part for each in told for part in ("--set", each)]
        start = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "lorgnette", "train", str(data), "--out", f"{folder}/run"),
                *("--recipe", "furia-cnn", "--members", str(members), "--epochs", str(epochs)),
                *("--seed", str(seed), "--quiet", "--json", *options),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        wall = time.perf_counter() - start
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or ["no reason given"])[-1]}
        run = lorgnette.Run.load(f"{folder}/run")
        found = run.read("evaluation.json")
        test = found["test"]["accuracy"]
        return {
            "accuracy": test["value"],
            "low": test["low"],
            "high": test["high"],
            "n": test["n"],
            "validation": found["validation"]["accuracy"]["value"],
            "wall_seconds": round(wall, 1),
            "epoch_seconds": round(sum(line["seconds"] for line in run.metrics()), 1),
        }


def arrays(data: Path, seed: int, out: Path) -> None:
    """The same parts of the same dataset, standardised alike, for others."""
    from lorgnette import resolve
    from lorgnette.dataset.split import split
    from lorgnette.dataset.store import Dataset
    from lorgnette.training.statistics import statistics

    dataset = Dataset.load(str(data))
    config = resolve.load("furia-cnn", (), SPLIT)
    parts = split(dataset, config.split, seed, "given")
    mean, deviation = statistics(
        dataset, parts.indices("train"), seed, config.train.normalize, dataset.info.prepare.size[0]
    )
    labels = dataset.labels("given")
    kept: dict[str, Any] = {}
    for part in ("train", "val", "test"):
        rows = parts.indices(part)
        pixels = (dataset.read(rows).astype(np.float32) - mean) / deviation
        kept |= {f"x_{part}": pixels.astype(np.float32), f"y_{part}": labels[rows]}
    np.savez(out, **kept)


def elephas(
    python: str, file: Path, mode: str, every: str, epochs: int, seed: int
) -> dict[str, Cell]:
    """One mode of Elephas, in its own interpreter."""
    script = Path(__file__).with_name("elephas_training.py")
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [python, str(script), str(file), mode, every, str(epochs), str(seed)],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    except subprocess.TimeoutExpired:
        return {"error": "did not end in 600 s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]}
    found: dict[str, Cell] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "wall_seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elephas", help="an interpreter with Elephas and TensorFlow")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, action="append", help="default: 0")
    args = parser.parse_args()
    import lorgnette
    from lorgnette.engines.local import LocalEngine
    from lorgnette.sources.portraits.write import write_portraits

    lines: list[list[Cell]] = []

    def note(what: str, members: int, seed: int, found: dict[str, Cell]) -> None:
        row = {"what": what, "members": members, "epochs": args.epochs, "seed": seed, **found}
        print(row, flush=True)
        lines.append([row.get(name) for name in COLUMNS])
        save(RESULTS / "updates.csv", COLUMNS, lines, remark=f"{args.n} portraits at 64 px")

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_portraits(str(work / "portraits"), n=args.n, size=128, engine=LocalEngine())
        source = lorgnette.SourceConfig(location=str(work / "portraits"), kind="kaggle")
        settings = lorgnette.PrepareConfig(size=(64,), color="gray")
        data = Path(lorgnette.prepare(source, work / "data", settings).location)
        for seed in args.seed or [0]:
            for what, members, way in WAYS:
                note(what, members, seed, own(data, members, way, args.epochs, seed))
            if args.elephas:
                arrays(data, seed, work / "arrays.npz")
                for mode, every in ELEPHAS:
                    found = elephas(
                        args.elephas, work / "arrays.npz", mode, every, args.epochs, seed
                    )
                    note(f"Elephas, {mode}, {every}", 2, seed, found)


if __name__ == "__main__":
    main()
