"""What can be learned of generated glasses, from vectors and from pixels, with labels 10% wrong.

    python benchmarks/portrait_truth.py

Vectors: logistic regression and a network with one hidden layer (scikit-learn), both with the
penalty that is best on a tenth of the training part; trained on given and on true labels; 5,000 as
published, and more, as the supply is endless. Pixels: `lorgnette run` with the default recipe on
the glasses layout of 5,000 portraits, as its labels are given and with `corrections.csv` joined
over them. Every test accuracy stands beside both yardsticks: the given labels and the truth, which
is known here and read by nothing but this program. The undecidable are left out of the truth.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

import lorgnette
from lorgnette import resolve
from lorgnette.engines.local import LocalEngine
from lorgnette.predictions import Predictions
from lorgnette.sources.portraits.latent import vectors
from lorgnette.sources.portraits.noise import label_noise
from lorgnette.sources.portraits.wearing import wearing
from lorgnette.sources.portraits.write import write_portraits
from record import RESULTS, Cell, save

RATE = 0.1
Labels = npt.NDArray[np.bool_]

LOGISTIC = [LogisticRegression(C=c, max_iter=400) for c in (0.001, 0.003, 0.01, 0.1)]
NETWORK = [
    MLPClassifier((32,), alpha=alpha, max_iter=60, learning_rate_init=2e-3, batch_size=64)
    for alpha in (1.0, 3.0, 10.0, 30.0)
]
MODELS: dict[str, list[Any]] = {"logistic regression": LOGISTIC, "MLP 512-32-1": NETWORK}


def from_vectors(n: int, seed: int) -> Iterable[tuple[Cell, ...]]:
    """Rows for both models and both kinds of labels; a fifth of the vectors is the test part."""
    latents = vectors(seed, 0, n)
    truth = wearing(latents)
    given = label_noise(RATE, "picture").given(seed, 0, truth)
    border, last = int(0.72 * n), int(0.8 * n)
    for name, variants in MODELS.items():
        for labels_name, labels in (("given", given), ("true", truth.glasses)):
            train = np.flatnonzero(~truth.undecidable[:last]) if labels_name == "true" else None
            picked = train if train is not None else np.arange(last)
            fitting, choosing = picked[picked < border], picked[picked >= border]
            best: Any = None
            score = -1.0
            for model in variants:
                if hasattr(model, "random_state"):
                    model.set_params(random_state=seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    fitted = model.fit(latents[fitting], labels[fitting])
                reached = fitted.score(latents[choosing], labels[choosing])
                if reached > score:
                    best, score = fitted, reached
                    predicted = best.predict(latents[last:])
            decidable = ~truth.undecidable[last:]
            yield (
                f"vectors, {name}",
                n,
                labels_name,
                seed,
                round(float((predicted == given[last:]).mean()), 4),
                round(float((predicted == truth.glasses[last:])[decidable].mean()), 4),
                n - last,
            )


def from_pixels(n: int, size: int, seed: int) -> Iterable[tuple[Cell, ...]]:
    """Rows for the default recipe on given and on corrected labels."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "portraits"
        write_portraits(
            out, layout="glasses", n=n, size=size, label_noise=RATE, seed=seed, engine=LocalEngine()
        )
        facts = pq.read_table(out / "truth.parquet", columns=["id", "given", "true"]).to_pylist()
        by_id = {str(row["id"]): row for row in facts}
        corrections = str(out / "corrections.csv")
        for labels_name, chosen in (("given", None), ("true", corrections)):
            config = resolve.load(overrides={"seed": seed, "source.corrections": chosen})
            source = config.source.model_copy(update={"location": str(out)})
            run = lorgnette.run(source, Path(folder) / labels_name, config)
            found = Predictions.load(run.storage, "predictions/test.parquet")
            rows = [by_id[str(each)] for each in found.ids]
            predicted = [found.classes[code] for code in found.predicted]
            yield (
                "pixels, default recipe",
                n,
                labels_name,
                seed,
                *(
                    agreement(predicted, [row[which] for row in rows])
                    for which in ("given", "true")
                ),
                len(found),
            )


def agreement(predicted: list[str], labels: list[str | None]) -> float | None:
    """The share of equal labels among those that there are; None where there are none."""
    pairs = [(a, b) for a, b in zip(predicted, labels, strict=True) if b is not None]
    return round(sum(a == b for a, b in pairs) / len(pairs), 4) if pairs else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, nargs="+", default=[5000, 20_000, 50_000])
    parser.add_argument("--size", type=int, default=256, help="edge of the portraits in pixels")
    arguments = parser.parse_args()
    rows: list[tuple[Cell, ...]] = []
    for seed in range(arguments.seeds):
        for n in arguments.n:
            rows += _told(from_vectors(n, seed))
        rows += _told(from_pixels(min(arguments.n), arguments.size, seed))
    columns = ("from", "n", "trained_on", "seed", "accuracy_given", "accuracy_true", "test_n")
    save(RESULTS / "portrait_truth.csv", columns, rows, packages=("scikit-learn", "skia-python"))


def _told(rows: Iterable[tuple[Cell, ...]]) -> list[tuple[Cell, ...]]:
    told = []
    for row in rows:
        print(*row, sep="\t", flush=True)
        told.append(row)
    return told


if __name__ == "__main__":
    main()
