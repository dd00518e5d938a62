"""What the page is told about an item, as plain data for JSON."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from lorgnette.dataset.decisions import Standing
from lorgnette.dataset.history import ACTIONS, BY, Fold
from lorgnette.dataset.store import Dataset
from lorgnette.serving.review.findings import KINDS, Findings
from lorgnette.serving.review.pictures import Vectors

COPIES_SHOWN = 5

WORDS = (
    (0.95, "almost certainly wrong"),
    (0.75, "probably wrong"),
    (0.5, "more likely wrong than right"),
    (0.2, "doubtful"),
    (0.05, "probably right"),
    (0.0, "almost certainly right"),
)
"""From which suspicion on a label is called what."""


def in_words(suspicion: float) -> str:
    """What a suspicion means."""
    return next(words for least, words in WORDS if suspicion >= least)


def percent(share: float) -> str:
    """A share for reading: never 0% or 100% where it is not exactly that."""
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"


def stamp(standing: Standing | None) -> str:
    """Of what stands for an item: another one when somebody has decided since; tells no label."""
    if standing is None:
        return ""
    told = f"{standing.action} {standing.label} {standing.by} {standing.who} {standing.when}"
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:16]


class Views:
    """Items as the page shows them."""

    def __init__(self, dataset: Dataset, findings: Findings) -> None:
        """Nothing is read yet, but for the spread of vectors."""
        self.dataset, self.findings = dataset, findings
        self.classes = dataset.info.classes
        self.vectors = Vectors(dataset) if dataset.is_vectors else None

    def blind(self, place: int, standing: Standing | None) -> dict[str, Any]:
        """An item without anything that would tell its label: no id, no finding, no neighbours."""
        answered = standing is not None and standing.by == "person"
        view: dict[str, Any] = {
            "place": place,
            "blind": True,
            "stamp": stamp(standing),
            "answered": answered,
        }
        if self.vectors is not None:
            view["features"] = self.vectors.largest(place)
        return view

    def whole(self, place: int, standing: Standing | None, fold: Fold) -> dict[str, Any]:
        """Everything that is known of an item."""
        found = self.findings
        label = int(fold.labels[place])
        suspicion = float(found.suspicion[place])
        view: dict[str, Any] = {
            "place": place,
            "blind": False,
            "stamp": stamp(standing),
            "id": found.id(place),
            "given": self._name(found.given[place]),
            "label": self._name(label),
            "proposed": self._name(found.proposed[place]),
            "target": self._name(self.target(place, label)),
            "suspicion": None if math.isnan(suspicion) else suspicion,
            "said": None if math.isnan(suspicion) else in_words(suspicion),
            "percent": None if math.isnan(suspicion) else percent(suspicion),
            "kind": KINDS[found.kinds[place]],
            "why": self._why(place),
            "decided": None if standing is None else self._decided(standing),
            "neighbours": self._neighbours(place, fold),
            "copies": [self._small(each, fold) for each in found.copies(place, COPIES_SHOWN)],
        }
        if self.vectors is not None:
            view["features"] = self.vectors.largest(place)
        return view

    def cell(self, place: int, standing: Standing | None, fold: Fold) -> dict[str, Any]:
        """What a cell of the grid shows."""
        suspicion = float(self.findings.suspicion[place])
        view: dict[str, Any] = {
            "place": place,
            "stamp": stamp(standing),
            "id": self.findings.id(place),
            "label": self._name(fold.labels[place]),
            "percent": None if math.isnan(suspicion) else percent(suspicion),
        }
        if self.vectors is not None:
            view["features"] = self.vectors.largest(place)[:3]
        return view

    def target(self, place: int, label: int) -> int:
        """What a flip makes of a label in force: another class, or -1 where it must be chosen."""
        proposed, given = int(self.findings.proposed[place]), int(self.findings.given[place])
        if proposed not in (-1, label):
            return proposed
        if len(self.classes) == 2 and label >= 0:
            return 1 - label
        return given if given not in (-1, label) else -1

    def _name(self, code: int) -> str | None:
        return None if code < 0 else self.classes[code]

    def _small(self, place: int, fold: Fold) -> dict[str, Any]:
        label = self._name(fold.labels[place])
        action = int(fold.actions[place])
        left_out = ACTIONS[action] if action >= 0 and label is None else None
        return {
            "place": place,
            "id": self.findings.id(place),
            "label": label or left_out or "no label",
            "by": BY[fold.by[place]] if fold.by[place] >= 0 else None,
        }

    def _neighbours(self, place: int, fold: Fold) -> list[dict[str, Any]]:
        """The nearest with the given label, and the nearest with another one."""
        if self.findings.neighbours is None:
            return []
        given = self._name(self.findings.given[place])
        same, other = np.asarray(self.findings.neighbours[place]).tolist()
        names = (
            ("Nearest without a label", "Nearest with one")
            if given is None
            else (f"Nearest given as ‘{given}’", "Nearest given as another class")
        )
        if given is not None and len(self.classes) == 2:
            names = (names[0], f"Nearest given as ‘{self._other(given)}’")
        return [
            {"title": title, "items": [self._small(each, fold) for each in places if each >= 0]}
            for title, places in zip(names, (same, other), strict=True)
        ]

    def _other(self, name: str) -> str:
        return self.classes[1 - self.classes.index(name)]

    def _why(self, place: int) -> list[str]:
        """Why an item is here, the main reason first."""
        found = self.findings
        kind = KINDS[found.kinds[place]]
        if not found.audited:
            return ["There is no audit: items come in random order."]
        proposed = self._name(found.proposed[place])
        model = (
            f"Models that never saw it say ‘{proposed}’ with {_percent(found.confidence[place])}."
        )
        said = {
            "label": "",
            "conflict": "Copies or near-copies of it have other labels; they are shown below.",
            "undecidable": "No class clearly fits; it may be undecidable "
            f"({_percent(found.undecidable[place])}).",
            "outlier": f"It is odder than {_percent(found.outlier[place])} of all items: does it "
            "belong here at all?",
            "unlabelled": "It has no label.",
            "none": "Nothing stands out; it is simply next in line.",
        }[kind]
        return [text for text in (said, model if proposed else "") if text]

    def _decided(self, standing: Standing) -> dict[str, Any]:
        done = {
            "relabel": f"made it ‘{standing.label}’",
            "confirm": f"kept ‘{standing.label}’",
            "drop": "dropped it",
            "undecidable": "called it undecidable",
        }.get(standing.action, standing.action)
        who = standing.who or "Somebody"
        text = {"rule": f"A rule {done}.", "import": f"An import {done}."}.get(
            standing.by, f"{who} {done}."
        )
        return {"by": standing.by, "who": standing.who, "when": standing.when, "text": text}


def _percent(value: np.float32) -> str:
    number = float(value)
    return "an unknown share" if math.isnan(number) else percent(number)
