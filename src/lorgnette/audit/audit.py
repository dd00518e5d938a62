"""The verb: judge every label of a dataset, find copies and oddities, and apply rules.

    dataset → rounds of networks → suspicion → copies, neighbours, outliers → table → rules → page

The labels judged are those that the source gives. What persons have decided is learnt and not
questioned, so that an audit after a review finds more than the first; what rules have decided is
judged anew. Only rules that are asked for add to the decisions.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lorgnette.audit import copies, findings, noise, rules, vectors
from lorgnette.audit.neighbours import Neighbours, neighbours
from lorgnette.audit.outliers import find_outliers
from lorgnette.audit.place import RESULT, begin
from lorgnette.audit.rounds import OPEN, Evidence, look, told
from lorgnette.config import Config
from lorgnette.dataset.history import BY
from lorgnette.dataset.split import PARTS, split
from lorgnette.dataset.store import Dataset, write_array
from lorgnette.engines.base import Engine
from lorgnette.errors import DatasetError, SplitError
from lorgnette.evaluation.crossval import fold_engine
from lorgnette.evaluation.folds import units
from lorgnette.predictions import Predictions
from lorgnette.progress import say
from lorgnette.rundir import Run

FORMAT = 1


@dataclass
class Stages:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note how long the block takes."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def audit(
    dataset: Dataset,
    config: Config,
    run: Run,
    engine: Engine | None = None,
    *,
    views: Sequence[Dataset] = (),
    predictions: Predictions | None = None,
) -> dict[str, Any]:
    """Judge the labels of a dataset; the caller holds the lock of the audit's directory.

    Started again after a kill it continues; started again when it is finished, it answers at once.

    Args:
        dataset: the items.
        config: network, training, split, seed, and how to judge (`audit`).
        run: the audit's directory.
        engine: where work runs; `fold_engine(config)` if not given.
        views: datasets of vectors with the same ids, whose opinions are added.
        predictions: out-of-fold predictions of other networks that were trained on the given
            labels; no network is trained then.

    Returns:
        The facts of `audit.json`.

    Raises:
        SplitError: there are fewer than two classes, or too few items.
        DatasetError: views or predictions are of other items.
        ModelError: the directory holds something else, or an audit with other settings.
        EngineError: a network failed on every attempt; the others are kept.
    """
    given = dataset.labels("given")
    if len(np.unique(given[given >= 0])) < 2:
        raise SplitError(
            "An audit compares labels, for which there must be at least two classes, and "
            f"{dataset.location} has {len(np.unique(given[given >= 0]))}: check the label column."
        )
    settled = settled_labels(dataset)
    begin(run, config, dataset, views, predictions, settled)
    if found := run.read(RESULT):
        say(f"The audit in {run.root} was finished before.")
        return found
    engine = engine or fold_engine(config)
    stages = Stages()
    parts = split(dataset, config.split, config.seed, "given").parts
    held_out = config.audit.hold_out & (parts == PARTS.index("test"))
    pool = (given >= 0) & ~held_out | _added(dataset, config, given, settled, held_out)
    with stages.timed("networks"):
        evidence = (
            _look(dataset, config, given, settled, pool, run, engine, views)
            if predictions is None
            else _taken(dataset, predictions, given, settled)
        )
    with stages.timed("neighbours"):
        near = _neighbours(dataset, given, run, config.seed)
    with stages.timed("copies"):
        double = copies.find_copies(dataset, parts, near, engine)
        _save(run, "duplicates.parquet", double)
    with stages.timed("outliers"):
        odd = find_outliers(dataset, near, engine)
    cluster, conflict = _clusters(dataset, double)
    members = _members(cluster, conflict)
    posterior = findings.settle_conflicts(evidence.posterior, given, members)
    believed = findings.settle_conflicts(evidence.believed, given, members)
    table = findings.table(
        dataset,
        given,
        posterior,
        believed,
        evidence.opinion,
        odd.score,
        odd.flagged,
        cluster,
        conflict,
        parts,
    )
    _predictions(dataset, evidence, given).save(run.storage, "predictions/out-of-fold.parquet")
    with stages.timed("noise"):
        rate = _noise(dataset, evidence, posterior, given, config)
    _save(run, findings.NAME, table)
    counts = dict(zip(*np.unique(table["kind"].to_numpy(), return_counts=True), strict=True))
    facts = {
        "format": FORMAT,
        "dataset": dataset.location,
        "classes": list(dataset.info.classes),
        "items": len(dataset),
        "labelled": int((given >= 0).sum()),
        "unlabelled": int((given < 0).sum()),
        "held_out": int(held_out.sum()),
        "seed": config.seed,
        "rounds": evidence.rounds,
        "views": evidence.weights,
        "noise": rate,
        "found": {kind: int(counts.get(kind, 0)) for kind in findings.KINDS if kind != "none"},
        "duplicates": _duplicates(double),
        "calibration": findings.calibration(table, judged(dataset)),
        "applied": [],
        "seconds": stages.seconds,
    }
    run.write(RESULT, facts)
    return facts


def apply(dataset: Dataset, run: Run, texts: Sequence[str], who: str) -> list[dict[str, Any]]:
    """Apply rules to a finished audit, one after the other; see `rules.apply`.

    Args:
        dataset: that was audited.
        run: the audit.
        texts: the rules.
        who: a name for the ledger.

    Returns:
        Of each rule: `rule`, `matched`, `changed`; they are added to `audit.json` too.

    Raises:
        ConfigError: a rule cannot be understood; none is applied then.
        DatasetError: the audit is unfinished.
    """
    parsed = [rules.parse(text, dataset.info.classes) for text in texts]
    table = findings.load(run.storage)
    done = [rules.apply(rule, table, dataset.ledger, who)._asdict() for rule in parsed]
    facts = run.read(RESULT)
    applied = {entry["rule"]: entry for entry in facts["applied"]}
    for entry in done:
        before = applied.get(entry["rule"], {"changed": 0})
        applied[entry["rule"]] = {**entry, "changed": entry["changed"] + before["changed"]}
    run.write(RESULT, {**facts, "applied": list(applied.values())})
    return done


def settled_labels(dataset: Dataset) -> NDArray[np.int32]:
    """What persons, and imports, decided: (N,), -1 for what they took out, `OPEN` for the rest."""
    fold = dataset.ledger.fold()
    by_person = np.isin(fold.by, [BY.index("person"), BY.index("import")])
    return np.where(fold.decided & by_person, fold.labels, OPEN).astype(np.int32)


def judged(dataset: Dataset) -> dict[str, bool]:
    """Labels that persons settled: by id, whether the given one was wrong."""
    return {
        id_: standing.label != standing.given
        for id_, standing in dataset.ledger.standings().items()
        if standing.by == "person" and standing.given is not None and standing.label is not None
    }


def _added(
    dataset: Dataset,
    config: Config,
    given: NDArray[np.int32],
    settled: NDArray[np.int32],
    held_out: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """The items whose only label is a person's and may be learnt, (N,).

    They are in no part, and may yet belong to the test part: by what the source says, or since a
    copy of theirs, or an item of their group, is in it.
    """
    added = (given < 0) & (settled >= 0)
    if not (config.audit.hold_out and added.any()):
        return added
    if config.split.given:
        said = pc.fill_null(pc.equal(dataset.rows(["split"])["split"], "test"), False)
        added &= ~np.asarray(said.to_numpy(), bool)
    together = units(dataset)
    return added if together is None else added & ~np.isin(together, together[held_out])


def _look(
    dataset: Dataset,
    config: Config,
    given: NDArray[np.int32],
    settled: NDArray[np.int32],
    pool: NDArray[np.bool_],
    run: Run,
    engine: Engine,
    views: Sequence[Dataset],
) -> Evidence:
    values = [vectors.read(view, dataset) for view in views]
    # The default recipe is for images; of vectors a regression is quick and hard to beat.
    network = not (dataset.is_vectors and config.recipe == "default")
    if not network:
        values.insert(0, vectors.read(dataset, dataset))
    return look(
        dataset,
        config,
        given,
        pool,
        run.storage,
        engine,
        network=network,
        views=values,
        settled=settled,
    )


def _taken(
    dataset: Dataset,
    predictions: Predictions,
    given: NDArray[np.int32],
    settled: NDArray[np.int32],
) -> Evidence:
    """Evidence from predictions that somebody else made."""
    if predictions.classes != dataset.info.classes:
        raise DatasetError(
            f"Predictions must be of the dataset's classes {', '.join(dataset.info.classes)}, and "
            f"these are of {', '.join(predictions.classes)}: predict this dataset."
        )
    places = pc.index_in(
        dataset.rows(["id"])["id"], value_set=pa.array(predictions.ids, pa.string())
    )
    rows = np.asarray(pc.fill_null(places, -1).to_numpy(), np.int64)
    if absent := int(((rows < 0) & (given >= 0)).sum()):
        raise DatasetError(
            f"Predictions must be of every labelled item, and {absent:,} of "
            f"{(given >= 0).sum():,} have none: use the out-of-fold predictions of "
            "`lorgnette crossval`."
        )
    opinion = np.full((len(given), len(dataset.info.classes)), 1 / len(dataset.info.classes))
    opinion[rows >= 0] = predictions.probabilities[rows[rows >= 0]]
    truth, model = noise.from_confident_joint(opinion, given)
    agreement = float((opinion.argmax(1) == given)[given >= 0].mean())
    record = {"round": 0, "folds": 0, "seeds": 0, "seconds": 0.0, "agreement": agreement}
    believed = model.posterior(truth, given)
    return Evidence(
        truth, told(believed, settled), believed, model, [{**record, "changed": 0}], [1.0]
    )


def _neighbours(dataset: Dataset, given: NDArray[np.int32], run: Run, seed: int) -> Neighbours:
    """What is near what, as the first network of the last round sees it."""
    from lorgnette.devices import choose
    from lorgnette.evaluation.hidden import embed
    from lorgnette.model import Model

    trained = sorted((run.root / "rounds").glob("*/0-0/model.json"))
    model = Model.load(Run(trained[-1].parent).storage, choose("auto")) if trained else None
    embeddings = embed(model, dataset, run.storage, seed=seed)
    near = neighbours(embeddings, given, len(dataset.info.classes), seed=seed)
    write_array(run.storage, "neighbours.npy", near.near)
    return near


def _save(run: Run, name: str, table: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    run.storage.write(name, memoryview(buffer.getvalue()))


def _clusters(dataset: Dataset, double: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The cluster of each usable item, -1 for none, and whether it has a conflict; (N,) each."""
    ids = dataset.rows(["id"])["id"].combine_chunks()
    places = pc.fill_null(pc.index_in(double["id"], value_set=ids), -1)
    rows = np.asarray(places.to_numpy(), np.int64)
    usable = rows >= 0  # exact copies that were set aside are no items
    cluster = np.full(len(dataset), -1, np.int64)
    conflict = np.zeros(len(dataset), bool)
    cluster[rows[usable]] = double["cluster"].to_numpy()[usable]
    conflict[rows[usable]] = double["conflict"].to_numpy()[usable]
    return cluster, conflict


