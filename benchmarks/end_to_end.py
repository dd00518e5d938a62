"""From image files to a test figure: Lorgnette against experiment 2's pipeline as published.

    pip install 'lorgnette[benchmarks]'    # Keras, TensorFlow: without them their rows are missing
    python benchmarks/end_to_end.py --data FOLDER

Two commands take turns, round by round, each in a process and an output directory of its own:

- `lorgnette run SRC --size 64`, the default recipe, from files to report;
- `benchmarks/keras_experiment2.py`, Keras 3 on TensorFlow, from files to test figure.

Every round has a seed of its own, for the split too. Both get the same split, as a folder of links
`{train,val,test}/<class>/`, which is made before from Lorgnette's split of FOLDER and not measured.
Both may use all processors, and both find files and libraries in the page cache.

What is measured is the wall time from the start of the process to its end, imports included, and
to the moment when the test figure is on disk: Lorgnette draws a report after that and Keras does
not, so the first of the two is to Lorgnette's disadvantage. Intervals are Wilson's at 95%. The
summary gives medians over rounds, the accuracy with the interval of the round that is the median,
and as ratio the median of Keras's time over Lorgnette's in the same round.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, median_low
from typing import Any

from rich.console import Console
from rich.table import Table

from lorgnette.config import PrepareConfig, SplitConfig
from lorgnette.evaluation.intervals import wilson
from record import RESULTS, Cell, save

CONSOLE = Console(width=None if sys.stdout.isatty() else 120)
KERAS = Path(__file__).with_name("keras_experiment2.py")
COLUMNS = (
    "contender", "round", "seconds", "seconds_to_figure", "accuracy", "low", "high", "n",
    "epochs", "parameters", "ratio", "ratio_to_figure", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the result: a round of a contender, its summary, or why it did not take part."""

    contender: str
    round: str
    seconds: float | None = None
    to_figure: float | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    epochs: float | None = None
    parameters: int | None = None
    ratio: float | None = None
    ratio_to_figure: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Contender:
    """A program that takes part.

    Attributes:
        command: the command line from source folder, output folder and seed.
        figure: the file in the output folder that holds the test figure.
        facts: from the output folder: accuracy, n, epochs, parameters.
        imports: what to import once beforehand, so that it is read from a disk in no round.
        needs: modules without which it cannot take part.
    """

    command: Callable[[Path, Path, int], list[str]]
    figure: str
    facts: Callable[[Path], dict[str, Any]]
    imports: str
    needs: Sequence[str] = ()


def contenders(size: int, max_epochs: int, batch: int) -> dict[str, Contender]:
    """Who takes part, by name."""

    def lorgnette(source: Path, out: Path, seed: int) -> list[str]:
        # `python -m lorgnette` is the console command, of this very environment.
        arguments = [str(source), "--size", str(size), "--seed", str(seed), "--out", str(out)]
        return [sys.executable, "-m", "lorgnette", "run", *arguments]

    def keras(source: Path, out: Path, seed: int) -> list[str]:
        options = ["--size", str(size), "--seed", str(seed), "--out", str(out / "figures.json")]
        options += ["--max-epochs", str(max_epochs), "--batch", str(batch)]
        return [sys.executable, str(KERAS), str(source), *options]

    return {
        "lorgnette": Contender(
            lorgnette, "evaluation.json", _lorgnette_facts, "torch, matplotlib, pyarrow"
        ),
        "keras": Contender(
            keras,
            "figures.json",
            lambda out: dict(json.loads((out / "figures.json").read_text())),
            "keras",
            ("tensorflow", "keras"),
        ),
    }


def _lorgnette_facts(out: Path) -> dict[str, Any]:
    test = json.loads((out / "evaluation.json").read_text())["test"]
    training = json.loads((out / "run.json").read_text())["training"]
    return {
        "accuracy": test["accuracy"]["value"],
        "n": test["n"],
        "epochs": training["epochs"],
        "parameters": training["parameters"],
    }


def link_split(data: Path, place: Path, seeds: Sequence[int]) -> list[Path]:
    """Divide the images of a folder or table; returns a folder of links for each seed."""
    import lorgnette
    from lorgnette.dataset.split import PARTS, split

    dataset = lorgnette.prepare(data, place / "dataset", PrepareConfig(size=(32,)))
    rows = dataset.rows(["path", "label"]).to_pylist()
    folders = []
    for seed in seeds:
        folder = place / f"split-{seed}"
        divided = split(dataset, SplitConfig(), seed)
        for part in PARTS:
            for index in divided.indices(part).tolist():
                # Numbered, since one name may occur in several folders below a class.
                target = Path(dataset.info.images, rows[index]["path"])
                link = folder / part / rows[index]["label"] / f"{index:07d}{target.suffix}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)
        folders.append(folder)
    return folders


