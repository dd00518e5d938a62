"""Every sampler and pruner on one space: what a search costs until it is as good as random search.

A mode of `benchmarks/tune.py`, which tells how it is measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lorgnette
from lorgnette.dataset.store import Dataset
from lorgnette.tuning.facts import StudyFacts
from lorgnette.tuning.study import StudyDir
from tune_data import Data, Row, remembered, rounded, search

WAYS = (
    ("random", "none"), ("tpe", "none"), ("gp", "none"),
    ("random", "hyperband"), ("tpe", "hyperband"), ("random", "halving"),
)  # fmt: skip
SPLIT = ("split.train=0.7", "split.val=0.25", "split.test=0.05")
"""Other pictures are the test; more of these in validation tell configurations better apart."""
COLUMNS = (
    "data", "seed", "sampler", "pruner", "trials", "complete", "pruned", "epochs",
    "compute_seconds", "wall_seconds", "best_trial", "best", "corrected", "corrected_low",
    "corrected_high", "items", "random_best", "compute_to_random", "share_of_random",
    "wall_to_random", "default_seconds", "default_val", "default_test", "best_test", "test_items",
)  # fmt: skip


def rows(
    work: Path,
    sets: Sequence[Data],
    seeds: Sequence[int],
    settings: Sequence[str],
    workers: int | None,
    **budget: Any,
) -> Iterator[Row]:
    """One row for each set, seed and way; random search comes first, since others refer to it."""
    for data in sets:
        for seed in seeds:
            random: Row | None = None
            for sampler, pruner in WAYS:
                told = [*(f"{key}{value}" for key, value in budget.items()), *settings]
                name = "-".join([Path(data.dataset).name, str(seed), sampler, pruner, *told])
                out = work / re.sub(r"[^\w-]", "_", name)

                def measure(
                    data: Data = data, seed: int = seed, sampler: str = sampler,
                    pruner: str = pruner, out: Path = out, random: Row | None = random,
                ) -> Row:  # fmt: skip
                    facts = search(
                        data.dataset, out, workers, [f"seed={seed}", *SPLIT, *settings],
                        sampler=sampler, pruner=pruner,
                        keep=budget["trials"] if random is None else 1, **budget,
                    )  # fmt: skip
                    found: Row = {"data": data.name, "seed": seed}
                    return found | row(facts, data, out, random)

                found = remembered(out.with_suffix(".json"), measure)
                random = random or found
                yield found


def row(facts: StudyFacts, data: Data, out: Path, random: Row | None) -> Row:
    """What a finished study is worth, and what random search has to do with it.

    Args:
        facts: of the study.
        data: what it learnt, and what it is judged by.
        out: its directory.
        random: random search's own row; None where this is the one.
    """
    best = facts.trial(facts.best)
    if best is None or best.value is None:
        raise SystemExit(f"No trial of {out} has finished.")
    states = [trial.state for trial in facts.trials]
    worth = facts.optimism
    found: Row = {
        "sampler": facts.sampler,
        "pruner": facts.pruner,
        "trials": len(states),
        "complete": states.count("complete"),
        "pruned": states.count("pruned"),
        "epochs": sum(trial.epochs for trial in facts.trials),
        "compute_seconds": round(facts.compute, 1),
        "wall_seconds": round(facts.seconds, 1),
        "best_trial": best.number,
        "best": round(best.value, 4),
        "corrected": None if worth is None else round(worth.corrected, 4),
        "corrected_low": None if worth is None else round(worth.low, 4),
        "corrected_high": None if worth is None else round(worth.high, 4),
        "items": facts.items,
    }
    accuracy, items = judged(out, best.number, data)
    found |= {"best_test": accuracy, "test_items": items}
    if random is None:
        # Trial 0 is the same training in every search with this seed; a pruner may end it.
        default = facts.trial(0)
        if default is None or default.state != "complete":
            raise SystemExit(f"The default configuration did not finish in {out}.")
        found["default_val"] = rounded(default.value)
        found["default_seconds"] = round(default.seconds, 1)
        found["default_test"] = judged(out, 0, data)[0]
        random = found
    spent = reached(facts, float(random["best"] or 0))
    compute = float(random["compute_seconds"] or 0)
    return found | {
        "random_best": random["best"],
        "compute_to_random": None if spent is None else round(spent[0], 1),
        "share_of_random": None if spent is None else round(spent[0] / compute, 3),
        "wall_to_random": None if spent is None else round(spent[1], 1),
        "default_seconds": random["default_seconds"],
        "default_val": random["default_val"],
        "default_test": random["default_test"],
    }


def reached(facts: StudyFacts, value: float) -> tuple[float, float] | None:
    """Training and wall seconds until a trial was complete and not worse; None if there was none.

    Training seconds are those of all trials that had ended by then, the pruned ones too.
    """
    ended = [trial for trial in facts.trials if trial.finished is not None]
    spent = 0.0
    for trial in sorted(ended, key=lambda trial: trial.finished or 0.0):
        spent += trial.seconds
        good = trial.value is not None and round(trial.value, 4) >= value
        if trial.state == "complete" and good:
            return spent, trial.finished or 0.0
    return None


def judged(out: Path, number: int, data: Data) -> tuple[float, int]:
    """The accuracy of a trial's model against the truth of other pictures, and their number."""
    run = StudyDir.load(out).run(number)
    found = next(iter(lorgnette.evaluate(run, Dataset.load(data.yardstick)).values()))
    return round(float(found["accuracy"]["value"]), 4), int(found["n"])