def _members(cluster: NDArray[np.int64], conflict: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The places of the items of each cluster with a conflict."""
    rows = np.flatnonzero(conflict)
    rows = rows[np.argsort(cluster[rows], kind="stable")]
    return [
        part for part in np.split(rows, np.flatnonzero(np.diff(cluster[rows])) + 1) if len(part)
    ]


def _predictions(dataset: Dataset, evidence: Evidence, given: NDArray[np.int32]) -> Predictions:
    return Predictions(
        dataset.rows(["id"])["id"].to_numpy(),
        evidence.opinion.astype(np.float32),
        dataset.info.classes,
        given,
        dataset.groups(),
    )


def _noise(
    dataset: Dataset,
    evidence: Evidence,
    posterior: NDArray[np.float64],
    given: NDArray[np.int32],
    config: Config,
) -> dict[str, Any]:
    known = given >= 0
    groups = dataset.groups()
    found = noise.estimate(
        evidence.opinion[known],
        posterior[known],
        given[known],
        dataset.info.classes,
        config.seed,
        config.evaluate.confidence,
        None if groups is None else groups[known],
    )
    return {**found, "confidence": config.evaluate.confidence}


def _duplicates(double: pa.Table) -> dict[str, int]:
    cluster = double["cluster"].to_numpy()

    def distinct(column: str) -> int:
        return len(np.unique(cluster[double[column].to_numpy()]))

    return {
        "clusters": len(np.unique(cluster)),
        "items": len(double),
        "conflicts": distinct("conflict"),
        "straddling": distinct("straddles"),
    }
