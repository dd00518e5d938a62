"""Every recipe on the portraits of the demo: figures and seconds.

    python benchmarks/recipes.py

2,000 portraits with and without glasses at 256 pixels, 10% of the labels wrong (kind `picture`),
as `lorgnette demo` draws them; a recipe prepares them as it says, trains on given labels, and is
judged on its test part by the given labels and by the truth, which only this program reads. At the
end, 10 folds of MLP 3 and 5 of Furia's CNN. These are generated data: no figure here is a
reproduction.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lorgnette import pipeline, resolve
from lorgnette.engines.local import LocalEngine
from lorgnette.predictions import Predictions
from lorgnette.sources.portraits.write import write_portraits
from record import RESULTS, Cell, save

RATE = 0.1


def train(recipe: str, source: Path, folder: Path, changes: list[str]) -> tuple[Any, float]:
    """A finished run, and the seconds from files to report."""
    config = resolve.load(recipe, changes, {"source.location": str(source)})
    start = time.perf_counter()
    run = pipeline.run(config, str(folder / recipe))
    return run, time.perf_counter() - start


def agreement(found: Predictions, truth: dict[str, str | None]) -> float:
    """The share of answers that are true, of those that have a truth."""
    answers = [found.classes[code] for code in found.predicted]
    pairs = [(a, truth[str(i)]) for a, i in zip(answers, found.ids, strict=True)]
    known = [(a, b) for a, b in pairs if b is not None]
    return float(np.mean([a == b for a, b in known]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--recipes", nargs="+", default=resolve.recipe_names())
    parser.add_argument("--epochs", type=int, help="at most so many, for images")
    parser.add_argument("--name", default="recipes", help="of the CSV in results/")
    parser.add_argument("--no-folds", action="store_true")
    arguments = parser.parse_args()
    rows: list[tuple[Cell, ...]] = []
    folds: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), Path(name) / "portraits"
        write_portraits(
            source, n=arguments.n, size=256, label_noise=RATE, seed=0, engine=LocalEngine()
        )
        table = pq.read_table(source / "truth.parquet", columns=["id", "true"]).to_pylist()
        truth = {str(row["id"]): row["true"] for row in table}
        for recipe in arguments.recipes:
            asked = resolve.load(recipe)
            limit = None if asked.source.features else arguments.epochs
            shorter = limit and (asked.train.epochs or 0) > limit
            changes = [f"train.epochs={limit}"] if shorter else []
            run, seconds = train(recipe, source, folder, changes)
            figures = run.read("evaluation.json")
            training = run.read("run.json")["training"]
            found = Predictions.load(run.storage, "predictions/test.parquet")
            test, val = figures["test"], figures["validation"]
            row: tuple[Cell, ...] = (
                recipe,
                training["parameters"],
                training["epochs"],
                round(val["accuracy"]["value"], 4),
                round(test["accuracy"]["value"], 4),
                round(agreement(found, truth), 4),
                round(test["loss"]["value"], 4),
                round(test["roc_auc"]["value"], 4),
                test["n"],
                round(seconds, 1),
            )
            print(*row, sep="\t", flush=True)
            rows.append(row)
        for recipe, k in () if arguments.no_folds else (("furia-mlp3", 10), ("furia-cnn", 5)):
            config = resolve.load(recipe)
            data = str(folder / recipe / "dataset")
            _, facts = pipeline.crossval(data, config, str(folder / f"{recipe}-folds"), k=k)
            for fold in facts["folds"]:
                folds.append(
                    (
                        recipe,
                        fold["fold"] + 1,
                        *(
                            round(fold[part][measure], 4)
                            for measure in ("accuracy", "loss")
                            for part in ("train", "validation", "test")
                        ),
                        round(fold["test"]["roc_auc"], 4),
                        fold["epochs"],
                        round(facts["seconds"], 1),
                    )
                )
                print(*folds[-1], sep="\t", flush=True)
    columns: tuple[str, ...] = (
        "recipe", "parameters", "epochs", "val_accuracy", "test_accuracy", "test_accuracy_true",
        "test_loss", "test_auc", "test_n", "seconds",
    )  # fmt: skip
    remark = "generated data; test_accuracy by the given labels, test_accuracy_true by the truth"
    save(RESULTS / f"{arguments.name}.csv", columns, rows, packages=("skia-python",), remark=remark)
    if folds:
        heads = (
            "recipe", "fold", "train_accuracy", "val_accuracy", "test_accuracy", "train_loss",
            "val_loss", "test_loss", "test_auc", "epochs", "seconds_all_folds",
        )  # fmt: skip
        save(RESULTS / "folds.csv", heads, folds, remark="generated data, given labels")


if __name__ == "__main__":
    main()
