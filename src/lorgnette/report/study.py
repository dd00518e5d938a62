"""What a search found: one self-contained page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from lorgnette.report import sheet, study_figures, study_space, study_words
from lorgnette.storage import Storage
from lorgnette.tuning.facts import StudyFacts, Trial

NAME = "study.html"
TOP = 10
"""Trials in the table of the best."""
COLUMNS = 8
"""Settings in that table, the most important ones."""
REASONS = 20
"""Reasons of rejection and failure that are listed."""
UNIT = 0.01
"""What is gained for so many seconds: a point of accuracy, or so much of a loss."""
LEAST = 0.001
"""Smaller gains are not set against seconds."""
STEPS = 12
"""Steps of the best value that are listed, the last ones."""


@dataclass(frozen=True)
class Ended:
    """Trials that ended in one way for one reason."""

    state: str
    reason: str
    numbers: list[int]


@dataclass(frozen=True)
class Step:
    """A trial that was better than all before it, and what the progress cost.

    Attributes:
        number: of the trial.
        value: its value.
        spent: seconds of training until then, of all trials.
        gained: over the best before; None for the first.
        seconds: of training since the step before.
        each: seconds for each point of accuracy, or for 0.01 of loss; None for the first.
    """

    number: int
    value: float
    spent: float
    gained: float | None
    seconds: float
    each: float | None


@dataclass(frozen=True)
class Worker:
    """What one worker did: trials by state, those it took over, its seconds of training."""

    name: str
    trials: int
    complete: int
    pruned: int
    other: int
    taken_up: int
    seconds: float


def write(study: Path | str | os.PathLike[str], facts: StudyFacts) -> Path:
    """Write `study.html`.

    Args:
        study: the directory of the study.
        facts: what is known of it.

    Returns:
        The path of the page.
    """
    storage = Storage.at(study)
    storage.write(NAME, render(facts).encode("utf-8"))
    return Path(storage.locate(NAME))


def render(facts: StudyFacts) -> str:
    """The page as text."""
    names = [worker.name for worker in workers(facts)]
    dimensions = study_space.ordered(facts)
    drawn = study_space.drawn(facts)
    return sheet.render(
        "study.html.j2",
        facts=facts,
        s=study_words,
        best=facts.trial(facts.best),
        default=facts.trial(facts.default),
        done=facts.best_first,
        headline=study_words.headline(facts),
        cautions=study_words.cautions(facts),
        top=facts.best_first[:TOP],
        alike=alike(facts),
        importance=importance(facts),
        columns=[each.key for each in dimensions[:COLUMNS]],
        columns_drawn=study_space.DRAWN,
        keys=[each.key for each in dimensions],
        undrawn=[each.key for each in dimensions if each not in drawn],
        ended=ended(facts)[:REASONS],
        more_ended=max(0, len(ended(facts)) - REASONS),
        steps=steps(facts)[-STEPS:],
        workers=workers(facts),
        rate=rate(facts),
        least=LEAST,
        command=command,
        compute=compute(facts),
        per_point=per_point(facts),
        worth=study_figures.worth(facts),
        history=study_figures.history(facts),
        by_value=study_space.by_value(facts),
        parallel=study_space.parallel(facts),
        curves=study_figures.curves(facts),
        cost=study_figures.cost(facts),
        lanes=study_figures.workers(facts, names),
        limits={"curves": study_figures.CURVES, "workers": study_figures.WORKERS},
    )


def compute(facts: StudyFacts) -> float:
    """Seconds of training, of all trials."""
    return facts.compute or sum(trial.seconds for trial in facts.trials)


def per_point(facts: StudyFacts) -> float | None:
    """Seconds of training for each point, or 0.01 of loss, that the best is over the default."""
    best, default = facts.trial(facts.best), facts.trial(facts.default)
    if best is None or default is None or best.value is None or default.value is None:
        return None
    gained = study_words.gain(facts, default.value, best.value)
    return compute(facts) / (gained / UNIT) if gained >= LEAST else None


def rate(facts: StudyFacts) -> float | None:
    """Trials that ended in an hour of wall time; None where nothing is known."""
    ended = len(facts.in_state("complete", "pruned", "rejected", "failed"))
    return 3600 * ended / facts.seconds if ended and facts.seconds > 0 else None


def command(facts: StudyFacts, trial: Trial) -> str:
    """How a trial is run again."""
    return facts.command.replace("{number}", str(trial.number)).replace("{run}", trial.run)


def importance(facts: StudyFacts) -> list[tuple[str, float]]:
    """The searched settings with their shares, the greatest first."""
    return sorted(facts.importance.items(), key=lambda pair: -pair[1])


def alike(facts: StudyFacts) -> int | None:
    """How many other trials are within the best one's own interval; None where it has none."""
    best = facts.trial(facts.best)
    limits = None if best is None else study_words.interval(facts, best.value)
    if best is None or limits is None:
        return None
    worst = limits[0] if facts.direction == "maximize" else limits[1]
    inside = [t for t in facts.best_first if study_words.gain(facts, worst, t.value or 0.0) >= 0]
    return len(inside) - 1


def steps(facts: StudyFacts) -> list[Step]:
    """The trials that were better than all that had ended before, and what that cost."""
    trials = study_figures.in_time(facts)
    spent = list(accumulate(trial.seconds for trial in trials))
    best = study_figures.best_so_far(facts, trials)
    found: list[Step] = []
    for place, value in enumerate(best):
        if math.isnan(value) or (found and value == found[-1].value):
            continue
        if not found:
            found.append(Step(trials[place].number, value, spent[place], None, spent[place], None))
            continue
        gained = study_words.gain(facts, found[-1].value, value)
        seconds = spent[place] - found[-1].spent
        each = seconds / (gained / UNIT)
        found.append(Step(trials[place].number, value, spent[place], gained, seconds, each))
    return found


def ended(facts: StudyFacts) -> list[Ended]:
    """Rejected and failed trials by their reasons: failures first, then the commonest."""
    found: dict[tuple[str, str], list[int]] = {}
    for trial in facts.in_state("rejected", "failed"):
        reason = trial.reason.strip() or "no reason is known"
        found.setdefault((trial.state, reason), []).append(trial.number)
    rows = [Ended(state, reason, numbers) for (state, reason), numbers in found.items()]
    return sorted(rows, key=lambda row: (row.state != "failed", -len(row.numbers), row.numbers))


def workers(facts: StudyFacts) -> list[Worker]:
    """Every worker that is known, in the order in which they came."""
    names = list(dict.fromkeys([*facts.workers, *(t.worker for t in facts.trials if t.worker)]))
    return [_worker(name, [t for t in facts.trials if t.worker == name]) for name in names]


def _worker(name: str, trials: Sequence[Trial]) -> Worker:
    states = [trial.state for trial in trials]
    complete, pruned = states.count("complete"), states.count("pruned")
    return Worker(
        name=name,
        trials=len(trials),
        complete=complete,
        pruned=pruned,
        other=len(trials) - complete - pruned,
        taken_up=sum(trial.taken_up > 0 for trial in trials),
        seconds=sum(trial.seconds for trial in trials),
    )
