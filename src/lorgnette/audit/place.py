"""The directory of an audit: what was begun there, and whether it still holds."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorgnette.audit import findings
from lorgnette.config import Config
from lorgnette.dataset.store import Dataset
from lorgnette.errors import ModelError
from lorgnette.predictions import Predictions
from lorgnette.progress import say
from lorgnette.rundir import Run

RESULT = "audit.json"
FILES = (
    findings.NAME,
    "duplicates.parquet",
    "embeddings.npy",
    "neighbours.npy",
    "predictions/out-of-fold.parquet",
    RESULT,
    "report.html",
)
"""What an audit leaves, apart from what a run begins with and the rounds."""


def default_out(dataset: Dataset) -> str:
    """Where the audit of a dataset is, unless told otherwise: `audit` inside it."""
    return dataset.storage.locate("audit")


def clear(run: Run) -> None:
    """Remove what an audit leaves; decisions are the dataset's and stay."""
    for name in FILES:
        run.storage.remove(name)
    shutil.rmtree(run.root / "rounds", ignore_errors=True)
    run.clear()


def begin(
    run: Run,
    config: Config,
    dataset: Dataset,
    views: Sequence[Dataset],
    predictions: Predictions | None,
    settled: NDArray[np.int32],
) -> None:
    """Note what is about to be done, or check that it is what was begun here before.

    A dataset that was prepared anew from another source counts, and so does what persons have
    decided since: the audit begins again.

    Raises:
        ModelError: the directory holds something else, or an audit with other settings.
    """
    begun = run.read("run.json")
    wanted = _kind(views, predictions)
    if begun and begun.get("audit_of") is None:
        raise ModelError(
            f"{run.root} holds a run that is no audit: choose another --out, or start again with "
            "--overwrite."
        )
    digest = hashlib.sha256(settled.tobytes()).hexdigest()[:16]
    if _is_stale(run, begun, dataset):
        say("The dataset was prepared anew since this audit began: it begins again.")
        clear(run)
    elif begun and begun["audit_of"] != wanted:
        raise ModelError(
            f"{run.root} holds an audit with other views or predictions: choose another --out, or "
            "start again with --overwrite."
        )
    elif begun and begun.get("settled") != digest:
        say("Decisions have been made since this audit began: it begins again with them.")
        clear(run)
    run.begin(config, dataset.location)
    run.note(audit_of=wanted, settled=digest, source_digest=dataset.info.source_digest)


def is_taken(run: Run, config: Config, dataset: Dataset) -> bool:
    """Whether a directory holds something else than an audit with these settings.

    An audit, that is, without views or predictions. One of what the dataset held before it was
    prepared anew is in nobody's way.
    """
    begun = run.read("run.json")
    if begun and begun.get("audit_of") is None:
        return True
    if _is_stale(run, begun, dataset):
        return False
    others = bool(begun) and begun["audit_of"] != _kind((), None)
    return others or bool(run.differences(config, dataset.location))


def _kind(views: Sequence[Dataset], predictions: Predictions | None) -> dict[str, Any]:
    """Out of what an audit is made, apart from its settings."""
    return {
        "views": [view.location for view in views],
        "predictions": predictions
        and hashlib.sha256(predictions.probabilities.tobytes()).hexdigest()[:16],
    }


def _is_stale(run: Run, begun: dict[str, Any], dataset: Dataset) -> bool:
    """Whether this is an audit of what the dataset held before it was prepared anew.

    An audit that notes no digest is older than this question, and counts as of the same source. One
    of a dataset elsewhere is not stale but another one, and not for this to clear.
    """
    if not begun or run.locate(begun["dataset"]) != run.locate(dataset.location):
        return False
    now = dataset.info.source_digest
    return bool(begun.get("source_digest", now) != now)
