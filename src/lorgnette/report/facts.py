"""The facts of a report: numbers, names and small pictures, as one frozen tree that JSON can hold.

Nothing here draws: `figures` and `page` turn this tree into something to look at.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from lorgnette.report.labels_facts import Labels
from lorgnette.report.measures import (
    Bin,
    Calibration,
    ClassScores,
    Curves,
    Evaluation,
    Fact,
    Measure,
    PrecisionRecall,
    Roc,
)

__all__ = [
    "Augmented", "Bin", "Calibration", "ClassScores", "Conflict", "Curves", "Epoch", "Evaluation",
    "Fact", "Facts", "Histogram", "Measure", "Mistake", "Part", "Picture", "PrecisionRecall",
    "Reading", "Reason", "Roc", "Samples", "Split", "Training",
]  # fmt: skip


class Reason(Fact):
    """Why rows were rejected, with some of them."""

    status: str
    reason: str
    count: int
    examples: list[str]


class Conflict(Fact):
    """An exact copy with another label than the one that was kept."""

    path: str
    reason: str


class Reading(Fact):
    """What was read, and what of it could not be used."""

    location: str
    kind: str
    counts: dict[str, int]
    """Rows by status."""
    unlabelled: int
    """Usable images without a label."""
    excluded: dict[str, int] = Field(default_factory=dict)
    """What the source left out on purpose, by reason; not among the rows."""
    reasons: list[Reason]
    """Why the others could not be used, the commonest first."""
    conflicts: int
    conflict_examples: list[Conflict]
    bytes: int
    """Of the usable files, where known."""
    widths: tuple[int, int, int] | None
    """The least, the median and the greatest width, in pixels; None without usable images."""
    heights: tuple[int, int, int] | None
    sizes: tuple[int, ...]
    """Edge lengths that were prepared."""
    color: str
    fit: str
    features: int = 0
    """Numbers in a vector; 0 where items are images."""

    @property
    def item(self) -> str:
        """What an item is called."""
        return "vector" if self.features else "image"

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self.counts.values())

    @property
    def usable(self) -> int:
        """Rows with pixels."""
        return self.counts.get("ok", 0)


class Part(Fact):
    """One split: train, val or test."""

    name: str
    items: int
    labels: list[int]
    """Items of each class."""
    groups: int | None


class Split(Fact):
    """How the items were divided."""

    parts: list[Part]
    given: bool
    """Whether the source gave a split that was honoured."""
    unused: int
    """Usable images in no part: those without a label, mostly."""

    def part(self, name: str) -> Part:
        """The part of a name."""
        return next(part for part in self.parts if part.name == name)


class Picture(Fact):
    """A small picture of one item."""

    id: str
    source: str
    """A `data:` URI."""


class Samples(Fact):
    """Some training images of one class."""

    name: str
    pictures: list[Picture]


class Augmented(Fact):
    """A training image, and random changes of it, as `data:` URIs."""

    original: str
    changed: list[str]


class Mistake(Fact):
    """A wrong answer, as a picture."""

    id: str
    path: str
    source: str
    """A `data:` URI; empty for a vector."""
    given: str
    answered: str
    given_probability: float
    answered_probability: float
    group: str | None = None


class Epoch(Fact):
    """One pass over the training part."""

    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    lr: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None


class Update(Fact):
    """How several processes trained one network."""

    mode: str
    every: str | int = "batch"


class Start(Fact):
    """One start of such processes: the finished epochs, and the machines that they ran on."""

    epoch: int
    machines: tuple[str, ...] = ()


class Training(Fact):
    """How the network was trained."""

    parameters: int | None = None
    epochs: int = 0
    best_epoch: int | None = None
    stopped: str = ""
    device: str = ""
    precision: str = ""
    images: int = 0
    members: int = 1
    update: Update | None = None
    starts: tuple[Start, ...] = ()
    """Of a training by several processes: more than one where some of them died."""


class Histogram(Fact):
    """Two classes: how many test images got which probability of the positive class."""

    edges: list[float]
    counts: dict[str, list[int]]
    """By given label."""


class Facts(Fact):
    """All that a report says."""

    title: str
    created: str
    """When the run began, ISO 8601."""
    version: str
    classes: list[str]
    reading: Reading
    split: Split
    samples: list[Samples]
    augmentations: list[Augmented]
    """Some training images as the network sees them; empty where nothing is changed."""
    epochs: list[Epoch]
    training: Training
    validation: Evaluation | None
    test: Evaluation | None
    histogram: Histogram | None
    mistakes: list[Mistake]
    """The worst test mistakes: the given label had the lowest probability."""
    timings: dict[str, float]
    """Seconds by stage."""
    settings: dict[str, str]
    """Every setting of the run, as `section.key` and TOML."""
    environment: dict[str, Any]
    labels: Labels | None = None
    """What was decided on the labels; None where nothing was and no audit was made."""

    @property
    def judged(self) -> Evaluation | None:
        """The test figures that the page leads with: against confirmed labels if enough are."""
        return self.test if self.labels is None else self.labels.leading(self.test)

    @property
    def commonest(self) -> tuple[str, float] | None:
        """The commonest class of the training part, and its share of the test part."""
        test = self.judged
        if test is None or not test.n:
            return None
        labels = self.split.part("train").labels
        name = self.classes[labels.index(max(labels))]
        return name, test.per_class[name].n / test.n
