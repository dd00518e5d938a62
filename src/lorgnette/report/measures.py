"""Figures as facts: a value with its interval, and everything found about a model on one split."""

from __future__ import annotations

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
