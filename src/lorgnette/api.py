"""The verbs as Python functions, under the names of the commands."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lorgnette.config import Config, EngineConfig, PrepareConfig, SourceConfig
from lorgnette.dataset.store import INFO, Dataset
from lorgnette.errors import LorgnetteError
from lorgnette.resolve import load
from lorgnette.rundir import Run
from lorgnette.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from lorgnette.evaluation.ensembles import How
    from lorgnette.evaluation.selection import Select
    from lorgnette.tuning.facts import StudyFacts

Location = str | os.PathLike[str]


def run(
    source: Location | SourceConfig,
    out: Location | None = None,
    config: Config | None = None,
    *,
    dataset: Location | None = None,
    overwrite: bool = False,
) -> Run:
    """Take images and labels through the whole path; see `lorgnette.pipeline.run`.

    Args:
        source: a folder or a table, or a full description.
        out: the run's directory; `runs/NAME` if not given.
        config: all settings; the default recipe if not given.
        dataset: where the prepared images go; inside the run if not given.
        overwrite: begin again whatever is in `out`.
    """
    from lorgnette import pipeline

    described = _source(source)
    resolved = (config or load()).model_copy(update={"source": described})
    place = os.fspath(out) if out is not None else pipeline.default_out(described.location)
    prepared = os.fspath(dataset) if dataset is not None else None
    return pipeline.run(resolved, place, dataset=prepared, overwrite=overwrite)


def prepare(
    source: Any,
    out: Location,
    settings: PrepareConfig | None = None,
    *,
    workers: int | None = None,
    engine: EngineConfig | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Read every image once and store it small; see `lorgnette.dataset.prepare.prepare`.

    Args:
        source: a folder or a table, a full description, or a frame of Spark or Ray (whose columns
            go by their usual names; `lorgnette.frames.prepare` takes others).
        out: the dataset's directory or URL.
        settings: sizes, colour, fit.
        workers: processes of this machine; one per processor if not given.
        engine: where work runs, in place of this machine.
        overwrite: remove a dataset that is already in `out`.
    """
    from lorgnette import frames
    from lorgnette.dataset.prepare import prepare as make
    from lorgnette.engines import open_engine

    if frames.is_frame(source):
        return frames.prepare(source, out, settings=settings, engine=engine, overwrite=overwrite)
    where = open_engine(engine or EngineConfig(workers=workers))
    return make(
        _source(source), os.fspath(out), settings or PrepareConfig(), where, overwrite=overwrite
    )


def train(
    dataset: Location | Dataset,
    out: Location,
    config: Config | None = None,
    *,
    overwrite: bool = False,
) -> Run:
    """Train and evaluate on a prepared dataset; see `lorgnette.pipeline.train`."""
    from lorgnette import pipeline

    location = dataset.location if isinstance(dataset, Dataset) else os.fspath(dataset)
    return pipeline.train(location, config or load(), os.fspath(out), overwrite=overwrite)


