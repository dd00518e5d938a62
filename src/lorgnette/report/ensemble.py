"""The report of an ensemble: one self-contained page, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorgnette.errors import ModelError
from lorgnette.predictions import Predictions
from lorgnette.report import collect, ensemble_figures, figures, sheet, words
from lorgnette.report.facts import Histogram, Mistake
from lorgnette.report.items import title
from lorgnette.report.measures import Evaluation, Measure
from lorgnette.report.page import NAME, OVERALL
from lorgnette.report.svg import CLASS_COLORS
from lorgnette.rundir import Run

if TYPE_CHECKING:
    from rich.table import Table

HOW = {
    "average": "{} answer as one, with the mean of their probabilities.",
    "vote": "{} answer as one, by the majority of their votes.",
    "soup": "One network, whose weights are the mean of those of {}.",
}
YARDSTICKS = {
    "test_given": "given labels",
    "test_decided": "decided labels",
    "test_confirmed": "confirmed labels",
}
FEW = 100
"""With fewer test items the page says that intervals are wide."""
LISTED = 100
"""Runs that were left out and are listed."""


def write(run: Path | str) -> Path:
    """Write `report.html` into a finished ensemble.

    Args:
        run: its directory.

    Returns:
        The path of the page.

    Raises:
        ModelError: it is not a finished ensemble.
        DatasetError: its dataset is gone or damaged.
    """
    opened = Run.load(run)
    found, evaluations = opened.read("ensemble.json"), opened.read("evaluation.json")
    if not found or "test" not in evaluations:
        raise ModelError(
            f"{run} holds no finished ensemble (no ensemble.json): start the same `lorgnette "
            "ensemble` again and it continues."
        )
    config = opened.config
    items = collect._Items(opened.dataset(), opened.storage, config.train.labels)
    predictions = Predictions.load(opened.storage, "predictions/test.parquet")
    page = render(
        found,
        {name: Evaluation.model_validate(facts) for name, facts in evaluations.items()},
        collect._mistakes(predictions, items, config.evaluate.mistakes),
        collect._histogram(predictions),
        name=opened.root.name,
        source=title(items.dataset),
        item="vector" if items.dataset.is_vectors else "image",
        tested=evaluations["test"].get("labels", "given"),
        machine=opened.read("environment.json"),
    )
    opened.storage.write(NAME, page.encode("utf-8"))
    return Path(opened.storage.locate(NAME))


def render(
    found: Mapping[str, Any],
    evaluations: Mapping[str, Evaluation],
    mistakes: Sequence[Mistake],
    histogram: Histogram | None,
    *,
    name: str,
    source: str,
    item: str,
    tested: str,
    machine: Mapping[str, Any],
) -> str:
    """The page as text.

    Args:
        found: what `ensemble.json` says.
        evaluations: what `evaluation.json` says.
        mistakes: the worst ones on test.
        histogram: of the positive class's probability on test, with two classes.
        name: of the run.
        source: what the data are called.
        item: what an item is called.
        tested: the labels that figures are against, `given` or `decided`.
        machine: what `environment.json` says.
    """
    test, classes = evaluations["test"], list(found["classes"])
    few = len(classes) <= len(CLASS_COLORS)
    have = test.n > 0
    drawn = {
        "forest": ensemble_figures.forest(found),
        "path": ensemble_figures.path(found),
        "matrix": ensemble_figures.matrix(found),
        "confusion": figures.confusion(test, classes) if have else "",
        "histogram": figures.histogram(histogram, classes, classes[1]) if histogram else "",
        "roc": figures.roc(test, classes) if have else "",
        "pr": figures.precision_recall(test, classes) if have else "",
        "reliability": figures.reliability(test.calibration) if have else "",
    }
    return sheet.render(
        "ensemble.html.j2",
        found=found,
        validation=evaluations["validation"],
        test=test,
        yardsticks={
            text: evaluations[key] for key, text in YARDSTICKS.items() if key in evaluations
        },
        mistakes=mistakes,
        figures=drawn,
        name=name,
        source=source,
        item=item,
        tested=tested,
        machine=machine,
        what=what(found),
        chosen=chosen(found),
        beside=beside(found),
        cautions=cautions(found, item),
        headline=headline(test, item, tested),
        overall=OVERALL,
        tints={each: sheet.tint(code) for code, each in enumerate(classes)} if few else {},
        level="%g" % (100 * found["confidence"]) + "%",
        listed=LISTED,
        m=Measure.model_validate,
    )


def headline(test: Evaluation, item: str, tested: str) -> tuple[str, str, str]:
    """What was found, in three pieces: before the figure, the figure, after it."""
    before, figure, after = words.headline(test, item)
    if tested != "given" and test.n:
        after = after.removesuffix(".") + f" by the labels as {tested}."
    return before, figure, after


def what(found: Mapping[str, Any]) -> str:
    """What the ensemble is, in a sentence; empty where it is a single network."""
    count = len(found["members"])
    return HOW[found["combine"]].format(f"{count:,} networks") if count > 1 else ""


def beside(found: Mapping[str, Any]) -> str:
    """What being several gains on test, in a sentence; empty where nothing can be said."""
    apart, best = found["test"]["difference"], found["test"]["best"]
    if apart is None:
        return ""
    first = found["members"][0]["name"]
    alone = words.percent(best["accuracy"]["value"], best["n"])
    if len(found["members"]) == 1:
        return f"There is one member, {first}, with {alone}."
    points = f"{100 * apart['difference']:+.1f} points"
    if apart["low"] is not None:
        points += f" ({100 * apart['low']:+.1f} to {100 * apart['high']:+.1f})"
    proven = apart["p"] < 1 - found["confidence"]
    verdict = "beyond chance" if proven else "no more than chance would give"
    return (
        f"The member that is best on validation, {first}, has {alone} alone: a difference of "
        f"{points}, {verdict} (p = {words.score(apart['p'])})."
    )


def chosen(found: Mapping[str, Any]) -> str:
    """How members were chosen, in words."""
    count = len(found["members"]) + len(found["left_out"])
    pool = words.count(count, "run")
    if found["above"] is not None:
        pool += f", of those with a validation accuracy above {words.percent(found['above'])}"
    best = "the best one" if found["best"] == 1 else f"the best {found['best']}"
    if found["combine"] == "soup":
        best = f" {best}," if found["best"] else ""
        return f"from {pool},{best} one by one: those with which validation does not get worse"
    return {
        "all": f"all of {pool}" if found["above"] is None else f"from {pool}: all",
        "best": f"from {pool}: {best} on validation",
        "greedy": f"from {pool}: one by one, each time the one with which validation is best, "
        "several times if that helps",
    }[found["select"]]


def cautions(found: Mapping[str, Any], item: str) -> list[str]:
    """What a reader must know before trusting the figures; often nothing."""
    texts = []
    n, members = found["test"]["ensemble"]["n"], len(found["members"])
    if 0 < n < FEW:
        texts.append(
            f"There are only {words.count(n, f'test {item}')}: the intervals are wide, and small "
            "differences mean nothing."
        )
    if members == 1:
        kind = "soup" if found["combine"] == "soup" else "ensemble"
        tried = found["combine"] == "soup" or found["select"] == "greedy"
        left = len(found["left_out"]) if tried else 0
        why = f"; {words.count(left, 'other run')} did not help on validation" if left else ""
        texts.append(f"The {kind} is a single network{why}: it can be no better than that.")
    return texts


def table(found: Mapping[str, Any]) -> Table:
    """The ensemble and its members for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    made = Table(box=None, header_style="dim")
    made.add_column("")
    for head in ("validation", "test", "test loss", "counts"):
        made.add_column(head, justify="right", no_wrap=True)
    several = len(found["members"]) > 1
    total = sum(each["weight"] for each in found["members"])

    def row(name: str, validation: Any, test: Any, counts: str = "", style: str = "") -> None:
        cells = [
            _figure(m := Measure.model_validate(each["accuracy"]), words.percent(m.value, m.n))
            for each in (validation, test)
        ]
        loss = test["loss"]["value"]
        made.add_row(escape(name), *cells, words.plain(loss), counts, style=style)

    row("together", found["validation"]["ensemble"], found["test"]["ensemble"], str(total), "bold")
    if several:
        row("mean member", found["validation"]["mean"], found["test"]["mean"])
    made.add_section()
    for each in found["members"]:
        row(each["name"], each["validation"], each["test"], str(each["weight"]))
    return made


def _figure(measure: Measure, value: str) -> str:
    limits = words.limits(measure, "percent")
    return f"{value} [dim]{limits}[/]" if limits else value


def show(found: Mapping[str, Any], page: Path | None = None) -> None:
    """Print members, agreement and where the page is, on standard output."""
    from rich.console import Console

    out = Console(highlight=False)
    out.print(table(found))
    agree = found["test"]["agreement"]
    if agree["pairwise"] is not None:
        all_of_them = Measure.model_validate(agree["unanimous"])
        out.print(
            f"two members agree on {words.percent(agree['pairwise'])} of the test items, all on "
            f"{words.percent(all_of_them.value, all_of_them.n)} "
            f"[dim]{words.limits(all_of_them, 'percent')}[/]",
            soft_wrap=True,
        )
    if text := beside(found):
        out.print(text, soft_wrap=True, markup=False)
    if page is not None:
        level = f"{found['confidence']:.0%}"
        out.print(f"[dim]with {level} intervals[/]   report: {page}", soft_wrap=True)
