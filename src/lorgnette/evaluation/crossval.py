"""Cross-validation: every labelled item is predicted by a model that has not seen it.

Each fold is a run of its own in `folds/REPEAT-FOLD`, with checkpoints, metrics, model and
predictions, so that a killed cross-validation continues inside the folds that were under way. Folds
go through the engine, one by one or several as one batched computation.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lorgnette.config import Config
from lorgnette.dataset.ledger import difference
from lorgnette.dataset.split import Split
from lorgnette.dataset.store import Dataset
from lorgnette.engines import open_engine
from lorgnette.engines.base import Engine, Task
from lorgnette.errors import ConfigError, EngineError, ModelError, nearest
from lorgnette.evaluation.folds import folds
from lorgnette.evaluation.foldtable import MEASURES, METHOD, summarise
from lorgnette.predictions import Predictions
from lorgnette.progress import console, progress, say
from lorgnette.resolve import parse
from lorgnette.rundir import DECISIONS, Run, changed

RESULT = "crossval.json"
OUT_OF_FOLD = "predictions/out-of-fold.parquet"
FOLD_RESULT = "fold.json"
FORMAT = 1
TOGETHER = ("auto", "yes", "no")
FILES = (RESULT, "crossval.html")

Together = Literal["auto", "yes", "no"]


@dataclass(frozen=True, slots=True)
class Job:
    """Some folds of one repeat, for one worker.

    Attributes:
        repeat: from 0.
        folds: from 0; several train together.
    """

    repeat: int
    folds: tuple[int, ...]


def crossvalidate(
    dataset: Dataset,
    config: Config,
    run: Run,
    engine: Engine | None = None,
    *,
    k: int = 10,
    repeats: int = 1,
    together: Together = "auto",
) -> dict[str, Any]:
    """Train and judge k folds, once or several times, and leave a run.

    The caller holds the lock of the run's directory.

    Args:
        dataset: pixels or vectors, and labels.
        config: the network and its training; `split` says how large validation parts are.
        run: empty, or holding the same cross-validation, unfinished or finished.
        engine: where folds run; `fold_engine(config)` if not given.
        k: folds; each is tested on 1 / k of the items.
        repeats: how often all is divided anew, with other seeds.
        together: train the folds of a repeat as one batched computation (`yes`), each by itself
            (`no`), or whichever is faster (`auto`).

    Returns:
        The facts of `crossval.json`: format, k, repeats, seed, together, dataset, classes, groups,
        confidence, seconds; `folds`: of each repeat, fold, seed, epochs, best_epoch, stopped,
        seconds, and train, validation, test (accuracy, loss, roc_auc, n); `summary`, see
        `foldtable.summarise`; `interval`, how it is made; `pooled`: out-of-fold predictions of all
        items (the mean over repeats), see `metrics.evaluate`.

    Raises:
        ConfigError: k, repeats or together is not allowed, or the folds cannot train together.
        SplitError: the items cannot be divided into so many folds.
        ModelError: the directory holds something else, or decisions have changed labels since what
            is in it was begun.
        EngineError: a fold failed on every attempt; the others are kept.
    """
    _check_arguments(repeats, together)
    started = time.perf_counter()
    labels = dataset.labels(config.train.labels)
    splits = [
        folds(dataset, k, config.split, config.seed, repeat, config.train.labels)
        for repeat in range(repeats)
    ]
    engine = engine or fold_engine(config)
    decided = difference(dataset.labels("given"), labels)
    plan = _begin(dataset, config, run, engine, k, repeats, together, decided)
    if found := run.read(RESULT):
        say(f"The cross-validation in {run.root} was finished before.")
        if plan.get(DECISIONS, "") != decided:
            say(f"Decisions on {dataset.location} have changed labels since.")
        return found
    jobs = _jobs(run, plan)
    count = sum(len(job.folds) for job in jobs)
    if count < k * repeats:
        say(f"{k * repeats - count} of {k * repeats} folds were finished before.")
    task: Task[Job, int] = Task.of(
        train_folds,
        dataset=dataset.location,
        out=str(run.root),
        k=k,
        config=config.model_dump(mode="json", exclude_none=True),
        memory_gib=plan["memory_gib"],
        decided=decided,
    )
    failures = []
    with progress("Cross-validating", k * repeats, "folds", done=k * repeats - count) as meter:
        for outcome in engine.map(task, jobs) if jobs else ():
            if outcome.error is not None:
                failures.append(outcome)
            meter.advance(len(outcome.item.folds))
    if failures:
        worst = failures[0]
        names = ", ".join(f"{worst.item.repeat}-{fold}" for fold in worst.item.folds)
        raise EngineError(
            f"{len(failures)} of {len(jobs)} pieces of work failed, folds/{names} after "
            f"{worst.attempts} attempts: {worst.error} The folds that ended well are kept: mend "
            "the cause and start the same command again."
        )
    return _gather(dataset, config, run, splits, plan, time.perf_counter() - started)


def train_folds(
    job: Job,
    *,
    dataset: str,
    out: str,
    k: int,
    config: dict[str, Any],
    memory_gib: float,
    decided: str = "",
) -> int:
    """Train the folds of a job, each in its own run, and judge them; their number.

    All folds learn one set of labels: `decided` is the digest of what decisions changed in them.
    """
    from lorgnette.training.loop import train
    from lorgnette.training.together import train_together

    opened = Dataset.load(dataset)
    given = parse(config, "cross-validation")
    which = given.train.labels
    if difference(opened.labels("given"), opened.labels(which)) != decided:
        raise ModelError(changed(out, opened))
    splits = folds(opened, k, given.split, given.seed, job.repeat, which)
    chosen = [splits[fold] for fold in job.folds]
    runs, configs = [], []
    for fold, split in zip(job.folds, chosen, strict=True):
        own = given.model_copy(update={"seed": fold_seed(given.seed, job.repeat, fold)})
        run = Run(f"{out}/{fold_folder(job.repeat, fold)}")
        run.begin(own, dataset)
        split.save(run.storage, "split.parquet", opened)
        # What may be held in memory depends on the moment and is none of the run's settings.
        limited = own.train.model_copy(update={"memory_gib": own.train.memory_gib or memory_gib})
        configs.append(own.model_copy(update={"train": limited}))
        runs.append(run)
    with quiet():
        open_ones = [i for i, run in enumerate(runs) if not run.is_trained]
        if open_ones and len(job.folds) > 1:
            train_together(opened, chosen, configs, runs)
        elif open_ones:
            train(opened, chosen[0], configs[0], runs[0])
        for split, own, run in zip(chosen, configs, runs, strict=True):
            if not run.read(FOLD_RESULT):
                run.write(FOLD_RESULT, _judge_fold(opened, split, own, run))
    return len(runs)


def _judge_fold(dataset: Dataset, split: Split, config: Config, run: Run) -> dict[str, Any]:
    """The figures of a trained fold; predictions and full evaluations stay in its run."""
    from lorgnette.devices import choose
    from lorgnette.evaluation.evaluate import PARTS, evaluate, judge, predict_items
    from lorgnette.model import Model

    model = Model.load(run.storage, choose(config.train.device, config.train.precision))
    labels = dataset.labels(config.train.labels)
    learnt = predict_items(model, dataset, split.indices("train"), labels)
    found = {"train": judge(learnt, config.evaluate), **evaluate(model, dataset, split, run)}
    training = run.read("run.json")["training"]
    return {
        "seed": config.seed,
        "epochs": training["epochs"],
        "best_epoch": training["best_epoch"],
        "stopped": training["stopped"],
        "parameters": training["parameters"],
        "seconds": round(sum(line["seconds"] for line in run.metrics()), 3),
        **{
            part: {name: found[part][name]["value"] for name in MEASURES} | {"n": found[part]["n"]}
            for part in ("train", *PARTS)
        },
    }


def fold_folder(repeat: int, fold: int) -> str:
    """Where the run of a fold is, inside the run."""
    return f"folds/{repeat}-{fold}"


def fold_seed(seed: int, repeat: int, fold: int) -> int:
    """The seed of a fold's initial weights and order: each fold has its own."""
    return int(np.random.SeedSequence([seed, repeat, fold]).generate_state(1)[0] >> 1)


