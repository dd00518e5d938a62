"""The whole path, to be read from top to bottom.

    images + labels → prepare → Dataset → split → train → Model → evaluate → report

Each step leaves something on disk that can be loaded again; a step that was finished before is not
done again, so that the same call continues what was interrupted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorgnette.config import Config
from lorgnette.dataset.prepare import prepare
from lorgnette.dataset.split import split
from lorgnette.dataset.store import Dataset
from lorgnette.engines import open_engine
from lorgnette.lock import locked
from lorgnette.rundir import Run


def run(config: Config, out: str, *, dataset: str | None = None, overwrite: bool = False) -> Run:
    """Take a source through the whole path and leave a run.

    Args:
        config: all settings; `config.source.location` says where the images are.
        out: the run's directory; empty, or holding the same run, unfinished or finished.
        dataset: where the prepared dataset goes; inside the run if not given.
        overwrite: begin again whatever is in `out`.
    """
    run = Run(out)
    with locked(run.storage):
        if overwrite:
            run.clear()
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
        learn(prepared, config, run)
    return run


def train(dataset: str, config: Config, out: str, *, overwrite: bool = False) -> Run:
    """Train and evaluate on a prepared dataset and leave a run; see `run`."""
    prepared = Dataset.load(dataset)
    config = config.model_copy(
        update={"source": prepared.info.source, "prepare": prepared.info.prepare}
    )
    run = Run(out)
    with locked(run.storage):
        if overwrite:
            run.clear()
        run.begin(config, dataset)
        learn(prepared, config, run)
    return run


def learn(dataset: Dataset, config: Config, run: Run) -> dict[str, Any]:
    """From a dataset to a report: split, train, evaluate, draw; returns the figures."""
    # torch and Matplotlib take seconds to import, and `lorgnette --help` needs neither.
    from lorgnette.devices import choose
    from lorgnette.evaluation.evaluate import evaluate
    from lorgnette.model import Model
    from lorgnette.report.page import write
    from lorgnette.training.loop import train as fit

    with _timed(run, "split"):
        parts = split(dataset, config.split, config.seed)
        parts.save(run.storage, "split.parquet", dataset)
    with _timed(run, "train"):
        if run.is_trained:
            model = Model.load(run.storage, choose(config.train.device, config.train.precision))
        else:
            model = fit(dataset, parts, config, run)
    with _timed(run, "evaluate"):
        figures = evaluate(model, dataset, parts, run)
    with _timed(run, "report"):
        write(run.root)
    return figures


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
