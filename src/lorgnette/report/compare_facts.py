"""The facts of a comparison of runs: what `compare.html` and the terminal's table show."""

from __future__ import annotations

from lorgnette.report.facts import Epoch, Evaluation, Fact, Measure, Roc, Training


class Contender(Fact):
    """One run among those that are compared."""

    name: str
    """Short, and different from the others'."""
    path: str
    recipe: str
    family: str
    data: str
    """Where its images or vectors came from."""
    training: Training
    epochs: list[Epoch]
    seconds: float | None
    """Of training."""
    train_accuracy: Measure
    """On the training part in the epoch whose weights were kept, as it was learning."""
    train_loss: Measure
    validation: Evaluation
    test: Evaluation
    roc: Roc
    """On test: of the positive class of two, else the mean over classes."""


class Difference(Fact):
    """A setting that is not the same everywhere."""

    name: str
    values: list[str | None]
    """By run; None where the run has no such setting."""


class Pair(Fact):
    """Two runs that were tested on the same items."""

    first: str
    second: str
    n: int
    only_first: int
    only_second: int
    difference: float
    """Accuracy of the first minus that of the second."""
    low: float | None
    high: float | None
    p: float
    corrected: float
    """P with Holm's correction for the number of pairs."""
    groups: int | None


class Apart(Fact):
    """Two runs whose tests cannot be set against each other item by item."""

    first: str
    second: str
    why: str


class Comparison(Fact):
    """All that is said of some runs."""

    version: str
    confidence: float
    runs: list[Contender]
    differences: list[Difference]
    pairs: list[Pair]
    """The surest difference first."""
    apart: list[Apart]

    @property
    def same_test(self) -> bool:
        """Whether all were tested on the same items."""
        return not self.apart
