"""The whole path, to be read from top to bottom.

    images + labels → prepare → Dataset → audit → decisions
                                   │                  │
                                   └── split → train ─┴→ Model → evaluate → report

Each step leaves something on disk that can be loaded again; a step that was finished before is not
done again, so that the same call continues what was interrupted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorgnette.config import Config
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.store import Dataset
from lorgnette.engines import open_engine
from lorgnette.errors import ModelError
from lorgnette.lock import locked
from lorgnette.progress import say
from lorgnette.rundir import Run
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from lorgnette.evaluation.crossval import Together


RULES = (
    "suspicion >= 0.9 and part != 'test'",
    "undecidable: suspicion >= 0.5 and suspicion < 0.9 and part != 'test'",
)
"""What `run --audit` applies, unless told otherwise: labels that are surely wrong are changed, and
those that are probably wrong are not learnt. No rule touches what the model will be judged by."""
BEFORE = "before"
"""Where, inside a run with an audit, the same training on the labels as given is."""


def run(
    config: Config,
    out: str,
    *,
    dataset: str | None = None,
    audited: bool = False,
    rules: Sequence[str] = RULES,
    who: str = "lorgnette",
    overwrite: bool = False,
) -> Run:
    """Take a source through the whole path and leave a run.

    Args:
        config: all settings; `config.source.location` says where the images are.
        out: the run's directory; empty, or holding the same run, unfinished or finished.
        dataset: where the prepared dataset goes; inside the run if not given.
        audited: judge the labels, mend them by rules, and train on both the given and the mended
            ones, so that the report can say what it changed.
        rules: what the audit applies; see `lorgnette.audit.rules`.
        who: in whose name.
        overwrite: begin again whatever is in `out`.
    """
    run = Run(out)
    with locked(run.storage):
        if overwrite:
            run.clear()
            Run(run.root / BEFORE).clear()
        place = dataset or str(run.root / "dataset")
        run.begin(config, place)
        with _timed(run, "prepare"):
            prepared = prepare(
                config.source,
                place,
                config.prepare,
                open_engine(config.engine),
                overwrite=overwrite,
            )
        if audited:
            mend(prepared, config, run, rules, who, overwrite=overwrite)
        learn(prepared, config, run)
    return run


def mend(
    dataset: Dataset,
    config: Config,
    run: Run,
    rules: Sequence[str],
    who: str,
    *,
    overwrite: bool = False,
) -> None:
    """Audit the labels that a run is about to learn, apply rules, and train on the given ones."""
    inside = str(run.root / "audit")
    place = _audit_place(dataset, config, run, inside, overwrite=overwrite)
    with _timed(run, "audit"):
        audit(dataset.location, config, place, rules=rules, who=who, overwrite=overwrite)
    shown = Path(place)
    run.note(audit=str(shown.relative_to(run.root) if shown.is_relative_to(run.root) else shown))
    given = config.train.model_copy(update={"labels": "given"})
    told = config.model_copy(update={"train": given})
    before = Run(run.root / BEFORE)
    before.begin(told, dataset.location)
    with _timed(run, "before"):
        learn(dataset, told, before)


def _audit_place(
    dataset: Dataset, config: Config, run: Run, inside: str, *, overwrite: bool
) -> str:
    """Where the audit of a run goes.

    That is the dataset's own place, for whoever reviews it; or inside the run where the dataset is
    a URL, or has an audit with other settings, which somebody may be working with.
    """
    from lorgnette.audit import place

    if not dataset.storage.is_local or (not overwrite and Run(inside).read("run.json")):
        return inside
    own = place.default_out(dataset)
    if not place.is_taken(Run(own), _as_prepared(config, dataset), dataset):
        return own
    say(f"{own} holds an audit with other settings, which stays: this one goes to {inside}.")
    return inside


def audit(
    dataset: str,
    config: Config,
    out: str | None = None,
    *,
    views: Sequence[str] = (),
    predictions: str | None = None,
    rules: Sequence[str] = (),
    who: str = "lorgnette",
    overwrite: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Judge the labels of a prepared dataset, apply rules, and leave an audit with a page.

    See `lorgnette.audit.audit.audit`.

    Args:
        dataset: a prepared one.
        config: the network that judges, and how.
        out: the audit's directory; `audit` inside the dataset if not given.
        views: prepared datasets of vectors with the same ids.
        predictions: a Parquet file of out-of-fold predictions, in place of networks.
        rules: applied in their order.
        who: in whose name.
        overwrite: judge again, whatever is in `out`; decisions stay.

    Returns:
        The audit's directory, and the facts of its `audit.json`.
    """
    from lorgnette.audit import audit as verb
    from lorgnette.audit import place
    from lorgnette.audit.rules import parse
    from lorgnette.predictions import Predictions
    from lorgnette.report.audit import write

    prepared = Dataset.load(dataset)
    for rule in rules:
        parse(rule, prepared.info.classes)  # a mistyped one is found before networks are trained
    run = Run(out or place.default_out(prepared))
    told = None
    if predictions is not None:
        file = Path(predictions).absolute()
        told = Predictions.load(Storage.at(file.parent), file.name)
    with locked(run.storage):
        if overwrite:
            place.clear(run)
        verb.audit(
            prepared,
            _as_prepared(config, prepared),
            run,
            views=[Dataset.load(view) for view in views],
            predictions=told,
        )
        verb.apply(prepared, run, rules, who)
        write(str(run.root), prepared)
    return run, run.read(place.RESULT)


