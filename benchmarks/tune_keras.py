"""Trials an hour against KerasTuner's random search over the same networks.

A mode of `benchmarks/tune.py`, which tells how it is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import optuna

from lorgnette import resolve
from lorgnette.dataset.store import Dataset
from lorgnette.tuning.samplers import sampler
from lorgnette.tuning.settings import parse
from lorgnette.tuning.study import Plan, StudyDir, dataset_digest, trials_of
from lorgnette.tuning.trial import parts
from record import Cell
from tune_data import Row, command, remembered, rounded, timed
from tune_kills import free_port

CHILD = Path(__file__).with_name("keras_tuner_search.py")
FILTERS = [[32], [32, 64], [32, 64, 128]]
SPACE = (
    f"model.filters={{choice={FILTERS}}}",
    'model.pool={choice=["max","average"]}',
    "model.dense=[{choice=[32,64,128]}]",
    'train.optimizer.name={choice=["adam","sgd"]}',
    "train.optimizer.lr={log=[1e-4,1e-2]}",
    "train.stopping.patience=0",
)
"""Over the recipe `dascenzo-cnn`, whose constants are Keras's."""
PLAIN = (
    "train.augment.flip_horizontal=false", "train.augment.translation=0",
    "train.augment.rotation=0", "train.augment.zoom_in=0", "train.augment.zoom_out=0",
)  # fmt: skip
COLUMNS = (
    "contender", "round", "workers", "trials", "epochs", "images", "precision", "augmented",
    "seconds", "search_seconds", "trials_per_hour", "ratio", "search_trials_per_hour",
    "search_ratio", "best", "mean",
)  # fmt: skip


@dataclass(frozen=True)
class Contest:
    """What everybody does.

    Attributes:
        dataset: a prepared one of pictures.
        python: an interpreter that has TensorFlow and KerasTuner.
        trials: how many networks.
        epochs: of each.
        batch: pictures in a step.
        precision: float32 or bfloat16, of both sides.
        augmented: whether pictures are turned, moved and scaled, as in the published search.
        seed: of the draw, the split and the weights.
    """

    dataset: str
    python: str
    trials: int
    epochs: int
    batch: int
    precision: str
    augmented: bool
    seed: int

    @property
    def settings(self) -> list[str]:
        """Of the search, beside its recipe, as `KEY=VALUE`."""
        told = [*SPACE, f"train.batch_size={self.batch}", f"train.precision={self.precision}"]
        return told if self.augmented else [*told, *PLAIN]

    @property
    def plan(self) -> Plan:
        """What is searched."""
        tuned = {"tune.sampler": "random", "tune.trials": self.trials, "tune.epochs": self.epochs}
        data = resolve.data("dascenzo-cnn", self.settings, {"seed": self.seed, **tuned})
        settings = parse(data.pop("tune"), "the benchmark")
        dataset = Dataset.load(self.dataset)
        return Plan(data, settings, self.dataset, dataset_digest(dataset), "")


def draw(plan: Plan) -> list[dict[str, Any]]:
    """The settings of every trial, as the search will draw them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler(plan.settings, plan.seed))
    study.enqueue_trial(plan.space.defaults())
    return [plan.space.suggest(study.ask()) for _ in range(plan.settings.trials or 0)]


def for_keras(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a trial by the names of `keras_tuner_search.py`."""
    return {
        "blocks": len(values["model.filters"]),
        "pool": values["model.pool"],
        "dense": values["model.dense"][0],
        "optimizer": values["train.optimizer.name"],
        "rate": values["train.optimizer.lr"],
    }


def write_pictures(dataset: Dataset, plan: Plan, path: Path) -> int:
    """The training and validation pictures as arrays; how many are learnt."""
    split = parts(dataset, plan)[0]
    labels = dataset.labels()
    arrays: dict[str, Any] = {}
    for part in ("train", "val"):
        rows = split.indices(part)
        arrays |= {part: dataset.read(rows), f"{part}_labels": labels[rows]}
    np.savez(path, **arrays)
    return len(arrays["train"])


