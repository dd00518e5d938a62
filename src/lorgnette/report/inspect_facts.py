"""The facts of an inspection: what `inspect.json` holds and `inspect.html` shows."""

from __future__ import annotations

from typing import Literal

from lorgnette.report.facts import Fact, Reading


class ClassCount(Fact):
    """A class and how many usable items carry its label."""

    name: str
    items: int
    share: float
    """Of the labelled items."""


class Groups(Fact):
    """What belongs together, over all usable items."""

    count: int
    least: int
    """Items of the smallest group; the median and the largest likewise."""
    median: float
    most: int
    mixed: int
    """Groups whose items carry different labels."""


class Feature(Fact):
    """A column of numbers, and how far apart the classes' means are in it."""

    name: str
    means: list[float]
    """In standard deviations from the mean of all, by class."""
    raw: list[float]
    """The means as they are in the data, by class."""
    separation: float
    """Eta squared: the share of the variance that the class means explain."""


class Separation(Fact):
    """Which features tell the classes apart, one at a time."""

    features: list[Feature]
    """The ones that separate most, the first one most."""
    count: int
    """All features."""
    found: int
    """Those whose means differ by more than chance would give any feature in one dataset of
    twenty: an F test at 0.05, divided by the number of features (Bonferroni)."""


class MeanPicture(Fact):
    """The mean of a class's pictures, and how it differs from what it is compared with."""

    name: str
    items: int
    source: str
    """A `data:` URI."""
    difference: str | None
    """A `data:` URI: blue is darker, red is lighter; None where another class shows the same."""


class Cloud(Fact):
    """The sample as points in the plane."""

    name: str
    note: str
    axes: list[str]
    """Names of the axes; empty where they mean nothing."""
    points: list[tuple[float, float]]


class Projections(Fact):
    """Everything that was drawn of a sample."""

    space: str
    """What the vectors are, in words."""
    dimensions: int
    items: int
    """Items that the components were found on."""
    ids: list[str]
    """The sample."""
    labels: list[int]
    """Codes into the classes, -1 for none; in the order of `ids`."""
    sampled: bool
    """Whether the sample is less than all."""
    seed: int
    tool: str
    """What made the t-SNE."""
    variance: list[float]
    """Shares of the whole variance: of each principal component that was kept."""
    clouds: list[Cloud]
    agreement: float | None
    """How often an item's ten nearest neighbours, among the sample and by the first components,
    carry its label."""
    chance: float | None
    """How often any other item of the sample does."""


class Inspection(Fact):
    """All that is said of a dataset."""

    title: str
    version: str
    location: str
    kind: Literal["images", "vectors"]
    classes: list[ClassCount]
    items: int
    """Usable ones."""
    unlabelled: int
    given: dict[str, int]
    """Usable items in each part that the source gives; empty where it gives none."""
    groups: Groups | None
    reading: Reading
    separation: Separation | None
    """Vectors only."""
    pictures: list[MeanPicture]
    """Images only; of the first classes where there are many."""
    against: str
    """What the differences are taken from, and how they are coloured, in words."""
    projections: Projections | None
    """None where there are too few items."""

    @property
    def noun(self) -> str:
        """What an item is called."""
        return "image" if self.kind == "images" else "row"