def train(dataset: str, config: Config, out: str, *, overwrite: bool = False) -> Run:
    """Train and evaluate on a prepared dataset and leave a run; see `run`.

    Raises:
        ModelError: the directory holds another run, or an ensemble.
    """
    prepared = Dataset.load(dataset)
    config = _as_prepared(config, prepared)
    run = Run(out)
    with locked(run.storage):
        if overwrite:
            run.clear()
        elif run.read("run.json").get("ensemble"):
            raise ModelError(
                f"{run.root} holds an ensemble, and a training goes into a directory of its own: "
                "choose another --out, or start again with --overwrite."
            )
        run.begin(config, prepared.location)
        learn(prepared, config, run)
    return run


def crossval(
    dataset: str,
    config: Config,
    out: str,
    *,
    k: int = 10,
    repeats: int = 1,
    together: Together = "auto",
    overwrite: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Train and judge k folds and leave a run with a page; returns the facts too.

    See `lorgnette.evaluation.crossval.crossvalidate`.
    """
    from lorgnette.evaluation.crossval import clear, crossvalidate
    from lorgnette.report.crossval import write

    prepared = Dataset.load(dataset)
    config = _as_prepared(config, prepared)
    run = Run(out)
    with locked(run.storage):
        if overwrite:
            clear(run)
        found = crossvalidate(prepared, config, run, k=k, repeats=repeats, together=together)
        write(run.root)
    return run, found


def learn(dataset: Dataset, config: Config, run: Run) -> dict[str, Any]:
    """From a dataset to a report: split, train, evaluate, draw; returns the figures."""
    # torch and Matplotlib take seconds to import, and `lorgnette --help` needs neither.
    from lorgnette.devices import choose
    from lorgnette.evaluation.evaluate import evaluate
    from lorgnette.model import Model
    from lorgnette.report.page import write
    from lorgnette.training.gang import train_gang
    from lorgnette.training.loop import train as fit

    with _timed(run, "split"):
        parts = run.divide(dataset)
    with _timed(run, "train"):
        if run.is_trained:
            model = Model.load(run.storage, choose(config.train.device, config.train.precision))
        elif config.train.members > 1 or config.engine.name != "local":
            model = train_gang(dataset, parts, config, run, open_engine(config.engine))
        else:
            model = fit(dataset, parts, config, run)
    with _timed(run, "evaluate"):
        figures = evaluate(model, dataset, parts, run)
    with _timed(run, "report"):
        write(run.root)
    return figures


def _as_prepared(config: Config, dataset: Dataset) -> Config:
    """The configuration with the dataset's own source and preparation.

    A recipe that was written for images of another kind says so: its figures mean something else.
    """
    info = dataset.info
    if config.recipe != "default":
        asked, made = config.prepare, info.prepare
        differ = [
            f"{name} {_short(getattr(asked, name))} (prepared: {_short(getattr(made, name))})"
            for name in ("size", "color")
            if not info.features and getattr(asked, name) != getattr(made, name)
        ]
        if bool(config.source.features) != bool(info.features):
            differ = [f"{'vectors' if config.source.features else 'images'} ({dataset.things})"]
        if differ:
            say(f"The recipe {config.recipe} is made for {', '.join(differ)}.")
    return config.model_copy(update={"source": info.source, "prepare": info.prepare})


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@contextlib.contextmanager
def _timed(run: Run, stage: str) -> Iterator[None]:
    """Add the seconds of a stage to the run's timings, on top of earlier calls."""
    start = time.perf_counter()
    before = run.read("run.json").get("timings", {}).get(stage, 0.0)
    yield
    run.note(timings={stage: round(before + time.perf_counter() - start, 3)})


def default_out(source: str) -> str:
    """`runs/NAME`, after the source's last part."""
    name = Path(source.rstrip("/")).stem or "run"
    return str(Path("runs") / name)
