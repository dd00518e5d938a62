"""How well wrong labels are found, mended and paid back, where the truth is known.

    python benchmarks/audit.py portraits
    python benchmarks/audit.py cartoons --data FOLDER
    python benchmarks/audit.py cmu --data FOLDER
    python benchmarks/audit.py views

Portraits: 2,000 that are drawn, with picture-dependent, symmetric and class-conditional noise.
Cartoons: the real set cartoon-glasses, with symmetric noise injected. One row for each kind, rate
and seed; after each the CSV is written anew, so that an interrupted benchmark leaves what it has.
The audit sees given labels only. Beside it stands cleanlab's recommended call
(`find_label_issues`, ranked by self-confidence) on the same probabilities, those that the audit
ends with, and on those of its first round, an ordinary cross-validation. Trained on each: labels
as given, as mended by the rules of `run --audit` (on all items), with what cleanlab flags left out,
and the true ones; accuracy is against the truth of pictures that nothing was trained on.

CMU faces: the published label `sunglasses` as if it meant glasses; 111 faces with ordinary glasses
are called without. How many are found in how many reviewed items, subjects kept whole.

Views: 3,000 portraits of the glasses layout with 10% picture-dependent noise, judged by their
pixels, by their vectors, and by both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

import lorgnette
from lorgnette import resolve
from lorgnette.audit import audit as verb
from lorgnette.audit.rules import apply, parse
from lorgnette.dataset.decisions import Wanted
from lorgnette.dataset.store import Dataset
from lorgnette.engines.local import LocalEngine
from lorgnette.predictions import Predictions
from lorgnette.rundir import Run
from lorgnette.sources.portraits.latent import vectors
from lorgnette.sources.portraits.noise import NoiseKind, label_noise
from lorgnette.sources.portraits.wearing import wearing
from lorgnette.sources.portraits.write import write_portraits
from record import RESULTS, Cell, save

RATES = (0.1, 0.2, 0.05, 0.3)
KINDS: tuple[NoiseKind, ...] = ("picture", "symmetric", "class")
THRESHOLDS = (0.5, 0.9, 0.95)
RULES = ("suspicion >= 0.9", "undecidable: suspicion >= 0.5 and suspicion < 0.9")
CLASSES = ("glasses", "no_glasses")
COLUMNS = (
    "data", "noise", "rate", "seed", "labels", "wrong", "estimate", "low", "high", "cleanlab_rate",
    "average_precision", "cleanlab_ap", "cleanlab_ap_first",
    *(f"{what}_{threshold}" for threshold in THRESHOLDS for what in ("precision", "recall")),
    "cleanlab_precision", "cleanlab_recall", "cleanlab_precision_first", "cleanlab_recall_first",
    "residual", "left_out", "cleanlab_residual",
    "accuracy_given", "accuracy_audited", "accuracy_cleanlab", "accuracy_true",
    "expected_at_0.9", "observed_at_0.9", "seconds", "cleanlab_seconds",
)  # fmt: skip

Bools = NDArray[np.bool_]


@dataclass
class Pictures:
    """Files with their true labels, and others to judge by.

    Attributes:
        paths: (N,).
        truth: bool (N,), glasses.
        known: bool (N,), whether there is a truth.
        yardstick: a prepared dataset with true labels.
        settings: of the network's training, as `KEY=VALUE`.
        size: edge in pixels.
    """

    paths: list[str]
    truth: Bools
    known: Bools
    yardstick: str
    settings: list[str]
    size: int


def table(path: Path, pictures: Pictures, labels: Bools) -> lorgnette.SourceConfig:
    """A CSV source of the pictures with labels."""
    names = np.where(labels, *CLASSES)
    pc.write_csv(pa.table({"path": pictures.paths, "label": names}), path)
    return lorgnette.SourceConfig(location=str(path), images="/")


def measure(
    work: Path, pictures: Pictures, given: Bools, seed: int, true_accuracy: float | None
) -> tuple[dict[str, Cell], float]:
    """One row, and the accuracy of a training on true labels."""
    prepare = resolve.load(overrides={"prepare.size": (pictures.size,)}).prepare
    source = table(work / "given.csv", pictures, given)
    dataset = lorgnette.prepare(source, work / "dataset", prepare)
    config = resolve.load(settings=[*pictures.settings, f"seed={seed}"])
    run = Run(work / "audit")
    start = time.perf_counter()
    facts = verb.audit(dataset, config, run)
    seconds = time.perf_counter() - start
    found = pq.read_table(work / "audit" / "suspicion.parquet")
    order = {path: place for place, path in enumerate(pictures.paths)}
    places = np.array([order["/" + id_.lstrip("/")] for id_ in found["id"].to_pylist()])
    known, wrong = pictures.known[places], (given != pictures.truth)[places]
    wrong &= known
    suspicion = found["suspicion"].to_numpy()
    rows: dict[str, Cell] = {
        "labels": len(known),
        "wrong": round(float(wrong[known].mean()), 4),
        "estimate": facts["noise"]["rate"]["value"],
        "low": facts["noise"]["rate"]["low"],
        "high": facts["noise"]["rate"]["high"],
        "average_precision": round(average_precision_score(wrong[known], suspicion[known]), 4),
        "seconds": round(seconds, 1),
    }
    for threshold in THRESHOLDS:
        flagged = (suspicion >= threshold) & known
        rows[f"precision_{threshold}"] = ratio(wrong & flagged, flagged)
        rows[f"recall_{threshold}"] = ratio(wrong & flagged, wrong)
    near = (suspicion >= 0.85) & (suspicion < 0.95) & known
    rows["expected_at_0.9"] = round(float(suspicion[near].mean()), 3) if near.any() else None
    rows["observed_at_0.9"] = ratio(wrong & near, near)
    final = Predictions.load(run.storage, "predictions/out-of-fold.parquet")
    labels = dataset.labels("given")
    start = time.perf_counter()
    issues, rate = cleanlab(final.probabilities.astype(np.float64), labels)
    rows["cleanlab_seconds"] = round(time.perf_counter() - start, 2)
    rows["cleanlab_rate"] = round(rate, 4)
    first = first_round(dataset, work / "audit", config)
    early, _ = cleanlab(first, labels)
    for name, flags, probabilities in (("", issues, final.probabilities), ("_first", early, first)):
        quality = probabilities[np.arange(len(labels)), labels]
        rows[f"cleanlab_ap{name}"] = round(
            average_precision_score(wrong[known], -quality[known]), 4
        )
        rows[f"cleanlab_precision{name}"] = ratio(wrong & flags, flags & known)
        rows[f"cleanlab_recall{name}"] = ratio(wrong & flags, wrong)
    rows["cleanlab_residual"] = ratio(wrong & ~issues, known & ~issues)
    beside = Path(shutil.copytree(work / "dataset", work / "cleanlab"))
    for rule in RULES:
        apply(parse(rule), found, dataset.ledger, "benchmark")
    mended = dataset.labels()
    learnt = known & (mended >= 0)
    rows["left_out"] = ratio(known & (mended < 0), known)
    rows["residual"] = ratio(((mended == 0) != pictures.truth[places]) & learnt, learnt)
    other = Dataset.load(str(beside))
    ids = other.rows(["id"])["id"].to_pylist()
    other.ledger.append(
        [
            Wanted(ids[i], "drop", None, "cleanlab", "benchmark", "rule")
            for i in np.flatnonzero(issues)
        ]
    )
    rows["accuracy_given"] = trained(dataset, pictures, work / "g", config, "given")
    rows["accuracy_audited"] = trained(dataset, pictures, work / "a", config, "decided")
    rows["accuracy_cleanlab"] = trained(other, pictures, work / "c", config, "decided")
    if true_accuracy is None:
        keep = np.flatnonzero(pictures.known)
        certain = Pictures(
            [pictures.paths[i] for i in keep], pictures.truth[keep], pictures.known[keep],
            pictures.yardstick, pictures.settings, pictures.size,
        )  # fmt: skip
        source = table(work / "true.csv", certain, certain.truth)
        clean = lorgnette.prepare(source, work / "clean", prepare)
        true_accuracy = trained(clean, pictures, work / "t", config, "given")
    rows["accuracy_true"] = true_accuracy
    return rows, true_accuracy


def ratio(part: Bools, whole: Bools) -> float | None:
    """The share of a part; None of nothing."""
    return round(float(part.sum() / whole.sum()), 4) if whole.any() else None


def cleanlab(probabilities: NDArray[Any], labels: NDArray[np.int32]) -> tuple[Bools, float]:
    """What its recommended call flags, (N,), and its estimate of the noise rate."""
    from cleanlab.filter import find_label_issues

    from lorgnette.audit.noise import confident_learning

    ranked = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    flags = np.zeros(len(labels), bool)
    flags[ranked] = True
    return flags, confident_learning(probabilities, labels)[0]


def first_round(dataset: Dataset, audit: Path, config: lorgnette.Config) -> NDArray[np.float64]:
    """The probabilities of the first round: an ordinary cross-validation on the given labels."""
    from lorgnette.audit.sample import Fold, Round, gather
    from lorgnette.storage import Storage

    pool = np.load(audit / "rounds/0/pool.npy")
    labels = np.load(audit / "rounds/0/labels.npy")
    divisions = json.loads((audit / "audit.json").read_text())["rounds"][0]["seeds"]
    plan = Round(0, config.audit.folds, divisions, pool, labels)
    jobs = [Fold(d, f) for d in range(plan.divisions) for f in range(plan.folds)]
    return gather(dataset, config, Storage.at(audit), plan, jobs)


def trained(
    dataset: Dataset, pictures: Pictures, out: Path, config: lorgnette.Config, labels: str
) -> float:
    """The accuracy against the truth of a network trained on some labels."""
    told = config.model_copy(update={"train": config.train.model_copy(update={"labels": labels})})
    run = lorgnette.train(dataset, out, told)
    found = lorgnette.evaluate(run, Dataset.load(pictures.yardstick))
    return round(float(next(iter(found.values()))["accuracy"]["value"]), 4)


def portraits(
    work: Path, n: int, epochs: int | None, rates: Sequence[float], kinds: Sequence[NoiseKind]
) -> Iterator[dict[str, Cell]]:
    """Rows for kinds of noise on drawn portraits."""
    seed, size = 0, 64
    drawn, apart = work / "portraits", work / "apart"
    engine = LocalEngine()
    for place, number, other in ((drawn, n, seed), (apart, 2000, 99)):
        write_portraits(str(place), layout="folders", n=number, size=128, seed=other, engine=engine)
    truth = wearing(vectors(seed, 0, n))
    names = pq.read_table(drawn / "truth.parquet")
    paths = [str(drawn / path) for path in names["path"].to_pylist()]
    rows = np.array(names["id"].to_pylist(), np.int64) - 1
    prepare = resolve.load(overrides={"prepare.size": (size,)}).prepare
    lorgnette.prepare(apart, work / "yardstick", prepare)
    pictures = Pictures(
        paths, truth.glasses[rows], ~truth.undecidable[rows], str(work / "yardstick"),
        [f"audit.epochs={epochs}"] if epochs else [], size,
    )  # fmt: skip
    accuracy: float | None = None
    for rate in rates:
        for kind in kinds:
            if kind == "class" and rate >= 0.25:
                continue  # beyond it most labels of one class would be wrong
            given = label_noise(rate, kind).given(seed, 0, truth)[rows]
            with tempfile.TemporaryDirectory(dir=work) as folder:
                found, accuracy = measure(Path(folder), pictures, given, seed, accuracy)
            yield {"data": f"{n:,} portraits", "noise": kind, "rate": rate, "seed": seed, **found}


def cartoons(
    work: Path, data: Path, seeds: Sequence[int], rates: Sequence[float], settings: list[str]
) -> Iterator[dict[str, Cell]]:
    """Rows for noise injected into the real set, 1,200 pictures, judged on 800 others."""
    size = 32
    paths = sorted(map(str, (data / "cartoon-glasses").glob("*/*.png")))
    truth = np.array([Path(path).parent.name == CLASSES[0] for path in paths])
    prepare = resolve.load(overrides={"prepare.size": (size,)}).prepare
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(paths))
        chosen, rest = order[:1200], order[1200:]
        yardstick = Pictures(
            [paths[i] for i in rest], truth[rest], np.ones(len(rest), bool), "", [], size
        )
        place = work / f"yardstick{seed}"
        lorgnette.prepare(table(work / f"rest{seed}.csv", yardstick, truth[rest]), place, prepare)
        pictures = Pictures(
            [paths[i] for i in chosen], truth[chosen], np.ones(len(chosen), bool), str(place),
            settings, size,
        )  # fmt: skip
        coins = rng.random(len(chosen))
        accuracy: float | None = None
        for rate in rates:
            given = truth[chosen] ^ (coins < rate)
            with tempfile.TemporaryDirectory(dir=work) as folder:
                found, accuracy = measure(Path(folder), pictures, given, seed, accuracy)
            yield {
                "data": "cartoon-glasses",
                "noise": "symmetric",
                "rate": rate,
                "seed": seed,
                **found,
            }


CMU_SEEDS = (0,)
CMU_SETTINGS = ["audit.hold_out=false", "audit.epochs=20"]
CMU_COLUMNS = ("way", "seed", "wrong", "looked_at", "found", "average_precision", "seconds")


def cmu(work: Path, data: Path) -> Iterator[dict[str, Cell]]:
    """How many of the mislabelled faces are among the most suspicious, subjects kept whole."""
    labels = pc.read_csv(data / "cmu-faces" / "labels.csv")
    source = lorgnette.SourceConfig(
        location=str(data / "cmu-faces" / "labels.csv"),
        images=str(data / "cmu-faces" / "images"),
        path=labels.column_names[0],
        label="sunglasses",
        group="subject",
    )
    settings = resolve.load(overrides={"prepare.size": (64,), "prepare.color": "gray"})
    dataset = lorgnette.prepare(source, work / "cmu", settings.prepare)
    paths = labels.column(0).to_pylist()
    glasses = dict(zip(paths, map(str, labels["glasses"].to_pylist()), strict=True))
    for seed in CMU_SEEDS:
        run = Run(work / f"cmu-audit{seed}")
        start = time.perf_counter()
        config = resolve.load(settings=[f"seed={seed}", *CMU_SETTINGS])
        verb.audit(dataset, config, run)
        seconds = time.perf_counter() - start
        found = pq.read_table(run.root / "suspicion.parquet")
        wrong = np.array(
            [
                glasses[id_] != given
                for id_, given in zip(
                    found["id"].to_pylist(), found["given"].to_pylist(), strict=True
                )
            ]
        )
        suspicion = found["suspicion"].to_numpy()
        ranked = wrong[np.argsort(-suspicion, kind="stable")]
        for looked in (50, 100, 111, 150, 200, 300, 400):
            yield {
                "way": "one audit",
                "seed": seed,
                "wrong": int(wrong.sum()),
                "looked_at": looked,
                "found": int(ranked[:looked].sum()),
                "average_precision": round(average_precision_score(wrong, suspicion), 4),
                "seconds": round(seconds, 1),
            }
    yield from again(work, dataset, glasses)


def again(
    work: Path, dataset: Dataset, glasses: dict[str, str], step: int = 100, times: int = 3
) -> Iterator[dict[str, Cell]]:
    """A person settles the most suspicious labels, the audit learns from it, and so on."""
    run = Run(work / "cmu-again")
    config = resolve.load(settings=CMU_SETTINGS)
    start, looked, right = time.perf_counter(), 0, 0
    for _ in range(times):
        dataset = Dataset.load(dataset.location)
        verb.audit(dataset, config, run)
        found = pq.read_table(run.root / "suspicion.parquet").to_pylist()
        settled = dataset.ledger.standings()
        rows = sorted(
            (row for row in found if row["id"] not in settled), key=lambda row: -row["suspicion"]
        )[:step]
        wanted = []
        for row in rows:
            truth = glasses[row["id"]]
            right += truth != row["given"]
            action = "confirm" if truth == row["given"] else "relabel"
            wanted.append(Wanted(row["id"], action, truth, "", "benchmark", "person"))
        dataset.ledger.append(wanted)
        looked += len(rows)
        yield {
            "way": f"an audit every {step} decisions",
            "seed": 0,
            "wrong": sum(row["given"] != glasses[row["id"]] for row in found),
            "looked_at": looked,
            "found": right,
            "average_precision": None,
            "seconds": round(time.perf_counter() - start, 1),
        }


VIEW_COLUMNS = ("view", "weight", "average_precision", "precision_0.9", "recall_0.9", "seconds")


def views(work: Path) -> Iterator[dict[str, Cell]]:
    """One row each for pixels, vectors, and both."""
    drawn = work / "portraits"
    write_portraits(
        str(drawn), layout="glasses", n=3000, size=128, label_noise=0.1, engine=LocalEngine()
    )
    truth = {str(row["id"]): row for row in pq.read_table(drawn / "truth.parquet").to_pylist()}
    source = lorgnette.SourceConfig(location=str(drawn), kind="kaggle")
    told = source.model_copy(update={"features": "v1..v512"})
    pixels = lorgnette.prepare(source, work / "pixels")
    numbers = lorgnette.prepare(told, work / "numbers")
    for name, dataset, others in (
        ("pixels", pixels, []),
        ("vectors", numbers, []),
        ("pixels and vectors", pixels, [numbers]),
    ):
        run = Run(work / f"audit of {name}")
        start = time.perf_counter()
        facts = verb.audit(dataset, resolve.load(), run, views=others)
        seconds = time.perf_counter() - start
        rows = pq.read_table(run.root / "suspicion.parquet").to_pylist()
        rows = [row for row in rows if row["given"] and not truth[row["id"]]["undecidable"]]
        wrong = np.array([row["given"] != truth[row["id"]]["true"] for row in rows])
        suspicion = np.array([row["suspicion"] for row in rows])
        flagged = suspicion >= 0.9
        yield {
            "view": name,
            "weight": facts["views"][-1],
            "average_precision": round(average_precision_score(wrong, suspicion), 4),
            "precision_0.9": ratio(wrong & flagged, flagged),
            "recall_0.9": ratio(wrong & flagged, wrong),
            "seconds": round(seconds, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("portraits", "cartoons", "cmu", "views"))
    parser.add_argument("--data", type=Path, help="the folder of real data")
    parser.add_argument("--n", type=int, default=2000, help="portraits")
    parser.add_argument("--seed", type=int, action="append", help="cartoons: default 0, 1 and 2")
    parser.add_argument(
        "--rate", type=float, action="append", help="not cmu, views: default all four"
    )
    parser.add_argument(
        "--noise", choices=KINDS, action="append", help="portraits: default all three"
    )
    parser.add_argument("--divisions", type=int, help="cartoons: of each round")
    parser.add_argument("--epochs", type=int, help="portraits: of the networks that judge")
    given = parser.parse_args()
    if given.what in ("cartoons", "cmu") and given.data is None:
        parser.error(f"{given.what} are real data: say where they are with --data FOLDER")
    columns = {"cmu": CMU_COLUMNS, "views": VIEW_COLUMNS}.get(given.what, COLUMNS)
    rows: list[list[Cell]] = []
    name = f"{given.what}_epochs{given.epochs}" if given.epochs else given.what
    name += f"_divisions{given.divisions}" if given.divisions else ""
    name += "".join(f"_seed{seed}" for seed in given.seed or ())
    name += "".join(f"_rate{rate:g}" for rate in given.rate or ())
    name += "".join(f"_{kind}" for kind in given.noise or ())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if given.what == "portraits":
            found = portraits(
                work, given.n, given.epochs, given.rate or RATES, given.noise or KINDS
            )
        elif given.what == "views":
            found = views(work)
        elif given.what == "cartoons":
            told = [f"audit.divisions={given.divisions}"] if given.divisions else []
            seeds, rates = given.seed or (0, 1, 2), given.rate or RATES
            found = cartoons(work, given.data.resolve(), seeds, rates, told)
        else:
            found = cmu(work, given.data.resolve())
        for row in found:
            rows.append([row.get(name) for name in columns])
            save(
                RESULTS / f"audit_{name}.csv",
                columns,
                rows,
                packages=("cleanlab", "scikit-learn"),
            )
            print(row, flush=True)


if __name__ == "__main__":
    main()
