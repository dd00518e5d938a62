"""What a cross-validation found: one self-contained page, and a table for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorgnette.errors import ModelError
from lorgnette.report import foldplots, sheet, words
from lorgnette.rundir import Run

if TYPE_CHECKING:
    from rich.table import Table

NAME = "crossval.html"
COLUMNS = (
    ("accuracy", "train", "training"),
    ("accuracy", "validation", "validation"),
    ("accuracy", "test", "test"),
    ("loss", "train", "training"),
    ("loss", "validation", "validation"),
    ("loss", "test", "test"),
    ("roc_auc", "test", "test"),
)
"""Measure, part and heading of the columns of the fold table."""


def write(run: Path | str) -> Path:
    """Write `crossval.html` into a finished cross-validation.

    Args:
        run: its directory.

    Returns:
        The path of the page.

    Raises:
        ModelError: it is not a finished cross-validation.
    """
    opened = Run.load(run)
    found = opened.read("crossval.json")
    if not found:
        raise ModelError(
            f"{run} holds no finished cross-validation (no crossval.json): start the same "
            "`lorgnette crossval` again and it continues."
        )
    histories = [
        Run(opened.root / "folds" / f"{fold['repeat']}-{fold['fold']}").metrics()
        for fold in found["folds"]
    ]
    page = render(found, histories, opened.root.name, opened.read("environment.json"))
    opened.storage.write(NAME, page.encode("utf-8"))
    return Path(opened.storage.locate(NAME))


def render(
    found: dict[str, Any],
    histories: list[list[dict[str, Any]]],
    title: str,
    machine: dict[str, Any],
) -> str:
    """The page as text.

    Args:
        found: what `crossval.json` says.
        histories: the lines of `metrics.jsonl` of each fold.
        title: a name for the run.
        machine: what `environment.json` says.
    """
    names = ("accuracy", "loss")
    return sheet.render(
        "crossval.html.j2",
        found=found,
        title=title,
        machine=machine,
        columns=COLUMNS,
        shown=shown,
        limits=limits,
        level=f"{100 * found['confidence']:g}%",
        took=[end(fold["seconds"] for fold in found["folds"]) for end in (min, max)],
        boxes={name: foldplots.boxes(found["folds"], name) for name in names},
        curves={name: foldplots.curves(histories, name) for name in names},
    )


def shown(value: float | None, measure: str, n: int = 0) -> str:
    """A figure as text: percent for the accuracy, three decimals for the others."""
    if measure == "accuracy":
        return words.percent(value, n)
    return words.plain(value) if measure == "loss" else words.score(value)


def limits(summed: dict[str, Any], measure: str) -> str:
    """The interval of a mean as "0.872–0.893"; empty where there is none."""
    if summed["low"] is None:
        return ""
    return f"{shown(summed['low'], measure)}–{shown(summed['high'], measure)}"


def table(found: dict[str, Any]) -> Table:
    """The fold table for a terminal: a row per fold, then mean, deviation and interval."""
    from rich.table import Table

    made = Table(box=None, header_style="dim")
    made.add_column("\nfold", no_wrap=True)
    for head in ("accuracy\ntrain", "\nval", "\ntest", "loss\ntrain", "\nval", "\ntest",
                 "AUC\ntest", "\nepochs"):  # fmt: skip
        made.add_column(head, justify="right", no_wrap=True)
    for fold in found["folds"]:
        name = str(fold["fold"] + 1)
        if found["repeats"] > 1:
            name = f"{fold['repeat'] + 1}.{name}"
        cells = [_cell(fold[part][measure]) for measure, part, _ in COLUMNS]
        made.add_row(name, *cells, str(fold["epochs"]))
    summed = [found["summary"][part][measure] for measure, part, _ in COLUMNS]
    made.add_section()
    made.add_row("mean", *(f"[bold]{_cell(each['value'])}[/]" for each in summed), "")
    made.add_row("deviation", *(_cell(each["deviation"]) for each in summed), "")
    for end in ("low", "high"):
        cells = ["" if each[end] is None else _cell(each[end]) for each in summed]
        made.add_row(f"{found['confidence']:.0%} {end}", *cells, "", style="dim")
    return made


def show(found: dict[str, Any], page: Path | None = None) -> None:
    """Print the fold table, the pooled accuracy and where the page is, on standard output."""
    from rich.console import Console

    out = Console(highlight=False)
    out.print(table(found))
    pooled = found["pooled"]["accuracy"]
    out.print(
        f"out of fold: accuracy {pooled['value']:.4f} "
        f"[dim]{pooled['low']:.4f}–{pooled['high']:.4f}[/] (n = {pooled['n']:,})",
        soft_wrap=True,
    )
    if page is not None:
        out.print(f"report: {page}", soft_wrap=True, markup=False)


def _cell(value: float | None) -> str:
    return words.NONE if value is None else f"{value:.4f}"