def fold_engine(config: Config) -> Engine:
    """The engine of a configuration; with a GPU one worker, unless told otherwise."""
    from lorgnette.devices import choose

    on_cpu = choose(config.train.device, config.train.precision).torch.type == "cpu"
    if on_cpu or config.engine.workers or config.engine.name != "local":
        return open_engine(config.engine)
    return open_engine(config.engine.model_copy(update={"workers": 1}))


def clear(run: Run) -> None:
    """Remove what a cross-validation leaves, and nothing else that may lie beside it."""
    for folder in (run.root / "folds").glob("*-*"):
        fold = Run(folder)
        fold.clear()
        fold.storage.remove(FOLD_RESULT)
        for empty in (folder / "checkpoints", folder / "predictions", folder):
            with contextlib.suppress(OSError):
                empty.rmdir()
    for name in FILES:
        run.storage.remove(name)
    run.clear()


def _check_arguments(repeats: int, together: str) -> None:
    if repeats < 1:
        raise ConfigError(f"A cross-validation is done once or more, got --repeat {repeats}.")
    if together not in TOGETHER:
        raise ConfigError(
            f"--together is auto, yes or no, got '{together}': {nearest(together, TOGETHER)}"
        )


def _begin(
    dataset: Dataset,
    config: Config,
    run: Run,
    engine: Engine,
    k: int,
    repeats: int,
    together: Together,
    decided: str,
) -> dict[str, Any]:
    """Note what is about to be done, or check that it is what was begun here before."""
    begun = bool(run.read("run.json"))
    known = run.read("run.json").get("crossval")
    if begun and known is None:
        raise ModelError(
            f"{run.root} holds a run that is no cross-validation: choose another --out, or start "
            "again with --overwrite."
        )
    run.begin(config, dataset.location)
    if known is not None:
        wanted = {"k": k, "repeats": repeats}
        if together != "auto":
            wanted["together"] = together == "yes"
        differ = [f"{key} ({known[key]} before, {value} now)" for key, value in wanted.items()
                  if known[key] != value]  # fmt: skip
        if differ:
            raise ModelError(
                f"{run.root} holds a cross-validation with other settings; what differs: "
                f"{'; '.join(differ)}. Choose another --out, or start again with --overwrite."
            )
        if known.get(DECISIONS, "") != decided and not run.read(RESULT):
            raise ModelError(changed(str(run.root), dataset))
        plan: dict[str, Any] = known
        return plan
    batched = _together(dataset, config, together)
    plan = {
        "k": k,
        "repeats": repeats,
        "together": batched,
        # Each repeat in so many pieces that every worker has one, of two folds or more. Noted, as
        # dropout draws for all folds of a piece at once.
        "pieces": min(-(-engine.workers // repeats), max(k // 2, 1)) if batched else k,
        "memory_gib": _memory_share(config, engine),
        **({DECISIONS: decided} if decided else {}),
    }
    run.note(crossval=plan)
    return plan


def _together(dataset: Dataset, config: Config, together: Together) -> bool:
    from lorgnette.training.batchable import obstacle, pays

    if together == "no":
        return False
    why_not = obstacle(dataset, config)
    if together == "yes" and why_not:
        raise ConfigError(f"These folds cannot train together, for {why_not}: use --together auto.")
    return why_not is None and (together == "yes" or pays(dataset, config))


def _memory_share(config: Config, engine: Engine) -> float:
    """GiB of items that each worker may hold: noted, so that a continued run feeds alike."""
    from lorgnette.devices import choose
    from lorgnette.training.loop import memory_budget

    budget = memory_budget(config.train, choose("cpu")) / 2**30
    return round(budget if config.train.memory_gib else budget / engine.workers, 3)


def _jobs(run: Run, plan: dict[str, Any]) -> list[Job]:
    """What is left to do. Folds that train together stay together, whatever of them is done."""
    pieces = np.array_split(np.arange(plan["k"]), plan["pieces"])
    return [
        Job(repeat, tuple(piece.tolist()))
        for repeat in range(plan["repeats"])
        for piece in pieces
        if not all(Run(run.root / fold_folder(repeat, fold)).read(FOLD_RESULT) for fold in piece)
    ]


def _gather(
    dataset: Dataset,
    config: Config,
    run: Run,
    splits: list[list[Split]],
    plan: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Put the folds together, and write the out-of-fold predictions and `crossval.json`."""
    from lorgnette.evaluation.evaluate import judge

    labels, groups = dataset.labels(config.train.labels), dataset.groups()
    sums = np.zeros((len(labels), len(dataset.info.classes)))
    times = np.zeros(len(labels), np.int64)
    found = []
    for repeat, parts in enumerate(splits):
        for fold, split in enumerate(parts):
            own = Run(run.root / fold_folder(repeat, fold))
            rows = split.members("test")
            sums[rows] += Predictions.load(own.storage, "predictions/test.parquet").probabilities
            times[rows] += 1
            found.append({"repeat": repeat, "fold": fold, **own.read(FOLD_RESULT)})
    rows = np.flatnonzero(dataset.labels("given") >= 0)
    assert (times[rows] == len(splits)).all()  # each item once in each repeat
    predictions = Predictions(
        ids=dataset.rows(["id"])["id"].take(rows).to_numpy(),
        probabilities=(sums[rows] / len(splits)).astype(np.float32),
        classes=dataset.info.classes,
        labels=labels[rows],
        groups=None if groups is None else groups[rows],
    )
    predictions.save(run.storage, OUT_OF_FOLD)
    kind = config.train.labels if dataset.ledger.fold().decided.any() else "given"
    facts = {
        "format": FORMAT,
        "dataset": dataset.location,
        "classes": list(dataset.info.classes),
        "groups": None if groups is None else len(np.unique(groups[rows])),
        "seed": config.seed,
        **{key: plan[key] for key in ("k", "repeats", "together")},
        "confidence": config.evaluate.confidence,
        "folds": found,
        "summary": summarise(found, config.evaluate.confidence),
        "interval": METHOD,
        "pooled": {**judge(predictions, config.evaluate), "labels": kind},
        "seconds": round(seconds, 3),
    }
    run.write(RESULT, facts)
    return facts


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress of single folds: several of them would write over each other."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
