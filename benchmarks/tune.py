"""What a search costs: samplers, workers, KerasTuner, kills, memory.

    python benchmarks/tune.py samplers --data FOLDER
    python benchmarks/tune.py workers
    python benchmarks/tune.py keras --python PYTHON
    python benchmarks/tune.py kills
    python benchmarks/tune.py memory

Each writes results/tune_MODE.csv, anew after every row. With `--work FOLDER` studies and rows stay
there, and an interrupted benchmark goes on. Portraits are drawn, 2,000 at 64 pixels, a tenth of
their labels wrong where the picture is hard to tell. The space is that of the recipe `quick`.

samplers: the same space and number of trials for random search, TPE and a Gaussian process, and
with Hyperband and successive halving, on portraits and, with `--data`, on 1,200 pictures of
cartoon-glasses at 32 pixels of whose labels a tenth are flipped. Compute is the seconds of
training of all trials, without what a sampler needs to think (wall seconds have it). "To random":
compute of the trials that had ended when the first was complete that is as good in validation as
the best of random search with the same seed; its share of all of random search's. Test accuracy is
against the truth, on other pictures; the default is trial 0.

workers: the same random search with one worker that has all threads, one with a single thread, and
as many workers as there are processors. Wall seconds of the command, from its start to its page.

keras: the same random search over the same networks, pictures, batches and epochs with
`lorgnette tune` and with KerasTuner (`keras_tuner_search.py`) in one process, as it is usually run,
and with its own chief and workers. `--python` has TensorFlow and KerasTuner. Trials an hour of the
whole command, and from the start of the first trial to the end of the last, without imports;
KerasTuner's pictures wait in memory, decoded.

kills: a chief and two workers on loopback, undisturbed, then killed (SIGKILL) at random moments:
the chief, a worker's command, or the process that trains for it; commands are started again within
3 seconds. Done twice: a trial that was complete and became so again, vanished, or has the settings
of another; begun anew: one whose epochs became fewer. Both are watched from outside. Same trials:
number, settings, value, and the value of every epoch as undisturbed; same weights: the best model's
bytes.

memory: one worker over 300 trials of one epoch; memory of its process, the median and the most of
every 10 trials, and that of the command which is its chief.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil

import tune_keras
import tune_kills
import tune_samplers
from record import RESULTS, Cell, save
from tune_data import Row, cartoons, command, portraits, remembered, timed

MIB = 2**20
SAMPLE_SECONDS, LOOK_SECONDS = 0.1, 0.25
WORKER_COLUMNS = (
    "contender", "round", "workers", "threads", "trials", "epochs", "wall_seconds",
    "study_seconds", "compute_seconds", "trials_per_hour", "ratio", "best",
)  # fmt: skip
MEMORY_COLUMNS = (
    "trials", "seconds", "rss_mib", "rss_most_mib", "unique_mib", "chief_rss_mib", "process",
)  # fmt: skip


def workers(
    work: Path, dataset: str, rounds: int, trials: int, epochs: int, most: int
) -> Iterator[Row]:
    """The same search with one and with several workers, in turns."""
    contenders = {
        "1 worker, all threads": (1, {}),
        "1 worker, 1 thread": (1, {"OMP_NUM_THREADS": "1"}),
        f"{most} workers": (most, {}),
    }
    found: list[Row] = []
    for number in range(rounds):
        names = list(contenders)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            count, more = contenders[name]
            told = f"{Path(dataset).name}-{trials}x{epochs}-{name.replace(', ', '-')}"
            out = work / f"workers-{told}-{number + 1}"
            environment = {**os.environ, **more}
            words = command(
                "tune", dataset, "--sampler", "random", "--trials", trials, "--epochs", epochs,
                "--workers", count, "--out", out, "--json", "--quiet",
            )  # fmt: skip

            def measure(
                out: Path = out, words: list[str] = words, environment: dict[str, str] = environment
            ) -> Row:
                shutil.rmtree(out, ignore_errors=True)
                seconds, facts = timed(words, environment)
                stage = facts["stages"][0]
                return {
                    "wall_seconds": round(seconds, 1),
                    "study_seconds": round(stage["seconds"], 1),
                    "compute_seconds": round(stage["compute"], 1),
                    "trials_per_hour": round(3600 * trials / seconds, 1),
                    "best": round(stage["best"]["value"], 4),
                }

            row = remembered(out.with_suffix(".json"), measure)
            cores = len(os.sched_getaffinity(0))
            given = int(environment.get("OMP_NUM_THREADS", cores))
            row = row | {
                "contender": name,
                "round": number + 1,
                "workers": count,
                "threads": max(given // count, 1),
                "trials": trials,
                "epochs": epochs,
            }
            found.append(row)
            yield row
    first = f"{most} workers"
    for name in contenders:
        own = [row for row in found if row["contender"] == name]
        many = [row for row in found if row["contender"] == first]
        walls = [_number(row["wall_seconds"]) for row in own]
        ratio = median(
            wall / _number(other["wall_seconds"]) for wall, other in zip(walls, many, strict=True)
        )
        yield own[0] | {
            "round": "median",
            "wall_seconds": round(median(walls), 1),
            **{
                column: round(median(_number(row[column]) for row in own), 1)
                for column in ("study_seconds", "compute_seconds", "trials_per_hour")
            },
            "ratio": round(ratio, 2),
        }


def memory(work: Path, dataset: str, trials: int, step: int) -> Iterator[Row]:
    """What a worker's process takes while it does one trial after another."""
    out = work / f"memory-{trials}"
    shutil.rmtree(out, ignore_errors=True)
    words = command(
        "tune", dataset, "--sampler", "random", "--trials", trials, "--epochs", 1, "--workers", 1,
        "--out", out, "--quiet",
    )  # fmt: skip
    witness, start, due = tune_kills.Witness(out), time.perf_counter(), step
    seen: list[psutil.Process] = []
    samples: list[tuple[int, int, int]] = []
    looked, done = 0.0, 0
    with (work / "memory.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        running = True
        while running:
            running = process.poll() is None
            with suppress(psutil.NoSuchProcess):
                for each in tune_kills.children(process.pid):
                    if each not in seen:
                        seen.append(each)
                if seen and done:  # not while it imports what it needs
                    full, own = seen[-1].memory_full_info(), psutil.Process(process.pid)
                    if full.rss:  # it has not just ended
                        samples.append((full.rss, full.uss, own.memory_info().rss))
            if time.perf_counter() - looked > LOOK_SECONDS or not running:
                looked, done = time.perf_counter(), witness.look()
                if samples and done >= due:
                    rss, unique, chief = zip(*samples, strict=True)
                    yield {
                        "trials": done,
                        "seconds": round(time.perf_counter() - start, 1),
                        "rss_mib": round(median(rss) / MIB, 1),
                        "rss_most_mib": round(max(rss) / MIB, 1),
                        "unique_mib": round(median(unique) / MIB, 1),
                        "chief_rss_mib": round(median(chief) / MIB, 1),
                        "process": len(seen),
                    }
                    samples, due = [], done - done % step + step
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"The search failed:\n{(work / 'memory.log').read_text()[-3000:]}")


