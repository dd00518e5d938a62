"""One self-contained HTML file: facts and figures in, nothing loaded from anywhere.

The page carries a content security policy that forbids every request; styles, pictures and the few
lines of script are inside it. Everything that a user can name is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorgnette.report import figures, labels_words, templates, words
from lorgnette.report.collect import collect
from lorgnette.report.facts import Facts, Measure
from lorgnette.report.svg import CLASS_COLORS
from lorgnette.storage import Storage

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"

OVERALL: tuple[tuple[str, str, str, str], ...] = (
    ("accuracy", "Accuracy", "percent", "right answers"),
    ("balanced_accuracy", "Balanced accuracy", "percent", "mean over classes of the share found"),
    ("f1", "F1", "score", "mean over classes"),
    ("roc_auc", "ROC AUC", "score", "mean over classes, each against the rest"),
    ("pr_auc", "PR AUC", "score", "average precision, mean over classes"),
    ("loss", "Loss", "plain", "mean negative log-likelihood; lower is better"),
)
"""The overall measures: name, title, how it is written, what it is."""

CONFUSIONS = 8
"""Of the commonest confusions, how many the page lists."""


def write(run: Path | str) -> Path:
    """Write `report.html` into a finished run.

    Args:
        run: the run directory.

    Returns:
        The path of the page.

    Raises:
        ModelError: it is not a finished run.
        DatasetError: its dataset is gone or damaged.
    """
    page = render(collect(run))
    storage = Storage.at(run)
    storage.write(NAME, page.encode("utf-8"))
    return Path(storage.locate(NAME))


def render(facts: Facts) -> str:
    """The page as text."""
    template = _environment().get_template("page.html.j2")
    script = templates.part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return template.render(
        facts=facts,
        w=words,
        lw=labels_words,
        style=templates.style("page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        headline=labels_words.headline(facts),
        cautions=[*words.cautions(facts), *labels_words.cautions(facts.labels, facts.reading.item)],
        overall=OVERALL,
        figures=_figures(facts),
        scale=_scale(facts),
        tint=_tint(facts),
        few=len(facts.classes) <= len(CLASS_COLORS),
        confusions=_confusions(facts),
        largest=max(map(sum, zip(*(part.labels for part in facts.split.parts), strict=True))) or 1,
        created=_date(facts.created),
        judged_confidence=facts.test.confidence if facts.test else 0.95,
        stages=_stages(facts.timings),
    )


@cache
def _environment() -> Environment:
    environment = templates.environment()
    shown: dict[str, Callable[[Measure], str]] = {
        "percent": lambda measure: words.percent(measure.value, measure.n),
        "score": lambda measure: words.score(measure.value),
        "plain": lambda measure: words.plain(measure.value),
    }
    environment.filters["shown"] = lambda measure, kind: shown[kind](measure)
    return environment


def _figures(facts: Facts) -> dict[str, str]:
    """SVG by name; empty text where there is nothing to see."""
    test, classes = facts.test, facts.classes
    drawn = {
        name: figures.learning(facts.epochs, facts.training.best_epoch, name)
        for name in ("loss", "accuracy")
    }
    have = test is not None and test.n > 0
    drawn["confusion"] = figures.confusion(test, classes) if test and have else ""
    drawn["roc"] = figures.roc(test, classes) if test and have else ""
    drawn["pr"] = figures.precision_recall(test, classes) if test and have else ""
    drawn["reliability"] = figures.reliability(test.calibration) if test and have else ""
    drawn["histogram"] = (
        figures.histogram(facts.histogram, classes, classes[1]) if facts.histogram else ""
    )
    return drawn


def _scale(facts: Facts) -> dict[str, float] | None:
    """Where the accuracy's ruler begins and what stands on it, as shares of its length."""
    test = facts.judged
    if test is None or test.accuracy.value is None or test.accuracy.low is None:
        return None
    commonest = facts.commonest
    base = commonest[1] if commonest else 0.0
    floor = int(min(base, test.accuracy.low) * 10) / 10
    if floor > 0.9:
        floor = 0.9
    length = 1 - floor

    def place(value: float) -> float:
        return round(100 * (value - floor) / length, 3)

    low, high = test.accuracy.low, test.accuracy.high or test.accuracy.value
    return {
        "floor": floor,
        "value": place(test.accuracy.value),
        "low": place(low),
        "width": place(high) - place(low),
        "middle": (place(low) + place(high)) / 2,
        "base": place(base),
        "apart": (place(low) + place(high)) / 2 - place(base) > 30,
    }


def _tint(facts: Facts) -> dict[str, str]:
    """The CSS colour of each class, the same as in the figures."""
    few = len(facts.classes) <= len(CLASS_COLORS)
    return {
        name: f"var(--k{place})" if few else "var(--k-other)"
        for place, name in enumerate(facts.classes)
    }


def _confusions(facts: Facts) -> list[dict[str, Any]]:
    """The commonest mistakes as given, answered, count and share of the given class."""
    test = facts.test
    if test is None:
        return []
    found = [
        {"given": given, "answered": answered, "count": count, "share": count / sum(row)}
        for given, row in zip(facts.classes, test.confusion, strict=True)
        for answered, count in zip(facts.classes, row, strict=True)
        if count and given != answered
    ]
    return sorted(found, key=lambda entry: -int(str(entry["count"])))[:CONFUSIONS]


def _stages(timings: dict[str, float]) -> list[tuple[str, float, float]]:
    """Stages with their seconds and their share of the longest."""
    longest = max(timings.values(), default=0.0) or 1.0
    return [(name, value, 100 * value / longest) for name, value in timings.items()]


def _date(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = moment.strftime(" %Z") if moment.tzinfo else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"
