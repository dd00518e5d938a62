"""What is made of many trainings: searches, and ensembles of what they found.

Dataset ──tune──▶ study ──▶ the best, trained anew
└──ensemble──▶ Model
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lorgnette.dataset.store import Dataset
from lorgnette.errors import LorgnetteError
from lorgnette.lock import locked
from lorgnette.pipeline import train
from lorgnette.progress import say
from lorgnette.rundir import Run

if TYPE_CHECKING:
    from lorgnette.config import Config
    from lorgnette.evaluation.ensembles import How
    from lorgnette.evaluation.selection import Select
    from lorgnette.tuning.facts import StudyFacts
    from lorgnette.tuning.settings import Combination, TuneConfig
    from lorgnette.tuning.study import StudyDir


def tune(
    dataset: str,
    data: Mapping[str, Any],
    settings: TuneConfig,
    out: str,
    *,
    workers: int | None = None,
    storage: str | None = None,
    bind: str | None = None,
    grace: float | None = None,
    shown: Callable[[StudyFacts], None] | None = None,
    overwrite: bool = False,
) -> list[StudyFacts]:
    """Search settings and leave a study with a page, and what its recipe makes of the best.

    See `lorgnette.tuning.search.search` for the arguments.

    Returns:
        The facts of each stage.
    """
    from lorgnette.report.study import write
    from lorgnette.resolve import assign
    from lorgnette.tuning.leases import GRACE_SECONDS
    from lorgnette.tuning.search import best_values, search
    from lorgnette.tuning.settings import stages
    from lorgnette.tuning.space import Space
    from lorgnette.tuning.study import Plan, StudyDir, dataset_digest

    prepared, root = Dataset.load(dataset), StudyDir(out)
    space = Space.parse(data, "the study")
    for _, further in stages(settings):  # a mistyped one is found before anything is trained
        space = space.further({}, further) if further else space
    with locked(root.storage):
        if overwrite:
            root.clear()
        found: list[StudyFacts] = []
        plain = dict(data)
        for number, (stage, opened) in enumerate(stages(settings)):
            name = f"stage-{number + 1}"
            place = root if number == 0 else StudyDir(root.root / name)
            for key, value in opened.items():
                assign(plain, key, value)
            if number:
                plan = Plan(
                    plain, stage, prepared.location, dataset_digest(prepared), str(place.root)
                )
                differ = place.differences(plan)
                if differ and number == len(settings.then):
                    # First, lest an interruption leave ensembles whose members have other weights.
                    _renew(root, "ensembles", differ)
                _renew(root, name, differ)
            facts = search(
                prepared, plain, stage, place,
                workers=workers, storage=storage, bind=bind, grace=grace or GRACE_SECONDS,
                shown=shown,
            )  # fmt: skip
            write(place.root, facts)
            found.append(facts)
            if facts.best is None:
                break
            plain = place.plan.space.data(best_values(place, facts.best))
        else:
            _conclude(prepared, plain, settings, root, place)
    return found


def _conclude(
    dataset: Dataset, best: Mapping[str, Any], settings: TuneConfig, root: StudyDir, last: StudyDir
) -> None:
    """What a recipe makes of the best of a search: a training anew, and ensembles.

    The first training is made to read off its best epoch, the second has so many.
    """
    if settings.retrain:
        from lorgnette.resolve import parse

        config = parse(best, "the best of the study")
        epochs = settings.retrain_epochs or config.train.epochs
        told = config.train.model_copy(update={"epochs": epochs})
        config = config.model_copy(update={"train": told})
        first = _retrain(dataset, config, root, "final/first")
        sign = 1 if settings.objective == "val_loss" else -1
        lines = sorted(first.metrics(), key=lambda line: sign * line[settings.objective])
        end = told.stopping.model_copy(update={"restore_best": False, "patience": 0})
        told = told.model_copy(update={"epochs": lines[0]["epoch"], "stopping": end})
        _retrain(dataset, config.model_copy(update={"train": told}), root, "final/run")
    for each in settings.ensembles:
        above = "" if each.above is None else f"-above-{each.above:g}"
        name = f"{each.combine}-{each.select}{above}"
        try:
            _combine(each, root, f"ensembles/{name}", last)
        except LorgnetteError as error:  # none may be good enough; the study is no worse for it
            say(f"The ensemble {name} was not made: {error}")


def _retrain(dataset: Dataset, config: Config, root: StudyDir, name: str) -> Run:
    """Train into a directory of a study; what was trained there with other settings is kept."""
    from lorgnette.tuning.trial import settled

    run = Run(root.root / name)
    _renew(root, name, run.differences(settled(config, dataset), dataset.location))
    return train(dataset.location, config, str(run.root))


def _combine(each: Combination, root: StudyDir, name: str, last: StudyDir) -> None:
    """Make an ensemble of a study's models; one that was made of others before is kept."""
    from lorgnette.evaluation.ensembles import differences, plan_of
    from lorgnette.evaluation.members import runs_of

    run = Run(root.root / name)
    how: dict[str, Any] = each.model_dump()
    _renew(root, name, differences(run, plan_of(runs_of([last.root]), run, **how)))
    ensemble([str(last.root)], str(run.root), **how)


def _renew(root: StudyDir, name: str, differ: Sequence[str]) -> None:
    """Set a directory of a study aside where what it is made from has changed.

    A larger budget may find another best, and what was made of the one before took long to make.
    """
    if differ and (root.root / name).exists():
        to = root.set_aside(name)
        say(
            f"{name} is made anew, since this has changed: {differ[0]}. The earlier one is in {to}."
        )


def ensemble(
    members: Sequence[str],
    out: str,
    *,
    combine: How = "average",
    select: Select = "all",
    above: float | None = None,
    best: int = 10,
    overwrite: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Make one model of several trained ones and leave a run with a page; returns the facts too.

    See `lorgnette.evaluation.ensembles.ensemble`.

    Args:
        members: runs, or studies, which stand for their best runs.
        out: the run's directory; empty, or holding the same ensemble, unfinished or finished.
        combine: `average`, `vote` or `soup`.
        select: `all`, `best` or `greedy`, on validation.
        above: only runs with a higher validation accuracy.
        best: how many, where the best are taken.
        overwrite: begin again whatever is in `out`.
    """
    from lorgnette.evaluation.ensembles import clear
    from lorgnette.evaluation.ensembles import ensemble as make
    from lorgnette.evaluation.members import check_place, runs_of
    from lorgnette.report.ensemble import write

    runs, run = runs_of(members), Run(out)
    check_place(runs, run)
    with locked(run.storage):
        if overwrite:
            clear(run)
        found = make(runs, run, combine=combine, select=select, above=above, best=best)
        write(run.root)
    return run, found