def rows(work: Path, contest: Contest, rounds: int, workers: int) -> Iterator[Row]:
    """All contenders in turns, then the medians of each."""
    place = work / "-".join(
        ["keras", Path(contest.dataset).name, f"{contest.trials}x{contest.epochs}"]
        + [contest.precision, str(contest.batch), str(contest.seed)]
        + (["augmented"] if contest.augmented else [])
    )
    place.mkdir(parents=True, exist_ok=True)
    plan, pictures, listed = contest.plan, place / "pictures.npz", place / "trials.json"
    drawn = draw(plan)
    images = write_pictures(Dataset.load(contest.dataset), plan, pictures)
    listed.write_text(json.dumps([for_keras(values) for values in drawn]))
    keras = [
        contest.python, str(CHILD), str(pictures), str(listed), "--epochs", str(contest.epochs),
        "--batch", str(contest.batch), "--precision", contest.precision, "--seed",
        str(contest.seed), *(["--augment"] if contest.augmented else []),
    ]  # fmt: skip
    check(contest.python)
    contenders: dict[str, tuple[int, Callable[[Path], Row]]] = {
        f"lorgnette, {workers} workers": (
            workers, lambda out: lorgnette(contest, drawn, workers, out)
        ),
        "lorgnette, 1 worker": (1, lambda out: lorgnette(contest, drawn, 1, out)),
        "keras-tuner": (1, lambda out: keras_tuner(keras, out)),
        f"keras-tuner, {workers} workers": (
            workers, lambda out: keras_tuner_workers(keras, workers, out)
        ),
    }  # fmt: skip
    found: list[Row] = []
    for number in range(rounds):
        names = list(contenders)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            count, measure = contenders[name]
            out = place / f"{name.replace(', ', '-').replace(' ', '-')}-{number + 1}"

            def measured(out: Path = out, measure: Callable[[Path], Row] = measure) -> Row:
                shutil.rmtree(out, ignore_errors=True)
                return measure(out)

            row = remembered(out.with_suffix(".json"), measured)
            row = row | {
                "contender": name,
                "round": number + 1,
                "workers": count,
                "trials": contest.trials,
                "epochs": contest.epochs,
                "images": images,
                "precision": contest.precision,
                "augmented": "yes" if contest.augmented else "no",
            }
            found.append(with_rates(row))
            yield found[-1]
    for name in contenders:
        yield summary(name, found, f"lorgnette, {workers} workers")


