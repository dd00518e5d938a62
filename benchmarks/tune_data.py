"""What the benchmarks of `lorgnette tune` share: data, and rows that are measured once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lorgnette
from audit import CLASSES, Pictures, table
from lorgnette import resolve
from lorgnette.dataset.store import INFO
from lorgnette.engines.local import LocalEngine
from lorgnette.sources.portraits.write import write_portraits
from lorgnette.tuning.facts import StudyFacts
from record import Cell

NOISE = 0.1
CARTOONS = 1200

Row = dict[str, Cell]


@dataclass(frozen=True)
class Data:
    """A prepared dataset of which a tenth of the labels are wrong, and others to judge by.

    Attributes:
        name: for the table.
        dataset: where it is.
        yardstick: a prepared dataset of other pictures with true labels.
    """

    name: str
    dataset: str
    yardstick: str


def portraits(work: Path, n: int, size: int) -> Data:
    """Portraits that are drawn, with noise that depends on the picture, and as many true ones."""
    places = {}
    for name, seed, noise in (("portraits", 0, NOISE), ("apart", 99, 0.0)):
        drawn, places[name] = work / f"{name}-{n}", work / f"{name}-{n}-{size}"
        if (places[name] / INFO).exists():
            continue
        write_portraits(
            drawn, layout="folders", n=n, size=128, label_noise=noise,
            noise_kind="picture" if noise else None, seed=seed, engine=LocalEngine(),
        )  # fmt: skip
        lorgnette.prepare(drawn, places[name], _prepare(size))
    return Data(f"{n:,} portraits", str(places["portraits"]), str(places["apart"]))


def cartoons(work: Path, data: Path, n: int, size: int = 32, seed: int = 0) -> Data:
    """Pictures of the real set, a tenth of whose labels are flipped; the rest with true ones."""
    paths = sorted(map(str, (data / "cartoon-glasses").glob("*/*.png")))
    if not paths:
        raise SystemExit(f"There is no folder cartoon-glasses with pictures in {data}.")
    truth = np.array([Path(path).parent.name == CLASSES[0] for path in paths])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(paths))
    chosen, rest = order[: min(n, CARTOONS)], order[CARTOONS:]
    given = truth[chosen] ^ (rng.random(len(chosen)) < NOISE)
    places = []
    for name, rows, labels in (("cartoons", chosen, given), ("others", rest, truth[rest])):
        place = work / f"{name}-{len(rows)}-{size}"
        places.append(str(place))
        if (place / INFO).exists():
            continue
        known = np.ones(len(rows), bool)
        pictures = Pictures([paths[i] for i in rows], truth[rows], known, "", [], size)
        source = table(work / f"{name}-{len(rows)}.csv", pictures, labels)
        lorgnette.prepare(source, place, _prepare(size))
    return Data("cartoon-glasses", *places)


def _prepare(size: int) -> lorgnette.PrepareConfig:
    return resolve.load(overrides={"prepare.size": (size,)}).prepare


def search(
    dataset: str, out: Path, workers: int | None, settings: Sequence[str], **tune: object
) -> StudyFacts:
    """A search over the recipe `quick` in this process; begun before, it goes on."""
    told = [f"tune.{key}={value}" for key, value in tune.items()]
    return lorgnette.tune(dataset, out, "quick", [*settings, *told], workers=workers)[0]


def command(*arguments: object) -> list[str]:
    """`lorgnette` with these arguments, of this very environment."""
    return [sys.executable, "-m", "lorgnette", *map(str, arguments)]


def timed(words: Sequence[str], environment: dict[str, str] | None = None) -> tuple[float, Any]:
    """Wall seconds of a command, and the JSON document in the last line of its output."""
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-3000:]}")
    return seconds, json.loads(done.stdout.splitlines()[-1])


def remembered(place: Path, measure: Callable[[], Row]) -> Row:
    """A row as it was measured before an interruption, or is measured now.

    Args:
        place: the file that remembers it.
        measure: makes it.
    """
    if place.exists():
        row: Row = json.loads(place.read_text())
        return row
    row = measure()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(row))
    return row


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A figure for the table; None stays."""
    return None if value is None else round(value, digits)