def quarters(rows: Sequence[Row]) -> str:
    """The median memory of the worker in the first and the last quarter of its trials."""
    quarter = max(len(rows) // 4, 1)
    said = []
    for column, name in (("rss_mib", "worker"), ("chief_rss_mib", "chief")):
        values = [_number(row[column]) for row in rows]
        first, last = median(values[:quarter]), median(values[-quarter:])
        said.append(f"{name}: first quarter {first:.1f} MiB, last quarter {last:.1f} MiB")
    return "median of RSS, " + "; ".join(said)


def _number(cell: Cell) -> float:
    return float(cell or 0)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    modes = parser.add_subparsers(dest="mode", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--n", type=int, help="portraits; default: 2,000, for memory 200")
    shared.add_argument("--size", type=int, help="their edge in pixels; default: 64, for memory 32")
    shared.add_argument("--work", type=Path, help="where studies stay; default: nowhere")
    shared.add_argument("--csv", type=Path, help="default: results/tune_MODE.csv")
    cores = len(os.sched_getaffinity(0))

    def mode(name: str, trials: int, epochs: int | None) -> argparse.ArgumentParser:
        found = modes.add_parser(name, parents=[shared])
        found.add_argument("--trials", type=int, default=trials)
        if epochs is not None:
            found.add_argument("--epochs", type=int, default=epochs, help="of each trial")
        return found

    samplers = mode("samplers", 30, 9)
    samplers.add_argument("--data", type=Path, help="the folder of real data; else portraits only")
    samplers.add_argument("--only", choices=("portraits", "cartoons"))
    samplers.add_argument("--seed", type=int, action="append", help="default: 0")
    samplers.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    samplers.add_argument("--workers", type=int, default=cores)
    several = mode("workers", 16, 4)
    several.add_argument("--rounds", type=int, default=3)
    several.add_argument("--workers", type=int, default=max(cores, 2))
    keras = mode("keras", 16, 5)
    keras.add_argument("--python", required=True, help="with TensorFlow and KerasTuner")
    keras.add_argument("--rounds", type=int, default=3)
    keras.add_argument("--workers", type=int, default=max(cores, 2))
    keras.add_argument("--batch", type=int, default=32)
    keras.add_argument("--seed", type=int, default=0)
    keras.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    keras.add_argument("--augment", action="store_true", help="as in the published search")
    kills = mode("kills", 24, 4)
    kills.add_argument("--kills", type=int, default=10)
    kills.add_argument("--seed", type=int, action="append", help="default: 0")
    mode("memory", 300, None).add_argument("--step", type=int, default=10)
    options = parser.parse_args()
    small = options.mode == "memory"
    options.n = options.n or (200 if small else 2000)
    options.size = options.size or (32 if small else 64)
    if options.mode == "samplers" and options.only == "cartoons" and options.data is None:
        samplers.error("cartoons are real data: say where they are with --data FOLDER")
    return options


def measured(options: argparse.Namespace, work: Path) -> tuple[Sequence[str], Iterator[Row]]:
    """The columns and rows of a mode."""
    mode = options.mode
    if mode == "samplers":
        sets = []
        if options.only != "cartoons":
            sets.append(portraits(work, options.n, options.size))
        if options.data is not None and options.only != "portraits":
            sets.append(cartoons(work, options.data.resolve(), options.n))
        return tune_samplers.COLUMNS, tune_samplers.rows(
            work, sets, options.seed or (0,), options.set, options.workers,
            trials=options.trials, epochs=options.epochs,
        )  # fmt: skip
    dataset = portraits(work, options.n, options.size).dataset
    if mode == "workers":
        return WORKER_COLUMNS, workers(
            work, dataset, options.rounds, options.trials, options.epochs, options.workers
        )
    if mode == "keras":
        contest = tune_keras.Contest(
            dataset, options.python, options.trials, options.epochs, options.batch,
            options.precision, options.augment, options.seed,
        )  # fmt: skip
        return tune_keras.COLUMNS, tune_keras.rows(work, contest, options.rounds, options.workers)
    if mode == "kills":
        return tune_kills.COLUMNS, tune_kills.rows(
            work, dataset, options.kills, options.trials, options.epochs, options.seed or (0,)
        )
    return MEMORY_COLUMNS, memory(work, dataset, options.trials, options.step)


def main() -> None:
    options = arguments()
    name = options.mode
    if options.mode == "keras":
        name += "_bfloat16" if options.precision == "bfloat16" else ""
        name += "_augmented" if options.augment else ""
    path = options.csv or RESULTS / f"tune_{name}.csv"
    sys.argv = for_the_head(sys.argv)
    with tempfile.TemporaryDirectory() as folder:
        work = (options.work or Path(folder)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        columns, found = measured(options, work)
        rows: list[Row] = []
        for row in found:
            rows.append(row)
            cells = [[each.get(column) for column in columns] for each in rows]
            save(path, columns, cells, packages=("optuna",), remark=remark(options.mode, rows))
            print({column: row.get(column) for column in columns}, flush=True)
    print(remark(options.mode, rows), file=sys.stderr)


def for_the_head(words: Sequence[str]) -> list[str]:
    """The command without what is of this machine alone: it goes into the file."""
    found: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        if before == "--python":
            found.append("PYTHON")
        elif "--csv" not in (word, before) and "--work" not in (word, before):
            found.append(word)
    return found


def remark(mode: str, rows: Sequence[Row]) -> str:
    """How the figures of a mode are to be read."""
    if mode == "memory":
        return quarters(rows)
    if mode == "keras":
        known = {key: row[key] for row in rows for key in row if key.startswith("version ")}
        versions = ", ".join(
            f"{key.removeprefix('version ')} {value}" for key, value in known.items()
        )
        return f"the other side: {versions}; ratio: our trials an hour over this row's"
    return {
        "samplers": "validation labels are as wrong as the others; test accuracy is against the "
        "truth; compute: seconds of training",
        "workers": "ratio: this row's wall seconds over those of all workers, median over rounds",
        "kills": "watched from outside; see the head of benchmarks/tune.py",
    }[mode]


if __name__ == "__main__":
    main()