def check(python: str) -> None:
    """Make sure that the other side can begin, and that its libraries are in the page cache."""
    words = [python, "-c", "import keras_tuner, tensorboard, tensorflow"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        raise SystemExit(
            "The Python of the other side needs TensorFlow, KerasTuner and TensorBoard: "
            "pip install 'lorgnette[benchmarks]' there, and give it with --python."
        )


def with_rates(row: Row) -> Row:
    """The row with trials an hour."""
    trials = number(row["trials"])
    return row | {
        "trials_per_hour": round(3600 * trials / number(row["seconds"]), 1),
        "search_trials_per_hour": round(3600 * trials / number(row["search_seconds"]), 1),
    }


def summary(name: str, found: Sequence[Row], ours: str) -> Row:
    """Medians over rounds; the ratio is our rate to this one's in the same round."""
    own = [row for row in found if row["contender"] == name]
    pairs = [
        (row, other)
        for row in own
        for other in found
        if other["contender"] == ours and other["round"] == row["round"]
    ]

    def middle(column: str, digits: int) -> float:
        return round(median(number(row[column]) for row in own), digits)

    return own[0] | {
        "round": "median",
        "seconds": middle("seconds", 1),
        "search_seconds": middle("search_seconds", 1),
        "trials_per_hour": middle("trials_per_hour", 1),
        "search_trials_per_hour": middle("search_trials_per_hour", 1),
        "best": middle("best", 4),
        "mean": middle("mean", 4),
        "ratio": round(median(number(b["trials_per_hour"]) / number(a["trials_per_hour"])
                              for a, b in pairs), 2),
        "search_ratio": round(median(number(b["search_trials_per_hour"])
                                     / number(a["search_trials_per_hour"]) for a, b in pairs), 2),
    }  # fmt: skip


def number(cell: Cell) -> float:
    """A cell that holds a number."""
    return float(cell or 0)


def lorgnette(contest: Contest, drawn: Sequence[dict[str, Any]], workers: int, out: Path) -> Row:
    """One search with `lorgnette tune`."""
    told = [word for setting in contest.settings for word in ("--set", setting)]
    seconds, _ = timed(
        command(
            "tune", contest.dataset, "--recipe", "dascenzo-cnn", *told, "--sampler", "random",
            "--trials", contest.trials, "--epochs", contest.epochs, "--seed", contest.seed,
            "--workers", workers, "--out", out, "--json", "--quiet",
        )
    )  # fmt: skip
    trials = trials_of(StudyDir.load(out))
    if [trial.user_attrs["values"] for trial in trials] != list(drawn):
        raise SystemExit(f"The trials of {out} are not those that KerasTuner is given.")
    values = [trial.value or 0.0 for trial in trials]
    began = min(trial.user_attrs["started"] for trial in trials)
    ended = max(trial.user_attrs["finished"] for trial in trials)
    return {
        "seconds": round(seconds, 2),
        "search_seconds": round(ended - began, 2),
        "best": round(max(values), 4),
        "mean": round(mean(values), 4),
    }


def keras_tuner(words: Sequence[str], out: Path) -> Row:
    """One search with KerasTuner, in one process with all threads."""
    seconds, facts = timed([*words, "--out", str(out)])
    return {"search_seconds": round(facts["ended"] - facts["began"], 2)} | told(out, seconds, facts)


def keras_tuner_workers(words: Sequence[str], workers: int, out: Path) -> Row:
    """One search with KerasTuner's own chief and workers, the processors shared among them."""
    out.mkdir(parents=True)
    threads = str(max(len(os.sched_getaffinity(0)) // workers, 1))
    shared = {
        **os.environ,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(free_port()),
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
    }
    start = time.perf_counter()
    processes: list[subprocess.Popen[str]] = []
    try:
        for name in ("chief", *(f"tuner{i}" for i in range(workers))):
            with (out / f"{name}.log").open("w") as log:
                processes.append(
                    subprocess.Popen(
                        [*words, "--out", str(out)],
                        env={**shared, "KERASTUNER_TUNER_ID": name},
                        stdout=subprocess.PIPE if name != "chief" else log,
                        stderr=log,
                        text=True,
                    )
                )
        facts = []
        for process in processes[1:]:
            said, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"KerasTuner failed; see the logs in {out}.")
            facts.append(json.loads(said.splitlines()[-1]))
        # The chief stays up to 20 seconds longer: that is not counted.
        seconds = time.perf_counter() - start
    finally:
        for process in processes:
            process.kill()
            process.wait()
    began, ended = min(each["began"] for each in facts), max(each["ended"] for each in facts)
    return {"search_seconds": round(ended - began, 2)} | told(out, seconds, facts[0])


def told(out: Path, seconds: float, facts: dict[str, Any]) -> Row:
    """The row of a finished search, from what KerasTuner wrote of each trial."""
    trials = [json.loads(path.read_text()) for path in out.glob("search/trial_*/trial.json")]
    values = [trial["score"] for trial in trials]
    if any(trial["status"] != "COMPLETED" for trial in trials):
        raise SystemExit(f"Not every trial of {out} is complete.")
    versions = {f"version {name}": number for name, number in facts["versions"].items()}
    return {
        "seconds": round(seconds, 2),
        "best": rounded(max(values)),
        "mean": rounded(mean(values)),
        "count": len(values),
        "version python": facts["python"],
        **versions,
    }
