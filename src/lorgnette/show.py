"""Results on standard output: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lorgnette.dataset.store import Dataset
from lorgnette.progress import say
from lorgnette.report import words

if TYPE_CHECKING:
    from lorgnette.models.summary import RecipeSummary
    from lorgnette.sources.portraits.write import Written

YARDSTICKS = {
    "test_given": "given labels",
    "test_decided": "decided labels",
    "test_confirmed": "confirmed labels",
}
YARDSTICK_FIGURES = ("accuracy", "balanced_accuracy", "f1")
HEADLINES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "loss": "loss",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "f1": "F1",
}


def figures(root: Path, found: dict[str, Any], as_json: bool, *, report: bool = True) -> None:
    """Print figures with their intervals; the curves stay in the run."""
    page = root / "report.html"
    if as_json:
        brief = {
            part: {
                key: value for key, value in facts.items() if key not in ("curves", "calibration")
            }
            for part, facts in found.items()
        }
        print(json.dumps({"run": str(root), "report": str(page) if report else None, **brief}))
        return
    out = Console(highlight=False)
    beside = {part: facts for part, facts in found.items() if part in YARDSTICKS}
    parts = {part: facts for part, facts in found.items() if part not in YARDSTICKS}
    table = Table(box=None, header_style="dim")
    table.add_column("")
    for part, facts in parts.items():
        table.add_column(f"{part} (n = {facts['n']:,})", justify="right")
    if any(facts.get("labels", "given") != "given" for facts in parts.values()) or beside:
        table.add_row(
            "[dim]labels[/]", *(f"[dim]{each.get('labels', '')}[/]" for each in parts.values())
        )
    for key, name in HEADLINES.items():
        table.add_row(name, *(_figure(facts[key]) for facts in parts.values()))
    out.print(table)
    if beside:
        out.print(_yardsticks(beside))
    for facts in found.values():
        if facts.get("seen"):
            say(f"{facts['seen']:,} images were left out: the model was trained with them.")
    if report:
        confidence = next(iter(found.values()))["confidence"]
        out.print(f"[dim]with {confidence:.0%} intervals[/]   report: {page}", soft_wrap=True)


def _yardsticks(found: dict[str, Any]) -> Table:
    """The same answers to the test part, against each kind of labels."""
    table = Table(box=None, header_style="dim")
    table.add_column("\ntest against")
    for key in YARDSTICK_FIGURES:
        table.add_column(f"\n{HEADLINES[key]}", justify="right")
    for part, facts in found.items():
        name = f"{YARDSTICKS[part]} (n = {facts['n']:,})"
        table.add_row(name, *(_figure(facts[key]) for key in YARDSTICK_FIGURES))
    return table


def decisions(found: dict[str, Any]) -> None:
    """Print what was decided, by whom, and the newest decisions."""
    out = Console(highlight=False)
    if found["decisions"]:
        table = Table("decided", "items", box=None, header_style="dim")
        for kind in ("action", "by", "who"):
            for name, count in found[kind].items():
                said = {"by": f"by {name}", "who": name or "without a name"}.get(kind, name)
                table.add_row(escape(said), f"{count:,}")
            table.add_section()
        out.print(table)
        out.print(
            f"{words.count(found['changed'], 'label')} changed, {found['left_out']:,} left out, "
            f"{found['labelled']:,} new; {words.count(found['decisions'], 'line')} in the ledger",
            soft_wrap=True,
        )
        newest = Table("newest", "", "", "", box=None, header_style="dim")
        for line in found["recent"]:
            change = f"{line['from'] or '–'} → {line['to'] or '–'}"
            cells = (line["id"], line["action"], change, line["who"] or line["by"])
            newest.add_row(*map(escape, cells))
        out.print(newest)
    else:
        say("Nothing was decided about these labels yet.")
    if done := found.get("imported"):
        said = f"{words.count(done['decided'], 'decision')} of {words.count(done['rows'], 'row')}"
        say(f"{said} in {done['file']} are new.")
    if done := found.get("exported"):
        say(f"{words.count(done['rows'], 'decision')} are in {done['file']}.")
    if done := found.get("corrections"):
        say(
            f"{words.count(done['rows'], 'label')} are in {done['file']}: {done['changed']:,} "
            f"changed, {done['blank']:,} blank."
        )


def _figure(measure: dict[str, Any]) -> str:
    if measure["value"] is None:
        return "–"
    return f"{measure['value']:.4f} [dim]{measure['low']:.4f}–{measure['high']:.4f}[/]"


def dataset(found: Dataset) -> None:
    """Print what is in a dataset: files by status, items by label."""
    info = found.info
    table = Table("status", "files", box=None, header_style="dim")
    for status, count in info.counts.items():
        if count or status == "ok":
            table.add_row(status, f"{count:,}")
    for name, count in info.labels.items():
        table.add_row(f"  {name}", f"{count:,}")
    if info.unlabelled:
        table.add_row("  without a label", f"{info.unlabelled:,}")
    out = Console(highlight=False)
    out.print(table)
    if info.excluded:
        out.print(words.left_out(info.excluded), soft_wrap=True)
    say(f"The dataset is in {found.location}.")


def portraits(written: Written) -> None:
    """Print what was drawn and how it is labelled."""
    there = f", {written.skipped:,} of them there before" if written.skipped else ""
    files = f" ({words.count(written.files, 'image')}{there})" if written.files else ""
    labels = " and ".join(f"{count:,} {label}" for label, count in written.given.items())
    say(f"{written.out} holds {words.count(written.portraits, 'portrait')}{files}.")
    torn = f"; of {written.undecidable:,} nobody can tell" if written.undecidable else ""
    say(f"Their labels say {labels}; {written.wrong:,} of these are wrong{torn}.")


def recipes(found: Sequence[RecipeSummary], studies: Sequence[tuple[str, str]] = ()) -> None:
    """Print the names of recipes, how many values their networks learn, and what they are.

    Args:
        found: single models.
        studies: searches, names and titles.
    """
    table = Table("recipe", box=None, header_style="dim")
    table.add_column("parameters", justify="right")
    table.add_column("what it is")
    for each in found:
        count = "" if each.parameters is None else f"{each.parameters:,}"
        table.add_row(each.name, count, each.title)
    for place, (name, title) in enumerate(studies):
        if place == 0:
            table.add_section()
        table.add_row(name, "study", title)
    Console(highlight=False).print(table)
