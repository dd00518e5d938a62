"""The facts of an audit: what is wrong with the labels, what was done, and what is left."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from lorgnette.report.measures import Fact, Measure


class ClassNoise(Fact):
    """How many of the labels of one class are estimated wrong."""

    name: str = Field(validation_alias=AliasChoices("class", "name"))
    n: int
    """Items that carry the label."""
    rate: Measure


class Noise(Fact):
    """The estimate of the noise in the given labels."""

    rate: Measure
    method: str = ""
    joint: list[list[float]]
    """Estimated counts (K, K): rows are given labels, columns likely true classes."""
    by_class: list[ClassNoise]
    cleanlab: Measure | None = None
    """What cleanlab's own estimate is on the same probabilities."""

    @property
    def noisiest(self) -> list[ClassNoise]:
        """The classes by falling noise, those of which nothing is known last."""
        return sorted(self.by_class, key=lambda row: (-(row.rate.value or 0), row.name))

    @property
    def wrong(self) -> float:
        """The estimated number of wrong labels."""
        return sum(map(sum, self.joint)) - sum(row[k] for k, row in enumerate(self.joint))


class Threshold(Fact):
    """The labels that are at least so suspicious."""

    at: float
    items: int
    expected: float
    """Of these, wrong by the sum of their suspicion."""
    open: int
    """Of these, not decided yet."""


class Target(Fact):
    """What it takes to find a share of the wrong labels."""

    share: float
    looked: int
    """Items to look at, the most suspicious first."""
    found: float
    """Wrong labels expected among them."""
    last: float
    """The suspicion of the last of them."""


class Ranking(Fact):
    """Wrong labels expected among the items looked at, the most suspicious first."""

    looked: list[int]
    found: list[float]
    total: float
    """Wrong labels expected among all, the sum of all suspicions."""
    targets: list[Target]


class Histogram(Fact):
    """How many labels are how suspicious."""

    edges: list[float]
    counts: list[int]


class Verdict(Fact):
    """The decision in force on an item."""

    action: str
    to: str | None
    """The label in force since."""
    who: str
    by: str


class Finding(Fact):
    """An item that something was found about."""

    id: str
    source: str
    """A `data:` URI; empty for a vector."""
    given: str | None
    proposed: str | None
    suspicion: float | None
    confidence: float | None
    undecidable: float | None
    outlier: float | None
    part: str | None
    verdict: Verdict | None = None


class Found(Fact):
    """Items with one kind of finding, and some of them."""

    total: int
    shown: list[Finding]


class PairFound(Found):
    """Suspicious labels of one kind: given so, likely that."""

    given: str
    proposed: str


class Copy(Fact):
    """One of several copies of the same thing."""

    id: str
    source: str
    given: str | None
    now: str | None
    """The label in force."""
    part: str | None
    distance: float | None


class Cluster(Fact):
    """Copies and near-duplicates that belong together."""

    kind: str
    """exact, hash or embedding: the loosest tie in it."""
    size: int
    settled: bool
    """Whether a decision was made and the copies no longer contradict each other."""
    copies: list[Copy]


class Clusters(Fact):
    """Clusters of one kind, and some of them."""

    total: int
    settled: int
    shown: list[Cluster]


class Tally(Fact):
    """Standing decisions of one action, by who decided."""

    action: str
    person: int
    rule: int
    imported: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.person + self.rule + self.imported


class Hand(Fact):
    """Somebody, or something, that decided."""

    who: str
    by: str
    count: int


class Ground(Fact):
    """Why decisions were made: a rule as written, a note, or the file of an import."""

    by: str
    text: str
    count: int
    """Standing decisions."""
    matched: int | None = None
    """Items that the rule matched when it was applied; None for what is no rule."""
    changed: int | None = None


class Flow(Fact):
    """Labels that were changed from one class to another."""

    given: str | None
    now: str | None
    """None: the item was dropped, or its class is not to be told."""
    count: int
    person: int
    """Of these, by a person; the others by a rule or an import."""


class Decisions(Fact):
    """What was decided, as it stands."""

    items: int
    """Items with a standing decision."""
    lines: int
    """Lines in the ledger, those that were undone or superseded among them."""
    tallies: list[Tally]
    hands: list[Hand]
    grounds: list[Ground]
    flows: list[Flow]
    """The commonest changes of labels first."""
    first: str = ""
    last: str = ""

    @property
    def changed(self) -> int:
        """Items whose label in force is not the given one."""
        return sum(flow.count for flow in self.flows)

    def by(self, hand: str) -> int:
        """Standing decisions of a `person`, a `rule`, or an `imported` file."""
        return sum(getattr(tally, hand) for tally in self.tallies)


class Left(Fact):
    """What is still wrong, as far as it can be told."""

    before: float
    """Labels expected to be wrong as given, the sum of their suspicion."""
    expected: float
    """Labels in force that are expected to be wrong."""
    labelled: int
    """Items with a label in force."""
    rate: float | None
    """`expected / labelled`."""
    by_rule: float
    """Of these, among what a rule has decided."""
    open: int
    """Items with a label more likely wrong than right, and no decision."""
    hundred: float
    """Wrong labels expected among the next 100 undecided ones, the most suspicious first."""


class CalibrationBin(Fact):
    """Labels of about the same suspicion."""

    low: float
    high: float
    n: int
    expected: float
    looked: int = 0
    """How many of them persons settled, of which `observed` is the share that was wrong."""
    observed: float | None = None


class Round(Fact):
    """One round of models that have not seen what they judge."""

    round: int
    folds: int = 0
    seeds: int = 0
    seconds: float = 0.0
    agreement: float | None = None
    changed: int | None = None


class Audit(Fact):
    """All that is said of a dataset's labels."""

    title: str
    version: str
    location: str
    audit: str
    """The directory of the audit."""
    kind: str
    """images or vectors."""
    classes: list[str]
    items: int
    labelled: int
    unlabelled: int
    seed: int | None
    noise: Noise
    found: dict[str, int]
    duplicates: dict[str, int]
    histogram: Histogram
    thresholds: list[Threshold]
    ranking: Ranking
    pairs: list[PairFound]
    rare: int
    """Kinds of suspicious labels that are not shown."""
    undecidable: Found
    outliers: Found
    unlabelled_found: Found
    conflicts: Clusters
    straddling: Clusters
    calibration: list[CalibrationBin]
    decisions: Decisions
    changed: Found
    left: Left
    rounds: list[Round]
    seconds: dict[str, float]

    @property
    def noun(self) -> str:
        """What an item is called."""
        return "vector" if self.kind == "vectors" else "image"