def measure(name: str, contender: Contender, source: Path, out: Path, seed: int) -> Row:
    """One round of one contender."""
    out.mkdir()
    began = time.time()
    start = time.perf_counter()
    done = subprocess.run(
        contender.command(source, out, seed), capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{name} failed in round {seed + 1}:\n{done.stderr[-3000:]}")
    facts = contender.facts(out)
    to_figure = (out / contender.figure).stat().st_mtime - began
    low, high = wilson(facts["accuracy"], facts["n"])
    return Row(name, str(seed + 1), seconds, to_figure, low=low, high=high, **facts)


def compare(data: Path, rounds: int, contenders: dict[str, Contender]) -> list[Row]:
    """All contenders in turns, then their summaries."""
    rows: list[Row] = []
    ready: dict[str, Contender] = {}
    for name, contender in contenders.items():
        absent = [module for module in contender.needs if importlib.util.find_spec(module) is None]
        if absent:
            note = f"left out: {' and '.join(absent)} not installed; pip install "
            rows.append(Row(name, "", note=note + "'lorgnette[benchmarks]'"))
            continue
        ready[name] = contender
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", f"import {contender.imports}"]
        subprocess.run(command, env=environment, check=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sources = link_split(data, place, range(rounds))
        for seed, source in enumerate(sources):
            names = list(ready)
            for name in names[seed % len(names) :] + names[: seed % len(names)]:
                with CONSOLE.status(f"round {seed + 1} of {rounds}: {name}"):
                    row = measure(name, ready[name], source, place / f"{name}-{seed}", seed)
                rows.append(row)
    return rows + [summary(name, rows) for name in ready]


def summary(name: str, rows: list[Row]) -> Row:
    """The medians of a contender's rounds, and Lorgnette's advantage."""
    own = [row for row in rows if row.contender == name]
    lorgnette = [row for row in rows if row.contender == "lorgnette"]
    accuracy = median_low(row.accuracy or 0.0 for row in own)
    middle = next(row for row in own if row.accuracy == accuracy)
    pairs = [(row, other) for row in own for other in lorgnette if row.round == other.round]
    return Row(
        name,
        "median",
        median(row.seconds or 0.0 for row in own),
        median(row.to_figure or 0.0 for row in own),
        accuracy,
        middle.low,
        middle.high,
        middle.n,
        median(row.epochs or 0 for row in own),
        middle.parameters,
        median((row.seconds or 0.0) / (other.seconds or 1.0) for row, other in pairs),
        median((row.to_figure or 0.0) / (other.to_figure or 1.0) for row, other in pairs),
    )


def show(rows: list[Row]) -> None:
    table = Table(title="From files to a test figure")
    headers = ("contender", "round", "seconds", "to figure", "test accuracy", "n", "epochs",
               "parameters", "ratio", "to figure")  # fmt: skip
    for header in headers:
        table.add_column(header, justify="left" if header == "contender" else "right", no_wrap=True)
    for row in rows:
        if row.note:
            CONSOLE.print(f"{row.contender}: {row.note}", markup=False)
            continue
        table.add_row(
            row.contender,
            row.round,
            _number(row.seconds, ".1f"),
            _number(row.to_figure, ".1f"),
            f"{row.accuracy:.4f} ({row.low:.3f}–{row.high:.3f})",
            _number(row.n, ","),
            _number(row.epochs, "g"),
            _number(row.parameters, ","),
            _number(row.ratio, ".2f"),
            _number(row.ratio_to_figure, ".2f"),
            style="bold" if row.round == "median" else "",
        )
    CONSOLE.print(table)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def cells(row: Row) -> list[Cell]:
    """A row for the CSV, figures rounded to what they are worth."""
    digits = {"seconds": 2, "to_figure": 2, "ratio": 3, "ratio_to_figure": 3}
    return [
        round(value, digits.get(key, 4)) if isinstance(value, float) else value
        for key, value in vars(row).items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of one folder per class")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--size", type=int, default=64, help="edge of the images in pixels")
    parser.add_argument("--max-epochs", type=int, default=50, help="Keras's epochs at most")
    parser.add_argument("--batch", type=int, default=32, help="Keras's images per step")
    parser.add_argument(
        "--csv", type=Path, default=RESULTS / "end_to_end.csv", help="where the figures go"
    )
    options = parser.parse_args()
    taking_part = contenders(options.size, options.max_epochs, options.batch)
    rows = compare(options.data, options.rounds, taking_part)
    show(rows)
    save(
        options.csv,
        COLUMNS,
        map(cells, rows),
        packages=("tensorflow", "keras"),
        remark="medians over rounds; ratio: Keras's time over Lorgnette's, median over rounds",
    )


if __name__ == "__main__":
    main()
