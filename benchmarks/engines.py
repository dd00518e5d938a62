"""What an engine costs and gains: the same work on this machine's processes, on Spark and on Ray.

    python benchmarks/engines.py --work FOLDER

2,000 portraits of 1024 x 1024 pixels are prepared at 128 pixels in grey levels, and Furia's CNN
(`furia-cnn`, on these images) and MLP 3 (`furia-mlp3`, on the vectors of the same portraits) are
trained, with one and with two workers: one process each, with one thread. Every row is a process of
its own, so that a cluster's start is in it: `first_item` is the time from asking the engine for one
trivial item to its outcome, `first_gang` from asking for a trivial gang to its values; both are in
`overhead`. Training is synchronous; two members share each batch. Figures of a row are medians over
the rounds.

`pair` is a control: two trainings of the CNN that know nothing of each other, one process and one
thread each, at the same time. What they take longer than one alone is the machine's doing, and no
way of training together can be faster than half of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from record import RESULTS, Cell, save

ENGINES = ("local", "spark", "ray")
TIMES = ("first_item", "first_gang", "prepare", "cnn", "mlp")
COLUMNS = (
    "engine", "workers", "rounds", *(f"{name}_seconds" for name in TIMES), "prepare_per_second",
    "cnn_epochs_seconds", "mlp_epochs_seconds", "prepare_speedup", "cnn_speedup", "mlp_speedup",
    "cnn_accuracy", "mlp_accuracy",
)  # fmt: skip


def one(engine: str, workers: int, work: Path, epochs: int) -> dict[str, float]:
    """All the work of one row, in this process."""
    import lorgnette
    from lorgnette import resolve
    from lorgnette.engines import Task, open_engine
    from lorgnette.testing import square

    master = f"local-cluster[{workers},1,2048]" if engine == "spark" else None
    where = lorgnette.EngineConfig(name=engine, workers=workers, master=master)  # type: ignore[arg-type]
    opened = open_engine(where)
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = work()
        found[f"{name}_seconds"] = round(time.perf_counter() - start, 2)
        return value

    timed("first_item", lambda: list(opened.map(Task.of(square), [1])))
    timed("first_gang", lambda: opened.gang(Task.of(square), workers))
    source = lorgnette.SourceConfig(location=str(work / "portraits"), kind="kaggle")
    vectors = source.model_copy(update={"features": "v1..v512"})
    grey = lorgnette.PrepareConfig(size=(128,), color="gray")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        out = Path(folder)
        timed("prepare", lambda: lorgnette.prepare(source, out / "images", grey, engine=where))
        lorgnette.prepare(vectors, out / "vectors", engine=where)
        for name, recipe, data in (
            ("cnn", "furia-cnn", "images"),
            ("mlp", "furia-mlp3", "vectors"),
        ):
            told: dict[str, Any] = {
                "train.members": workers,
                "train.epochs": epochs if name == "cnn" else None,
                "engine.name": engine,
                "engine.workers": workers,
                "engine.master": master,
            }
            config = resolve.load(recipe, (), told)
            run = timed(name, partial(lorgnette.train, out / data, out / name, config))
            figures = run.read("evaluation.json")["test"]["accuracy"]
            found[f"{name}_accuracy"] = round(figures["value"], 4)
            found[f"{name}_train_seconds"] = round(
                sum(line["seconds"] for line in run.metrics()), 2
            )
    return found


def pair(work: Path, epochs: int) -> dict[str, float]:
    """Two trainings at once that have nothing to do with each other."""
    import lorgnette

    source = lorgnette.SourceConfig(location=str(work / "portraits"), kind="kaggle")
    grey = lorgnette.PrepareConfig(size=(128,), color="gray")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        data = lorgnette.prepare(source, Path(folder) / "images", grey).location
        words = [sys.executable, "-m", "lorgnette", "train", data, "--recipe", "furia-cnn"]
        words += ["--epochs", str(epochs), "--quiet", "--json"]
        runs = [Path(folder) / name for name in ("a", "b")]
        start = time.perf_counter()
        both = [
            subprocess.Popen([*words, "--out", str(run)], stdout=subprocess.DEVNULL) for run in runs
        ]
        if any(each.wait() for each in both):
            raise SystemExit("a training of the pair failed")
        seconds = time.perf_counter() - start
        trained = [
            sum(line["seconds"] for line in lorgnette.Run.load(run).metrics()) for run in runs
        ]
        return {"cnn_seconds": round(seconds, 2), "cnn_train_seconds": round(max(trained), 2)}


def drawn(work: Path, n: int) -> None:
    """The portraits, once."""
    from lorgnette.engines.local import LocalEngine
    from lorgnette.sources.portraits.write import write_portraits

    write_portraits(str(work / "portraits"), n=n, size=1024, label_noise=0.1, engine=LocalEngine())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="where portraits stay; default: nowhere")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5, help="of the CNN")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "WORKERS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        engine, workers = args.one[0], int(args.one[1])
        alone = engine == "pair"
        found = (
            pair(args.work, args.epochs) if alone else one(engine, workers, args.work, args.epochs)
        )
        print(json.dumps(found))
        return
    work = args.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    drawn(work, args.n)
    rows: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for workers in (1, 2):
            for engine in args.engine or (*ENGINES, *(["pair"] if workers == 2 else [])):
                done = subprocess.run(
                    [
                        *(sys.executable, __file__, "--one", engine, str(workers)),
                        *("--work", str(work), "--epochs", str(args.epochs)),
                    ],
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found = json.loads(done.stdout.splitlines()[-1])
                print(engine, workers, found, flush=True)
                rows.setdefault((engine, workers), []).append(found)
                write(rows, args.n)
    if args.work is None:
        shutil.rmtree(work)


def write(rows: dict[tuple[str, int], list[dict[str, float]]], n: int) -> None:
    """The table so far."""

    def middle(engine: str, workers: int, name: str) -> float | None:
        found = rows.get((engine, workers))
        known = [each[name] for each in found or () if name in each]
        return statistics.median(known) if known else None

    lines: list[list[Cell]] = []
    for (engine, workers), found in rows.items():
        seconds = {name: middle(engine, workers, f"{name}_seconds") for name in TIMES}
        line: list[Cell] = [engine, workers, len(found), *seconds.values()]
        prepared = seconds["prepare"]
        line.append(round(n / prepared, 1) if prepared else None)
        line += [middle(engine, workers, f"{name}_train_seconds") for name in ("cnn", "mlp")]
        for name in ("prepare", "cnn", "mlp"):
            base, own = middle("local", 1, f"{name}_seconds"), seconds[name]
            line.append(round(base / own, 2) if base and own and engine != "pair" else None)
        line += [middle(engine, workers, f"{name}_accuracy") for name in ("cnn", "mlp")]
        lines.append(line)

    save(
        RESULTS / "engines.csv", COLUMNS, lines, packages=("pyspark", "ray"),
        remark=f"{n} portraits of 1024 px; speed-ups over local with one worker, starts included",
    )  # fmt: skip


if __name__ == "__main__":
    main()
