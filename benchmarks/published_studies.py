"""The published searches, scaled down to an hour, on portraits and on a real set.

    python benchmarks/published_studies.py --data FOLDER

Each study is one command, `lorgnette tune DATASET --recipe STUDY`, with fewer trials and passes
(`SCALED`) on 2,000 drawn portraits with a tenth of the labels wrong, at 64 pixels and as vectors,
and on 1,200 pictures of cartoon-glasses at 32 pixels with a tenth of the labels flipped. Figures
are by given labels: validation accuracy (or loss) of the best and of the default configuration,
what the best is worth on items that did not choose it, and of what the recipe makes of the best
the test accuracy. None of them is a reproduction: the data are others.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import lorgnette
from lorgnette.engines.local import LocalEngine
from lorgnette.sources.portraits.write import write_portraits
from record import RESULTS, Cell, save
from tune_data import cartoons, command, timed

COLUMNS = (
    "data", "study", "stage", "trials", "complete", "pruned", "rejected", "objective", "best",
    "corrected", "default", "best_trial", "training_seconds", "wall_seconds", "made",
)  # fmt: skip
SIZES = "train.size={choice=[64,128]}"
SHARES = ("split.train=0.6", "split.val=0.2", "split.test=0.2")
ABOVE = "tune.ensembles=[{combine='average',above=0.75},{combine='vote',above=0.75}]"
SCALED: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("vectors", "furia-bayes", (), ()),
    ("images", "dascenzo-layers", ("--trials", "10", "--epochs", "5"), ()),
    ("images", "dascenzo-search", ("--trials", "10", "--epochs", "8"), (ABOVE,)),
    ("images", "ghezzi-hyperband", ("--trials", "12", "--epochs", "6"), ()),
    ("images", "majerczyk-grid", ("--epochs", "3"), (*SHARES, "tune.retrain_epochs=6")),
    ("sizes", "dascenzo-size", ("--trials", "6", "--epochs", "4"), (SIZES,)),
)
"""What it is run on, its name, options and settings."""


def prepared(work: Path, data: Path) -> list[tuple[str, dict[str, str]]]:
    """Two collections, and where each is as images, at two sizes, and as vectors."""
    drawn = work / "portraits"
    write_portraits(
        str(drawn), layout="glasses", n=2000, size=128, label_noise=0.1, engine=LocalEngine()
    )
    source = lorgnette.SourceConfig(location=str(drawn), kind="kaggle")
    told = source.model_copy(update={"features": "v1..v512"})
    images = lorgnette.prepare(source, work / "images", lorgnette.PrepareConfig(size=(64, 128)))
    vectors = lorgnette.prepare(told, work / "vectors")
    own = {"images": images.location, "sizes": images.location, "vectors": vectors.location}
    return [
        ("2,000 portraits", own),
        ("cartoon-glasses", {"images": cartoons(work, data, 1200).dataset}),
    ]


def row(name: str, study: str, number: int, stage: dict[str, Any], wall: float) -> dict[str, Cell]:
    """What one stage of a study found."""
    best, states = stage["best"] or {}, stage["trials"]
    return {
        "data": name,
        "study": study,
        "stage": number + 1,
        "trials": sum(states.values()),
        **{state: states.get(state, 0) for state in ("complete", "pruned", "rejected")},
        "objective": stage["objective"],
        "best": best.get("value"),
        "corrected": stage["corrected"],
        "default": stage["default"],
        "best_trial": best.get("number"),
        "training_seconds": stage["compute"],
        "wall_seconds": round(wall, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("--only", action="append", help="this study; default: all")
    parser.add_argument("--keep", type=Path, help="where studies and their pages stay")
    given = parser.parse_args()
    rows: list[list[Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = given.keep or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for name, places in prepared(work, given.data.resolve()):
            for kind, study, options, settings in SCALED:
                if kind not in places or (given.only and study not in given.only):
                    continue
                words = command("tune", places[kind], "--recipe", study, *options, "--json")
                words += [word for each in settings for word in ("--set", each)]
                out = work / f"{study} on {name}"
                seconds, found = timed([*words, "--quiet", "--overwrite", "--out", str(out)])
                for number, stage in enumerate(found["stages"]):
                    facts = row(name, study, number, stage, seconds)
                    if number + 1 == len(found["stages"]):
                        facts["made"] = "; ".join(map(tested, found["made"]))
                    rows.append([facts.get(column) for column in COLUMNS])
                    print(facts, flush=True)
                only = "".join(f"_{each}" for each in given.only or ())
                save(RESULTS / f"published_studies{only}.csv", COLUMNS, rows, packages=("optuna",))


def tested(run: str) -> str:
    """A run's name and its test accuracy."""
    found = lorgnette.Run(run).read("evaluation.json")["test"]
    test = found.get("ensemble", found)["accuracy"]
    return f"{Path(run).name}: {test['value']:.4f} ({test['low']:.4f}-{test['high']:.4f})"


if __name__ == "__main__":
    main()
