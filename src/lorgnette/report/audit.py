"""The report of an audit: what is wrong with the labels, what was done about it, what is left."""

from __future__ import annotations

from pathlib import Path

from lorgnette.dataset.store import Dataset
from lorgnette.evaluation.intervals import wilson
from lorgnette.report import audit_figures, sheet, words
from lorgnette.report.audit_collect import collect_audit
from lorgnette.report.audit_facts import Audit
from lorgnette.report.svg import CLASS_COLORS
from lorgnette.storage import Storage

PAGE = "report.html"
FEW, FEW_OF_A_CLASS = 500, 30
"""Labels, in all and of a class, below which an estimate says little."""
HALF = 0.4
"""Of a class's labels wrong: near one half the models cannot know which half is."""
BIN = 20
"""Checked labels from which on a bin of the calibration says something."""
PAIRS = 15
"""Kinds of wrong labels that are listed."""


def write(audit_dir: str, dataset: Dataset) -> Path:
    """Write `report.html` into the directory of an audit.

    Args:
        audit_dir: what `lorgnette audit` left.
        dataset: what was audited; its ledger says what was done since.

    Returns:
        The path of the page.

    Raises:
        DatasetError: there is no audit, it is damaged, or it is of another dataset.
    """
    storage = Storage.at(audit_dir)
    storage.write(PAGE, render(collect_audit(audit_dir, dataset)).encode("utf-8"))
    return Path(storage.locate(PAGE))


def headline(facts: Audit) -> tuple[str, str, str]:
    """How much of the labels is wrong, in three pieces: before the figure, the figure, after it."""
    rate, n = facts.noise.rate, facts.labelled
    if not n or rate.value is None:
        return "There is ", "no label", f" on these {words.count(facts.items, facts.noun)}."
    about = words.about(rate.value * n)
    return (
        "An estimated ",
        words.percent(rate.value, n),
        f" of the {words.count(n, 'label')} are wrong: {about} of them.",
    )


LITTLE = 0.05
"""Models that are hardly better than the commonest label have nothing to say."""


def cautions(facts: Audit) -> list[str]:
    """What a reader must know before acting on the page; often nothing."""
    found = []
    noise, noun = facts.noise, facts.noun
    if facts.labelled < FEW:
        found.append(
            f"There are only {words.count(facts.labelled, 'label')}: the estimates are rough, and "
            "models that learn from so few take rare kinds of pictures for wrong ones."
        )
    sides = [row.n for row in noise.by_class]
    agreement = facts.rounds[-1].agreement if facts.rounds else None
    commonest = max(sides, default=0) / max(facts.labelled, 1)
    if agreement is not None and agreement < commonest + LITTLE:
        found.append(
            f"The models agree with {agreement:.0%} of the labels, and always saying the commonest "
            f"would with {commonest:.0%}: they have learnt too little to judge "
            "labels. More images, larger ones or another recipe would help."
        )
    few = [row.name for row in noise.by_class if row.n < FEW_OF_A_CLASS]
    if few:
        found.append(
            f"Fewer than {FEW_OF_A_CLASS} {noun}s are labelled {words.listed(few)}: what is said "
            "of so few may be luck."
        )
    half = [row.name for row in noise.by_class if (row.rate.value or 0) > HALF]
    if half:
        found.append(
            f"More than {HALF:.0%} of the labels {words.listed(half)} look wrong. Models that "
            "learnt from them cannot know which half is right: look at some before any rule does."
        )
    wrong = [row.name for row in noise.by_class if row.rate.value is None]
    if wrong:
        found.append(f"Nothing can be said of the labels {words.listed(wrong)}.")
    off = _off(facts)
    if off:
        found.append(
            f"Suspicion is not what it says it is: of the labels marked {off[0]}, {off[1]} were "
            "found wrong."
        )
    ruled = facts.decisions.by("rule")
    if ruled:
        found.append(
            f"{words.count(ruled, 'decision')} {'was' if ruled == 1 else 'were'} made by rule and "
            f"not confirmed by anybody; {words.about(facts.left.by_rule)} wrong ones are expected "
            "among them."
        )
    straddling = facts.straddling.total
    if straddling:
        found.append(
            f"{words.count(straddling, 'cluster')} of copies {'is' if straddling == 1 else 'are'} "
            "in more than one part of the split: figures on test flatter a model that has seen the "
            "copy."
        )
    return found


def _off(facts: Audit) -> tuple[str, str] | None:
    """The worst bin of the calibration that chance does not explain: suspicion, share observed."""
    worst, most = None, 0.05
    for one in facts.calibration:
        if one.observed is None or one.looked < BIN:
            continue
        low, high = wilson(one.observed, one.looked, 0.99)
        if not low <= one.expected <= high and abs(one.observed - one.expected) > most:
            worst = (
                words.percent(one.expected, one.looked),
                words.percent(one.observed, one.looked),
            )
            most = abs(one.observed - one.expected)
    return worst


def render(facts: Audit) -> str:
    """The page as text."""
    classes, noise = facts.classes, facts.noise
    wrong = [
        (given, true, count, count / max(sum(row), 1e-9))
        for given, row in zip(classes, noise.joint, strict=True)
        for true, count in zip(classes, row, strict=True)
        if given != true and count >= 0.5
    ]
    # Beyond the palette a colour would mean several classes.
    few = len(classes) <= len(CLASS_COLORS)
    tints = {name: sheet.tint(place) for place, name in enumerate(classes)} if few else {}
    return sheet.render(
        "audit.html.j2",
        facts=facts,
        headline=headline(facts),
        cautions=cautions(facts),
        wrong=sorted(wrong, key=lambda row: -row[2])[:PAIRS],
        wrongs=len(wrong),
        tints=tints,
        listed=audit_figures.LISTED,
        joint=audit_figures.joint(noise, classes),
        by_class=audit_figures.by_class(noise.by_class, noise.rate) if len(classes) > 1 else "",
        suspicions=audit_figures.suspicions(facts.histogram),
        ranking=audit_figures.ranking(facts.ranking),
    )
