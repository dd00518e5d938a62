"""The facts of a report: numbers, names and small pictures, as one frozen tree that JSON can hold.

Nothing here draws: `figures` and `page` turn this tree into something to look at.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    """The base of all facts: frozen; what a newer evaluation adds is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Measure(Fact):
    """A figure with its interval; the value is None where it is undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class ClassScores(Fact):
    """The figures of one class."""

    n: int
    precision: Measure
    recall: Measure
    f1: Measure
    roc_auc: Measure
    pr_auc: Measure


class Roc(Fact):
    """Points of an ROC curve, from (0, 0) to (1, 1)."""

    fpr: list[float]
    tpr: list[float]


class PrecisionRecall(Fact):
    """Points of a precision-recall curve, by rising recall."""

    recall: list[float]
    precision: list[float]


class Curves(Fact):
    """Both curves of one class against the rest; without points where undefined."""

    roc: Roc
    pr: PrecisionRecall


class Bin(Fact):
    """Answers of about the same probability."""

    confidence: float
    accuracy: float
    low: float
    high: float
    n: int


class Calibration(Fact):
    """How often answers were right against how sure they were."""

    bins: list[Bin] = []
    error: float | None = None
    """The expected calibration error."""


class Evaluation(Fact):
    """What `lorgnette.evaluation.metrics.evaluate` found on one split."""

    n: int
    unlabelled: int = 0
    groups: int | None = None
    confidence: float
    design_effect: float
    accuracy: Measure
    balanced_accuracy: Measure
    loss: Measure
    roc_auc: Measure
    pr_auc: Measure
    f1: Measure
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    """Rows are given labels, columns answers, both in the order of the classes."""
    curves: dict[str, Curves] = {}
    calibration: Calibration = Calibration()
    positive: str | None = None
    intervals: dict[str, str] = {}

    @property
    def mistakes(self) -> int:
        """The number of wrong answers."""
        return self.n - sum(row[k] for k, row in enumerate(self.confusion))


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
    excluded: dict[str, int] = {}
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


class Training(Fact):
    """How the network was trained."""

    parameters: int | None = None
    epochs: int = 0
    best_epoch: int | None = None
    stopped: str = ""
    device: str = ""
    precision: str = ""
    images: int = 0


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

    @property
    def commonest(self) -> tuple[str, float] | None:
        """The commonest class of the training part, and its share of the test part."""
        if self.test is None or not self.test.n:
            return None
        labels = self.split.part("train").labels
        name = self.classes[labels.index(max(labels))]
        return name, self.test.per_class[name].n / self.test.n