def audit(
    dataset: Location | Dataset,
    out: Location | None = None,
    config: Config | None = None,
    *,
    rules: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Judge the labels of a prepared dataset and apply rules; see `lorgnette.pipeline.audit`.

    Not a name of the package itself: there `lorgnette.audit` is the subpackage.
    """
    from lorgnette import pipeline

    location = dataset.location if isinstance(dataset, Dataset) else os.fspath(dataset)
    place = None if out is None else os.fspath(out)
    return pipeline.audit(location, config or load(), place, rules=rules, overwrite=overwrite)


def crossval(
    dataset: Location | Dataset,
    out: Location,
    config: Config | None = None,
    *,
    k: int = 10,
    repeats: int = 1,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train and judge k folds; the facts of `lorgnette.evaluation.crossval.crossvalidate`."""
    from lorgnette import pipeline

    location = dataset.location if isinstance(dataset, Dataset) else os.fspath(dataset)
    _, found = pipeline.crossval(
        location, config or load(), os.fspath(out), k=k, repeats=repeats, overwrite=overwrite
    )
    return found


def tune(
    dataset: Location | Dataset,
    out: Location,
    recipe: str = "quick",
    settings: Sequence[str] = (),
    *,
    workers: int | None = None,
    storage: str | None = None,
    overwrite: bool = False,
) -> list[StudyFacts]:
    """Search the settings that a recipe leaves open; see `lorgnette.tuning.search.search`.

    Args:
        dataset: a prepared one.
        out: the study's directory; empty, or holding the same study, unfinished or finished.
        recipe: the name of a study or a TOML file with spaces.
        settings: `"section.key=value"`, and `"tune.key=value"` for how the search is made.
        workers: processes; one per processor, 3 on a GPU, if not given.
        storage: `postgresql://…`; SQLite in the directory if not given.
        overwrite: begin again whatever is in `out`.

    Returns:
        For each stage of the study (most have one) its trials, the best one's number, how much that
        is likely to overstate itself, and everything else that its page shows.
    """
    from lorgnette import studies
    from lorgnette.resolve import data
    from lorgnette.tuning.settings import parse

    plain = data(recipe, settings)
    tuned = parse(plain.pop("tune", {}), f"recipe {recipe}")
    location = dataset.location if isinstance(dataset, Dataset) else os.fspath(dataset)
    return studies.tune(
        location, plain, tuned, os.fspath(out),
        workers=workers, storage=storage, overwrite=overwrite,
    )  # fmt: skip


def ensemble(
    members: Sequence[Location] | Location,
    out: Location,
    *,
    combine: How = "average",
    select: Select = "all",
    above: float | None = None,
    best: int = 10,
    overwrite: bool = False,
) -> Run:
    """Make one model of several trained ones; see `lorgnette.studies.ensemble`."""
    from lorgnette import studies

    given = [members] if isinstance(members, str | os.PathLike) else members
    made, _ = studies.ensemble(
        [os.fspath(each) for each in given],
        os.fspath(out),
        combine=combine,
        select=select,
        above=above,
        best=best,
        overwrite=overwrite,
    )
    return made


def evaluate(
    run: Location | Run, data: Location | SourceConfig | Dataset | None = None
) -> dict[str, Any]:
    """The figures of a run, or of its model on other data.

    Args:
        run: a trained run.
        data: a prepared dataset, or a source, which is prepared inside the run as the model needs
            it; the run's own validation and test parts if not given.

    Returns:
        `{"validation": {...}, "test": {...}}`, and further yardsticks where labels were decided
        about, or `{NAME: {...}}` with the name of the data; each as
        `lorgnette.evaluation.metrics.evaluate` gives them, and `labels`, which say against what.
    """
    from pathlib import Path

    from lorgnette.evaluation.evaluate import evaluate as judge_run
    from lorgnette.evaluation.evaluate import evaluate_on, remark

    opened = _run(run)
    if data is None and (found := opened.read("evaluation.json")):
        with suppress(LorgnetteError):  # figures are shown without their dataset too
            remark(opened.dataset(), found)
        return found
    model = load_model(opened)
    if data is None:
        own = opened.dataset()
        return judge_run(model, own, opened.divide(own), opened)
    other = data if isinstance(data, Dataset) else _prepared(opened, data)
    name = Path(other.info.source.location if data is not other else other.location).name
    return {name: evaluate_on(model, other, opened)}


def _prepared(run: Run, data: Location | SourceConfig) -> Dataset:
    """A dataset as it is, or a source prepared inside the run with the run's own settings."""
    if not isinstance(data, SourceConfig):
        location = os.fspath(data)
        if Storage.at(location).exists(INFO):
            return Dataset.load(location)
        data = SourceConfig(location=location)
    own = run.config.source
    if own.features and data.features is None:
        data = data.model_copy(update={"features": own.features})
    described = data.model_dump_json(exclude_none=True)
    place = run.root / "data" / hashlib.sha256(described.encode()).hexdigest()[:12]
    return prepare(data, place, run.config.prepare)


def predict(
    run: Location | Run,
    inputs: Sequence[Location] | Location,
    *,
    source: SourceConfig | None = None,
    workers: int | None = None,
    engine: EngineConfig | None = None,
    lines: Iterable[str] = (),
) -> Iterator[pa.Table]:
    """Predict the class of image files; see `lorgnette.serving.predict.predict`.

    Yields:
        Tables in the order of the inputs: `id`, `class`, `p_<class>` for each class, `error`.
    """
    from lorgnette.engines import open_engine
    from lorgnette.serving.predict import predict as stream

    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    opened = _run(run)
    yield from stream(
        load_model(opened),
        [os.fspath(each) for each in given],
        open_engine(engine or EngineConfig(workers=workers)),
        source=source,
        lines=lines,
        pixel_limit=opened.config.prepare.pixel_limit,
    )


def load_model(run: Location | Run) -> Any:
    """The trained model of a run, on the best device there is: a `lorgnette.model.Model`."""
    from lorgnette.devices import choose
    from lorgnette.model import Model

    opened = _run(run)
    settings = opened.config.train
    # A run that was trained on a GPU can be used where there is none.
    return Model.load(opened.storage, choose("auto", settings.precision))


def _run(run: Location | Run) -> Run:
    return run if isinstance(run, Run) else Run.load(run)


def _source(source: Location | SourceConfig) -> SourceConfig:
    return source if isinstance(source, SourceConfig) else SourceConfig(location=os.fspath(source))
