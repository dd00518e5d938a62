"""How an ensemble stands beside its members: figures of each, and what being several gains."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from lorgnette.config import EvaluateConfig
from lorgnette.evaluation import agreement, paired
from lorgnette.evaluation.evaluate import judge
from lorgnette.evaluation.members import Candidate
from lorgnette.models import build, count_parameters
from lorgnette.predictions import Predictions
from lorgnette.rundir import Run


def compare(
    together: Predictions,
    answers: Sequence[Predictions],
    own: Mapping[str, Any],
    settings: EvaluateConfig,
) -> dict[str, Any]:
    """The ensemble beside its best and its mean member on one part, and how much members agree.

    Args:
        together: what the ensemble thinks of the items, with their labels.
        answers: what each member thinks of the same items, under the same labels, the best member
            first.
        own: the ensemble's figures; see `metrics.evaluate`.
        settings: of the intervals.

    Returns:
        `ensemble`, `best` and `mean`, each with `accuracy`, `loss` and `n`; `agreement`, see
        `agreement.agreement`; `difference` of the accuracies of ensemble and best member, see
        `paired.compare`, None where there is no labelled item.
    """
    labels = together.labels
    assert labels is not None
    known = labels >= 0
    groups = None if together.groups is None else together.groups[known]
    codes = np.stack([each.predicted[known] for each in answers])
    mine, truth = together.predicted[known], labels[known].astype(np.int64)
    judged = [judge(each, settings) for each in answers]
    losses = [each["loss"]["value"] for each in judged]
    mean = None if None in losses else float(np.mean(losses))
    apart = None
    if len(truth):
        apart = paired.compare(mine == truth, codes[0] == truth, groups, settings.confidence)
    return {
        "ensemble": brief(own),
        "best": brief(judged[0]),
        "mean": {
            "accuracy": agreement.mean_accuracy(codes, truth, groups, settings.confidence),
            "loss": {"value": mean, "low": None, "high": None, "n": len(truth)},
            "n": len(truth),
        },
        "agreement": agreement.agreement(codes, mine, truth, groups, settings.confidence),
        "difference": None if apart is None else asdict(apart),
    }


def brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of all figures those that members are listed with."""
    return {"accuracy": facts["accuracy"], "loss": facts["loss"], "n": facts["n"]}


def described(candidate: Candidate, run: Run) -> dict[str, Any]:
    """What a candidate is: its name, its place as seen from the ensemble's run, its network."""
    spec = candidate.spec
    with torch.device("meta"):  # shapes alone
        network = build(spec.model, spec.input_shape, len(spec.classes))
    return {
        "name": candidate.name,
        "run": os.path.relpath(candidate.run.root, run.root),
        "recipe": candidate.config.recipe,
        "family": spec.model.family,
        "size": spec.size,
        "parameters": count_parameters(network),
    }
